/** Makes a running server read its homes anew, if we may. */

import { readFileSync, statSync } from "node:fs";
import { askControl, DaemonAbsentError } from "../../common/adapters/control-socket.ts";
import { valueOfReply } from "../../common/runtime/command-line.ts";
import type { ServerStatus } from "../status.ts";

const PATIENCE = 3_000; // milliseconds
const PAUSE = 50; // milliseconds
/** systemd's unit lets the daemon's group read new files before it tells the daemon. */
const BY_SYSTEMD = "The server reads it with: systemctl reload hometun-server";

/** Returns what to say: that the server knows the home, or what makes it. */
export async function askToReload(controlSocket: string, home: string): Promise<string> {
  try {
    const reply = await askControl(controlSocket, { command: "status", homes: { limit: 0 } });
    const { pid } = valueOfReply<ServerStatus>(reply);
    if (!isOurs(pid)) return BY_SYSTEMD;
    process.kill(pid, "SIGHUP");
  } catch (error) {
    if (error instanceof DaemonAbsentError) return "The server is not running: hometun-server run";
    return BY_SYSTEMD;
  }
  const isKnown = await eventuallyKnown(controlSocket, home);
  return isKnown
    ? "The server has read it."
    : "The server was told and has not taken it: its log says why.";
}

/** A daemon of another user's cannot read what we wrote; and a number may be another process's by now. */
function isOurs(pid: number): boolean {
  const isSameUser = statSync(`/proc/${pid}`).uid === process.getuid?.();
  return isSameUser && readFileSync(`/proc/${pid}/cmdline`, "utf8").split("\0").includes("run");
}

async function eventuallyKnown(controlSocket: string, home: string): Promise<boolean> {
  const until = Date.now() + PATIENCE;
  while (Date.now() < until) {
    const reply = await askControl(controlSocket, { command: "status", home });
    if (reply.kind === "done") return true;
    await new Promise((resolve) => setTimeout(resolve, PAUSE));
  }
  return false;
}
