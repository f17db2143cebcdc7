/**
 * Network namespaces for the tests with a real kernel and for the demonstration. A `Lab` owns all it makes, gives
 * it unique names and removes it, processes first, whether or not what used it failed:
 *
 *     const lab = new Lab();                          // afterAll(() => lab.dispose())
 *     const home = await lab.namespace("home");
 *     const isp = await lab.namespace("isp");
 *     await lab.connect(home, "wan", isp, "home0");   // a veth pair
 *     await home.run("ip addr add 192.0.2.7/24 dev wan && ip link set wan up");
 *     const daemon = home.spawn(["hometun", "run"]);
 *     await daemon.line((text) => text.includes("ready"));
 */

import { type ChildProcess, execFile, spawn, spawnSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { existsSync } from "node:fs";
import { createInterface } from "node:readline";

const NAMESPACES = "/run/netns";
const TUN_DEVICE = "/dev/net/tun";
const { HOMETUN_PATIENCE_MS = "20000" } = process.env;
/** How long a busy machine may take for anything that happens by itself; an emulated one says that it takes more. */
export const PATIENCE_MS = Number(HOMETUN_PATIENCE_MS);
const GRACE = 2_000; // milliseconds from SIGTERM to SIGKILL

export type Permission =
  | { readonly granted: true }
  | { readonly granted: false; readonly reason: string };

/**
 * Whether namespaces can be made here, found out by making one, and TUN interfaces in them if asked for. Made for
 * `describe.skipIf`: a reason against it is printed, so that a skipped test is not mistaken for a passed one.
 */
export function canUseNamespaces(needs: { tun?: boolean } = {}): boolean {
  const permission = namespacePermission();
  const reason = permission.granted ? missingDevice(needs) : permission.reason;
  if (reason !== undefined) process.stderr.write(`skipped: ${reason}\n`);
  return reason === undefined;
}

function missingDevice({ tun = false }: { tun?: boolean }): string | undefined {
  return tun && !existsSync(TUN_DEVICE) ? `tunnel interfaces need ${TUN_DEVICE}` : undefined;
}

let found: Permission | undefined;

export function namespacePermission(): Permission {
  found ??= tryNamespace();
  return found;
}

function tryNamespace(): Permission {
  const name = uniqueName("probe");
  const made = spawnSync("ip", ["netns", "add", name], { encoding: "utf8" });
  if (made.error !== undefined) {
    return { granted: false, reason: `network namespaces need iproute2: ${made.error.message}` };
  }
  if (made.status !== 0) {
    const why = made.stderr.trim().split("\n").at(-1) ?? "";
    return { granted: false, reason: `network namespaces are not permitted, run as root: ${why}` };
  }
  spawnSync("ip", ["netns", "del", name]);
  return { granted: true };
}

/** Everything one test file, or one demonstration, makes. */
export class Lab {
  readonly #namespaces: Namespace[] = [];
  readonly #removeAll = () => {
    for (const namespace of this.#namespaces) namespace.removeNow();
  };

  constructor() {
    process.once("exit", this.#removeAll);
  }

  /** A new namespace with `lo` up and duplicate address detection off. `label` is part of its name. */
  async namespace(label: string): Promise<Namespace> {
    const name = uniqueName(label);
    await execute("ip", ["netns", "add", name]);
    const namespace = new Namespace(name, label);
    this.#namespaces.push(namespace);
    await namespace.run("ip link set lo up");
    await namespace.set("net.ipv6.conf.all.accept_dad", 0);
    await namespace.set("net.ipv6.conf.default.accept_dad", 0);
    return namespace;
  }

  /** A veth pair: `a`'s end is called `nameInA`, `b`'s `nameInB`; both are up. */
  async connect(a: Namespace, nameInA: string, b: Namespace, nameInB: string): Promise<void> {
    const peer = ["type", "veth", "peer", "name", nameInB, "netns", b.name];
    await execute("ip", ["link", "add", "name", nameInA, "netns", a.name, ...peer]);
    await Promise.all([
      a.run(["ip", "link", "set", nameInA, "up"]),
      b.run(["ip", "link", "set", nameInB, "up"]),
    ]);
  }

  /** Ends the processes, then removes the namespaces. Never throws; may be called twice. */
  async dispose(): Promise<void> {
    process.off("exit", this.#removeAll);
    await Promise.all(this.#namespaces.splice(0).map((namespace) => namespace.dispose()));
  }
}

/** What a command said, when it failed. */
export class CommandFailed extends Error {
  override readonly name = "CommandFailed";
  readonly status: number | string | undefined;
  readonly stdout: string;
  readonly stderr: string;

  constructor(
    command: string,
    status: number | string | undefined,
    stdout: string,
    stderr: string,
  ) {
    super(`${command}: status ${status}\n${stderr.trim()}`);
    this.status = status;
    this.stdout = stdout;
    this.stderr = stderr;
  }
}

export class Namespace {
  /** Unique; as `ip -n` takes it. */
  readonly name: string;
  /** As the test calls it. */
  readonly label: string;
  readonly #running = new Set<Running>();

  constructor(name: string, label: string) {
    this.name = name;
    this.label = label;
  }

  /** The namespace's file, for `setns` and `nsenter`. */
  get path(): string {
    return `${NAMESPACES}/${this.name}`;
  }

  /**
   * Runs a command to its end and returns its output. A text goes to `sh -e`; an array is executed as it is.
   * Throws `CommandFailed`.
   */
  async run(
    command: string | readonly string[],
    options: { timeoutMs?: number } = {},
  ): Promise<string> {
    const argv = typeof command === "string" ? ["sh", "-ec", command] : command;
    return await execute("nsenter", [`--net=${this.path}`, "--", ...argv], options.timeoutMs);
  }

  /** Sets a kernel parameter, named as sysctl(8) does, which not every machine has. */
  async set(parameter: string, value: number): Promise<void> {
    await this.run(`echo ${value} > /proc/sys/${parameter.replaceAll(".", "/")}`);
  }

  /** Starts a command that goes on; it is ended with the namespace at the latest. */
  spawn(argv: readonly string[], options: SpawnOptions = {}): Running {
    const running = new Running(this, argv, options);
    this.#running.add(running);
    void running.exited.then(() => this.#running.delete(running));
    return running;
  }

  async dispose(): Promise<void> {
    await Promise.all([...this.#running].map((running) => running.stop()));
    await execute("ip", ["netns", "del", this.name]).catch(() => undefined);
  }

  /** For the end of the process, where nothing can be waited for. */
  removeNow(): void {
    for (const running of this.#running) running.kill("SIGKILL");
    spawnSync("ip", ["netns", "del", this.name]);
  }
}

export interface SpawnOptions {
  readonly cwd?: string;
  /** Added to this process's environment. */
  readonly env?: Readonly<Record<string, string>>;
  /** Given as a service manager gives it, sd_listen_fds_with_names(3). */
  readonly descriptor?: { readonly name: string; readonly fd: number };
}

const LISTENING = ["sh", "-c", 'LISTEN_PID=$$ exec "$@"', "sh"];

export interface Exit {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

/** A process in a namespace; what it writes is collected, line by line. */
export class Running {
  readonly exited: Promise<Exit>;
  readonly #title: string;
  readonly #process: ChildProcess;
  readonly #lines: string[] = [];
  readonly #errors: string[] = [];
  readonly #listeners = new Set<() => void>();
  #exit: Exit | undefined;
  #taken = 0;

  constructor(namespace: Namespace, argv: readonly string[], options: SpawnOptions) {
    this.#title = `${argv.join(" ")} in ${namespace.label}`;
    // nsenter executes the command in its own place, so signals reach the command itself.
    const { descriptor } = options;
    const start = descriptor === undefined ? argv : [...LISTENING, ...argv];
    const given =
      descriptor === undefined ? {} : { LISTEN_FDS: "1", LISTEN_FDNAMES: descriptor.name };
    this.#process = spawn("nsenter", [`--net=${namespace.path}`, "--", ...start], {
      stdio: ["pipe", "pipe", "pipe", ...(descriptor === undefined ? [] : [descriptor.fd])],
      env: { ...process.env, ...given, ...options.env },
      ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
    });
    this.#process.stdin?.on("error", () => undefined); // it may end before it has read
    this.#collect(this.#process.stdout, this.#lines);
    this.#collect(this.#process.stderr, this.#errors);
    this.exited = new Promise((resolve) => {
      const ended = (exit: Exit) => {
        this.#exit = exit;
        this.#tell();
        resolve(exit);
      };
      this.#process.once("close", (code, signal) => ended({ code, signal }));
      this.#process.once("error", (error) => {
        this.#errors.push(String(error));
        ended({ code: null, signal: null });
      });
    });
  }

  get pid(): number | undefined {
    return this.#process.pid;
  }

  /** All it wrote so far, for the message of a failed test. */
  get stdout(): string {
    return this.#lines.join("\n");
  }

  get stderr(): string {
    return this.#errors.join("\n");
  }

  /**
   * The next line of its standard output that fits, waited for if need be; lines before it are skipped, and no
   * line is returned twice. Throws, with what the process said, when it ends or the time is over.
   */
  async line(fits: (line: string) => boolean = () => true, timeoutMs = PATIENCE_MS) {
    const deadline = AbortSignal.timeout(timeoutMs);
    for (;;) {
      while (this.#taken < this.#lines.length) {
        const line = this.#lines[this.#taken++] ?? "";
        if (fits(line)) return line;
      }
      const reason = deadline.aborted ? `nothing within ${timeoutMs} ms` : this.#ending();
      if (reason !== undefined) {
        throw new Error(`${this.#title}: ${reason}\n${this.stdout}\n${this.stderr}`);
      }
      await this.#news(deadline);
    }
  }

  /** The first line of its standard error that fits, waited for like `line`; may be asked for again. */
  async errorLine(fits: (line: string) => boolean, timeoutMs = PATIENCE_MS): Promise<string> {
    const deadline = AbortSignal.timeout(timeoutMs);
    for (;;) {
      const line = this.#errors.find(fits);
      if (line !== undefined) return line;
      const reason = deadline.aborted ? `nothing within ${timeoutMs} ms` : this.#ending();
      if (reason !== undefined) throw new Error(`${this.#title}: ${reason}\n${this.stderr}`);
      await this.#news(deadline);
    }
  }

  /** Lines that `line` has not returned or skipped, if any are here already. */
  rest(): string[] {
    const rest = this.#lines.slice(this.#taken);
    this.#taken = this.#lines.length;
    return rest;
  }

  write(text: string): void {
    this.#process.stdin?.write(text);
  }

  endInput(): void {
    this.#process.stdin?.end();
  }

  kill(signal: NodeJS.Signals): void {
    this.#process.kill(signal);
  }

  /** SIGTERM, then SIGKILL if that does not help. */
  async stop(): Promise<Exit> {
    if (this.#exit !== undefined) return this.#exit;
    this.kill("SIGTERM");
    this.kill("SIGCONT"); // a test may have stopped it
    const impatience = setTimeout(() => this.kill("SIGKILL"), GRACE);
    const exit = await this.exited;
    clearTimeout(impatience);
    return exit;
  }

  #collect(stream: NodeJS.ReadableStream | null, into: string[]): void {
    if (stream === null) return;
    createInterface({ input: stream }).on("line", (line) => {
      into.push(line);
      this.#tell();
    });
  }

  #ending(): string | undefined {
    const exit = this.#exit;
    return exit === undefined ? undefined : `ended, status ${exit.code ?? exit.signal}`;
  }

  #tell(): void {
    for (const listener of [...this.#listeners]) listener();
  }

  #news(deadline: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const done = () => {
        this.#listeners.delete(done);
        deadline.removeEventListener("abort", done);
        resolve();
      };
      this.#listeners.add(done);
      deadline.addEventListener("abort", done);
    });
  }
}

/** Asks again, and again, until `check` gives something. For what the kernel does not announce. */
export async function eventually<T>(
  check: () => Promise<T | undefined>,
  timeoutMs = PATIENCE_MS,
  everyMs = 20,
): Promise<T> {
  const end = performance.now() + timeoutMs;
  for (;;) {
    const value = await check();
    if (value !== undefined) return value;
    if (performance.now() > end) throw new Error(`did not happen within ${timeoutMs} ms`);
    await new Promise((resolve) => setTimeout(resolve, everyMs));
  }
}

/** Namespace names are files shared by the whole machine: several runs may be under way. */
function uniqueName(label: string): string {
  return `hometun-${randomBytes(3).toString("hex")}-${label}`;
}

function execute(file: string, argv: readonly string[], timeout = PATIENCE_MS) {
  return new Promise<string>((resolve, reject) => {
    execFile(file, argv, { timeout, maxBuffer: 64 * 2 ** 20 }, (error, stdout, stderr) => {
      if (error === null) resolve(stdout);
      else
        reject(
          new CommandFailed([file, ...argv].join(" "), error.code ?? undefined, stdout, stderr),
        );
    });
  });
}
