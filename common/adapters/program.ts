/** Other programs: run without a shell, in a process group of their own, for so long and no longer. */

import { spawn } from "node:child_process";
import { type Stats, statSync } from "node:fs";
import { SystemError } from "../errors.ts";

/** From SIGTERM to SIGKILL, in milliseconds. */
const GRACE_MS = 2_000;
/** Octets of output that are kept; the rest is read and forgotten. */
const MOST_OUTPUT = 64 * 1024;
/** Running by owner, group or others, inode(7). */
const ANYBODY_RUNS = 0o111;
/** Where system programs live; not in every user's PATH. */
const SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

export interface ProgramRun {
  /** The program, found along PATH, and its arguments. */
  readonly command: readonly [string, ...string[]];
  /** Its whole environment; PATH is added. */
  readonly environment?: Readonly<Record<string, string>>;
  readonly input?: string;
  readonly timeoutMs: number;
}

export interface ProgramOutcome {
  /** Absent when a signal ended it, or the time was over. */
  readonly status: number | undefined;
  readonly timedOut: boolean;
  readonly stdout: string;
  readonly stderr: string;
}

/** Rejects with `SystemError` when the program cannot be started. Whatever it starts itself ends with it, if in time. */
export function runProgramOnce(run: ProgramRun): Promise<ProgramOutcome> {
  const { command, environment = {}, input = "", timeoutMs } = run;
  const [file, ...rest] = command;
  const { PATH } = process.env;
  return new Promise((resolve, reject) => {
    const child = spawn(file, rest, {
      detached: true,
      env: { PATH: PATH === undefined ? SYSTEM_PATH : `${PATH}:${SYSTEM_PATH}`, ...environment },
      stdio: ["pipe", "pipe", "pipe"],
    });
    let timedOut = false;
    let timer: NodeJS.Timeout | undefined;
    let last: NodeJS.Timeout | undefined;
    child.on("error", (cause: NodeJS.ErrnoException) => {
      clearTimeout(timer);
      clearTimeout(last);
      reject(new SystemError(`run ${file}`, cause.code ?? "unknown", { cause }));
    });
    // Nothing runs, "error" says why; out of descriptors there are not even pipes.
    if (child.pid === undefined) return;
    const stdout = collect(child.stdout);
    const stderr = collect(child.stderr);
    timer = setTimeout(() => {
      timedOut = true;
      endGroup(child.pid, "SIGTERM");
      last = setTimeout(() => {
        endGroup(child.pid, "SIGKILL");
        // Whoever left the group may hold the pipes open for ever.
        child.stdout.destroy();
        child.stderr.destroy();
      }, GRACE_MS);
    }, timeoutMs);
    child.on("close", (status) => {
      clearTimeout(timer);
      clearTimeout(last);
      const ended = status === null || timedOut ? undefined : status;
      resolve({ status: ended, timedOut, stdout: stdout(), stderr: stderr() });
    });
    child.stdin.on("error", () => undefined); // it may end before it has read
    child.stdin.end(input);
  });
}

/** What is wrong with a program, in words; undefined: nothing, or it is not ours to see. */
export function faultOfProgram(path: string): string | undefined {
  let found: Stats | undefined;
  try {
    found = statSync(path, { throwIfNoEntry: false });
  } catch {
    return undefined;
  }
  if (found === undefined) return "no such file";
  if (!found.isFile()) return "expected a program";
  return (found.mode & ANYBODY_RUNS) === 0 ? `not executable: chmod 755 ${path}` : undefined;
}

function collect(stream: NodeJS.ReadableStream): () => string {
  const pieces: Buffer[] = [];
  let length = 0;
  stream.on("data", (piece: Buffer) => {
    if (length < MOST_OUTPUT) pieces.push(piece.subarray(0, MOST_OUTPUT - length));
    length += piece.length;
  });
  return () => Buffer.concat(pieces).toString("utf8");
}

function endGroup(pid: number | undefined, signal: NodeJS.Signals): void {
  if (pid === undefined) return;
  try {
    process.kill(-pid, signal);
  } catch {
    // It is gone.
  }
}
