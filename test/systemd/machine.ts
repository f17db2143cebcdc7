/** A machine of its own for the tests: a real systemd as PID 1 in a network namespace. boot.sh says how. */

import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { resolve } from "node:path";
import { eventually, type Namespace, type Running } from "../support/namespace.ts";

const BOOT = resolve(import.meta.dirname, "boot.sh");
const BOOT_TIMEOUT = 60_000; // milliseconds

const NEEDED = ["/lib/systemd/systemd", "/usr/bin/dbus-daemon", "/usr/bin/dpkg", "/dev/net/tun"];

/** What boot.sh does, without systemd. */
const TRIAL = `
  mount --make-rprivate /
  mount -t tmpfs tmpfs /mnt
  mkdir /mnt/cgroup /mnt/up /mnt/work /mnt/root
  mount -t cgroup2 none /mnt/cgroup
  mkdir /mnt/cgroup/hometun-trial
  rmdir /mnt/cgroup/hometun-trial
  mount -t overlay overlay -o lowerdir=/,upperdir=/mnt/up,workdir=/mnt/work /mnt/root
  mount -t sysfs -o ro sysfs /mnt/root/sys
  mknod /mnt/root/null c 1 3
  : >/mnt/root/null`;

/** Why no machine can be booted here, or the package not installed on it; undefined: it can. */
export function bootObstacle(): string | undefined {
  if (process.getuid?.() !== 0) return "systemd as PID 1 needs root";
  const missing = NEEDED.find((path) => !existsSync(path));
  if (missing !== undefined) return `a machine with systemd needs ${missing}`;
  if (spawnSync("dpkg", ["--status", "nodejs"]).status !== 0) {
    return "the package depends on Debian's package nodejs";
  }
  const flags = ["--mount", "--pid", "--fork", "--uts", "--ipc", "--cgroup"];
  const tried = spawnSync("unshare", [...flags, "sh", "-ec", TRIAL], { encoding: "utf8" });
  return tried.status === 0 ? undefined : `systemd as PID 1: ${tried.stderr.trim()}`;
}

/** What `systemctl show` says of a unit. */
export type UnitProperties = Readonly<Record<string, string>>;

export class Machine {
  readonly #running: Running;
  readonly #pid: number;
  readonly #namespace: Namespace;
  readonly #name: string;

  private constructor(namespace: Namespace, name: string, running: Running, pid: number) {
    this.#namespace = namespace;
    this.#name = name;
    this.#running = running;
    this.#pid = pid;
  }

  /** `folder` is found inside as /opt/test. Resolves when systemd has started what it has to. */
  static async boot(namespace: Namespace, folder: string, udev = ""): Promise<Machine> {
    const { name } = namespace;
    const running = namespace.spawn(["unshare", "--mount", BOOT, name, folder, udev]);
    let ended = false;
    void running.exited.then(() => {
      ended = true;
    });
    const pid = await eventually(async () => {
      if (ended) throw new Error("systemd was not started");
      const path = `/proc/${running.pid}/task/${running.pid}/children`;
      const child = Number.parseInt(await readFile(path, "utf8").catch(() => ""), 10);
      if (Number.isNaN(child)) return undefined;
      const program = await readFile(`/proc/${child}/comm`, "utf8").catch(() => "");
      return program === "systemd\n" ? child : undefined;
    }, BOOT_TIMEOUT).catch((error: unknown) => {
      throw new Error(`${String(error)}\n${running.stdout}\n${running.stderr}`);
    });
    const machine = new Machine(namespace, name, running, pid);
    await eventually(async () => {
      const state = await machine.run("systemctl is-system-running || true").catch(() => "");
      return ["running", "degraded"].includes(state.trim()) ? true : undefined;
    }, BOOT_TIMEOUT).catch((error: unknown) => {
      throw new Error(`${String(error)}\n${running.stdout}\n${running.stderr}`);
    });
    return machine;
  }

  get namespace(): Namespace {
    return this.#namespace;
  }

  /** Runs a shell command inside. Throws `CommandFailed`. */
  async run(command: string, timeoutMs = 60_000): Promise<string> {
    return await this.#namespace.run(["nsenter", ...this.#entry, "sh", "-ec", command], {
      timeoutMs,
    });
  }

  /** Starts a command inside that goes on. */
  spawn(argv: readonly string[]): Running {
    return this.#namespace.spawn(["nsenter", ...this.#entry, ...argv]);
  }

  async write(file: string, text: string, mode = "0644"): Promise<void> {
    const encoded = Buffer.from(text).toString("base64");
    await this.run(
      `mkdir -p "$(dirname ${file})"; umask 077; echo ${encoded} | base64 -d >${file}; chmod ${mode} ${file}`,
    );
  }

  async show(unit: string): Promise<UnitProperties> {
    const text = await this.run(`systemctl show ${unit}`);
    return Object.fromEntries(
      text.split("\n").map((line) => {
        const [, key = "", value = ""] = /^([^=]*)=(.*)$/.exec(line) ?? [];
        return [key, value];
      }),
    );
  }

  /** The first properties that fit. Throws with the last ones, and the journal, when none do. */
  async until(
    unit: string,
    fits: (properties: UnitProperties) => boolean,
    timeoutMs = 30_000,
  ): Promise<UnitProperties> {
    let last: UnitProperties = {};
    try {
      return await eventually(async () => {
        last = await this.show(unit);
        return fits(last) ? last : undefined;
      }, timeoutMs);
    } catch {
      const { ActiveState, SubState, Result, StatusText, MainPID, NRestarts } = last;
      const state = JSON.stringify({
        ActiveState,
        SubState,
        Result,
        StatusText,
        MainPID,
        NRestarts,
      });
      throw new Error(`${unit} is ${state}\n${await this.journal(unit)}`);
    }
  }

  async journal(unit: string): Promise<string> {
    return await this.run(`journalctl --no-pager -o cat -n 60 -u ${unit}`);
  }

  async dispose(): Promise<void> {
    try {
      process.kill(this.#pid, "SIGKILL");
    } catch {
      // It has ended by itself.
    }
    await this.#running.exited;
    removeCgroup(this.#name);
  }

  get #entry(): readonly string[] {
    return [`--target=${this.#pid}`, "--mount", "--pid", "--uts", "--ipc", "--cgroup", "--"];
  }
}

/** The cgroups that a machine leaves behind, which are empty. */
function removeCgroup(name: string): void {
  const script = `mount --make-rprivate /; mount -t cgroup2 none /mnt; find /mnt/${name} -depth -type d -exec rmdir {} +`;
  spawnSync("unshare", ["--mount", "sh", "-ec", script]);
}
