/** What the two programs' command lines have in common: exit statuses, how errors are told, how status is shown. */

import { setTimeout as pause } from "node:timers/promises";
import { Command, CommanderError, Option } from "commander";
import { DaemonAbsentError } from "../adapters/control-socket.ts";
import { ConfigMistakes } from "../config/mistakes.ts";
import type { Reading } from "../control/describe.ts";
import type { ControlReply } from "../control/protocol.ts";
import { type Finding, formatFindings, isFit } from "../doctor/finding.ts";
import { ConfigError, MalformedError, SystemError } from "../errors.ts";
import { COLOURED, PLAIN, widthOf } from "../text/style.ts";
import { VERSION } from "../version.ts";

export const ExitStatus = { ok: 0, failure: 1, mistake: 2, absent: 3 } as const;

const EXIT_STATUS_HELP = `
Exit status: 0 done; 1 failed at run time; 2 a mistake in the configuration or
on the command line; 3 no daemon is running.`;

const WATCH_INTERVAL = 1_000; // milliseconds
const HELP_WIDTH = 80; // columns
const HOME_AND_CLEAR = "\u001b[H\u001b[J";
/** The daemon could not do it: the reply says why. */
class RefusedError extends Error {
  override readonly name = "RefusedError";
}

/** `doctor` has said why. */
class UnfitError extends Error {
  override readonly name = "UnfitError";
}

/** The program's root command with its subcommands. */
export function openProgram(
  name: string,
  description: string,
  commands: readonly Command[],
): Command {
  const program = new Command(name)
    .description(description)
    .version(VERSION, "-V, --version", "print the version")
    .helpOption("-h, --help", "print this help")
    .helpCommand(false)
    .configureHelp({ helpWidth: HELP_WIDTH, subcommandTerm: (command) => command.name() })
    .configureOutput({ outputError: () => undefined })
    .addHelpText("after", EXIT_STATUS_HELP)
    .exitOverride();
  for (const command of commands) {
    program.addCommand(command.copyInheritedSettings(program));
    for (const each of command.commands) each.copyInheritedSettings(command);
  }
  return program;
}

/** Runs the command the arguments name, tells errors, and ends the process with its exit status. */
export async function runProgram(program: Command, args: readonly string[]): Promise<never> {
  // `status | head` is no failure.
  process.stdout.on("error", () => process.exit(ExitStatus.ok));
  const status = await run(program, args);
  // What goes through a pipe is written by and by, and exiting does not wait.
  await Promise.all([drained(process.stdout), drained(process.stderr)]);
  process.exit(status);
}

async function run(program: Command, args: readonly string[]): Promise<number> {
  try {
    await program.parseAsync(args, { from: "user" });
    return ExitStatus.ok;
  } catch (error) {
    const { lines, status } = tell(error, program.name());
    for (const line of lines) process.stderr.write(`${line}\n`);
    return status;
  }
}

function drained(stream: NodeJS.WriteStream): Promise<void> {
  return new Promise((resolve) => stream.write("", () => resolve()));
}

/** What to say of an error, and the exit status. Only what we did not expect shows where it came from. */
export function tell(error: unknown, program: string): { lines: string[]; status: number } {
  const say = (status: number, ...lines: string[]) => ({
    lines: lines.map((line) => `${program}: ${line}`),
    status,
  });
  for (const each of causesOf(error)) {
    if (each instanceof CommanderError) {
      if (each.exitCode === 0) return { lines: [], status: ExitStatus.ok };
      if (each.code === "commander.help") return { lines: [], status: ExitStatus.mistake };
      const message = each.message.replace(/^error: /, "").split("\n");
      return say(ExitStatus.mistake, message.join(" "), `see ${program} --help`);
    }
    if (each instanceof ConfigMistakes) {
      return say(ExitStatus.mistake, ...each.mistakes.map((mistake) => mistake.message));
    }
    if (each instanceof ConfigError) return say(ExitStatus.mistake, each.message);
    if (each instanceof DaemonAbsentError) {
      return say(ExitStatus.absent, each.message, `start it with ${program} run`);
    }
    if (each instanceof SystemError) return say(ExitStatus.failure, each.message);
    if (each instanceof UnfitError) return say(ExitStatus.failure);
    if (each instanceof RefusedError) return say(ExitStatus.failure, each.message);
    if (each instanceof MalformedError && each.layer === "control") {
      return say(ExitStatus.failure, `the daemon's answer was not understood: ${each.message}`);
    }
  }
  const text = [...causesOf(error)]
    .map((each) => (each instanceof Error ? (each.stack ?? each.message) : String(each)))
    .join("\nbecause of ");
  return say(ExitStatus.failure, `unexpected error, please report it\n${text}`);
}

/** What a daemon answered. Throws when it refused. */
export function valueOfReply<Value>(reply: ControlReply): Value {
  if (reply.kind === "done") return reply.value as Value;
  if (reply.code === "unknown-home") throw new ConfigError(reply.reason);
  throw new RefusedError(reply.reason);
}

export function configOption(file: string): Option {
  return new Option("-c, --config <file>", "configuration file").default(file);
}

/** The options of `status`. */
export interface StatusOptions {
  readonly json?: boolean;
  readonly watch?: boolean;
}

export function jsonOption(): Option {
  return new Option("--json", "for scripts: the same facts as JSON");
}

/** Prints what `doctor` found; the exit status says whether hometun can do its work here. */
export function showFindings(findings: readonly Finding[], json = false): void {
  const { NO_COLOR } = process.env;
  const style = process.stdout.isTTY === true && !NO_COLOR ? COLOURED : PLAIN;
  const text = json ? `${JSON.stringify(findings, null, 2)}\n` : formatFindings(findings, style);
  process.stdout.write(text);
  if (!isFit(findings)) throw new UnfitError();
}

export function watchOption(): Option {
  return new Option("--watch", "show it anew each second, until interrupted");
}

/** Prints a status once, or each second. */
export async function showStatus<Status>(
  options: StatusOptions,
  ask: () => Promise<Status>,
  format: (status: Status, reading: Reading) => string,
): Promise<void> {
  const { NO_COLOR } = process.env;
  const terminal = process.stdout.isTTY === true;
  const style = terminal && !NO_COLOR ? COLOURED : PLAIN;
  const show = async () => {
    const status = await ask();
    if (options.json === true)
      return `${JSON.stringify(status, null, options.watch === true ? 0 : 2)}\n`;
    return format(status, { now: Date.now(), style });
  };
  if (options.watch !== true) {
    process.stdout.write(await show());
    return;
  }
  const redraw = terminal && options.json !== true;
  const separator = options.json === true ? "" : "\n";
  const step = async (first: boolean) => {
    const text = await show().catch((error: unknown) => {
      // A daemon that is being restarted comes back; one that was never there is told at once.
      if (first || !mayPass(error)) throw error;
      return options.json === true ? "" : `${style.bad(error.message)}\n`;
    });
    process.stdout.write(
      redraw ? HOME_AND_CLEAR + fitted(text, process.stdout) : (first ? "" : separator) + text,
    );
  };
  // Until an interrupt, which is how it is meant to end.
  await repeat(step, { pauseMs: WATCH_INTERVAL, stop: interruption() });
}

/** The daemon ends, is gone, begins, or has no time. */
function mayPass(error: unknown): error is Error {
  const kinds = [DaemonAbsentError, RefusedError, SystemError];
  return kinds.some((kind) => error instanceof kind);
}

/** A screenful: what does not fit is said, not scrolled away. A terminal breaks lines that are wider than it is. */
export function fitted(
  text: string,
  { rows = Number.POSITIVE_INFINITY, columns = Number.POSITIVE_INFINITY }: Screen,
): string {
  const lines = text.trimEnd().split("\n");
  const heights = lines.map((line) => Math.max(1, Math.ceil(widthOf(line) / columns)));
  // One row is for the cursor, and where something is hidden, one for saying so.
  if (heights.reduce((sum, height) => sum + height, 0) <= rows - 1) return text;
  let room = rows - 2;
  const beyond = heights.findIndex((height) => {
    room -= height;
    return room < 0;
  });
  return [...lines.slice(0, beyond), `... ${lines.length - beyond} more lines\n`].join("\n");
}

/** Undefined where it is no terminal. */
interface Screen {
  readonly rows?: number;
  readonly columns?: number;
}

/** Takes a step, and pauses, until `stop` aborts. */
export async function repeat(
  step: (first: boolean) => Promise<void>,
  { pauseMs, stop }: { readonly pauseMs: number; readonly stop: AbortSignal },
): Promise<void> {
  for (let first = true; !stop.aborted; first = false) {
    await step(first);
    await pause(pauseMs, undefined, { signal: stop }).catch(() => undefined);
  }
}

/** Aborts on SIGINT and SIGTERM. A second signal ends the process as if nobody listened. */
export function interruption(): AbortSignal {
  return abortedBy({ SIGINT: () => undefined, SIGTERM: () => undefined });
}

/** Aborts on the first of these signals, with the reason that is found beside it. */
export function abortedBy(
  reasons: Readonly<Partial<Record<NodeJS.Signals, () => symbol | undefined>>>,
): AbortSignal {
  const controller = new AbortController();
  for (const [signal, reason] of Object.entries(reasons)) {
    process.once(signal, () => controller.abort(reason()));
  }
  return controller.signal;
}

/** The error and what caused it, outermost first. */
function* causesOf(error: unknown): Generator<unknown> {
  let each = error;
  for (let depth = 0; depth < 8 && each !== undefined; depth++) {
    yield each;
    each = each instanceof Error ? each.cause : undefined;
  }
}
