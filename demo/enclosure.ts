/** Namespaces that hold all the demonstration makes, for root or, where the kernel allows it, for any user. */

import { spawnSync } from "node:child_process";
import { accessSync, constants, existsSync } from "node:fs";
import { delimiter, join } from "node:path";

const TUN_DEVICE = "/dev/net/tun";
/** Where Debian keeps what a user's PATH does not name. */
const SYSTEM_DIRECTORIES = ["/usr/sbin", "/sbin"];
const TOOLS: Readonly<Record<string, string>> = {
  ip: "iproute2",
  nsenter: "util-linux",
  unshare: "util-linux",
};

export type Command = [file: string, ...args: string[]];

/** True where the demonstration runs as root of a user namespace only. */
export function isUnprivileged(): boolean {
  return process.getuid?.() !== 0;
}

/**
 * The command in namespaces of its own. /run is empty there: it is where `ip netns` and the daemons keep their
 * things. What runs in it dies with it.
 */
export function enclose(argv: readonly string[]): Command {
  const user = isUnprivileged() ? ["--user", "--map-root-user"] : [];
  const namespaces = ["--mount", "--net", "--pid", "--fork", "--kill-child"];
  const prelude = 'mount -t tmpfs -o mode=755 tmpfs /run && exec "$@"';
  return ["unshare", ...user, ...namespaces, "sh", "-c", prelude, "sh", ...argv];
}

/** Why the demonstration cannot run here and what to do about it, in one line. */
export function findObstacle(): string | undefined {
  Object.assign(process.env, { PATH: searchPath().join(delimiter) });
  return missingTool() ?? missingDevice() ?? missingPermission();
}

function searchPath(): string[] {
  const { PATH } = process.env;
  return [...new Set([...(PATH ?? "").split(delimiter), ...SYSTEM_DIRECTORIES])];
}

function missingTool(): string | undefined {
  if (process.platform !== "linux") return "needs Linux";
  const tool = Object.keys(TOOLS).find(
    (name) => !searchPath().some((directory) => existsSync(join(directory, name))),
  );
  if (tool === undefined) return undefined;
  return `needs the command ${tool}: apt-get install ${TOOLS[tool]}`;
}

function missingDevice(): string | undefined {
  if (!existsSync(TUN_DEVICE)) {
    return `needs ${TUN_DEVICE}: sudo modprobe tun (a container needs --device ${TUN_DEVICE})`;
  }
  try {
    accessSync(TUN_DEVICE, constants.R_OK | constants.W_OK);
    return undefined;
  } catch {
    return `may not open ${TUN_DEVICE}: run it with sudo: sudo npm run demo`;
  }
}

/** Found out by trying. */
function missingPermission(): string | undefined {
  const [file, ...args] = enclose(["ip", "netns", "add", "probe"]);
  const { status, stderr } = spawnSync(file, args, { encoding: "utf8" });
  if (status === 0) return undefined;
  const why = stderr.trim().split("\n").at(-1) ?? "";
  return isUnprivileged()
    ? `this system does not let users make network namespaces, run it with sudo: sudo npm run demo (${why})`
    : `may not make network namespaces; a container needs --privileged (${why})`;
}
