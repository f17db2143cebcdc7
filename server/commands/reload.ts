/** Makes a running server read its homes anew, if we may. */

import { readFileSync, statSync } from "node:fs";
import { askControl, DaemonAbsentError } from "../../common/adapters/control-socket.ts";
import type { ControlReply } from "../../common/control/protocol.ts";
import { valueOfReply } from "../../common/runtime/command-line.ts";
import type { ServerStatus } from "../status.ts";

const PATIENCE = 3_000; // milliseconds
const PAUSE = 50; // milliseconds

/** Of which home, and what is said of it. */
interface Change {
  readonly controlSocket: string;
  readonly home: string;
  readonly done: string;
  /** systemd's unit lets the daemon's group read new files before it tells the daemon. */
  readonly bySystemd: string;
  readonly absent: string;
}

const NOT_TAKEN = "The server was told and has not taken it: its log says why.";

/** Returns what to say: that the server knows the home, or what makes it. */
export function askToReload(controlSocket: string, home: string): Promise<string> {
  return askUntil((reply) => reply.kind === "done", {
    controlSocket,
    home,
    done: "The server has read it.",
    bySystemd: "The server reads it with: systemctl reload hometun-server",
    absent: "The server is not running: hometun-server run",
  });
}

/** Returns what to say: that the server serves the home no longer, or what ends it. */
export function askToForget(controlSocket: string, home: string): Promise<string> {
  return askUntil((reply) => reply.kind === "refused" && reply.code === "unknown-home", {
    controlSocket,
    home,
    done: "The server serves it no longer.",
    bySystemd: "The server serves it until: systemctl reload hometun-server",
    absent: "The server is not running.",
  });
}

/** Has the server read its homes; `isTaken` judges what it then says of this one. */
async function askUntil(
  isTaken: (reply: ControlReply) => boolean,
  { controlSocket, home, done, bySystemd, absent }: Change,
): Promise<string> {
  try {
    const reply = await askControl(controlSocket, { command: "status", homes: { limit: 0 } });
    const { pid } = valueOfReply<ServerStatus>(reply);
    if (!isOurs(pid)) return bySystemd;
    process.kill(pid, "SIGHUP");
  } catch (error) {
    return error instanceof DaemonAbsentError ? absent : bySystemd;
  }
  const until = Date.now() + PATIENCE;
  while (Date.now() < until) {
    if (isTaken(await askControl(controlSocket, { command: "status", home }))) return done;
    await new Promise((resolve) => setTimeout(resolve, PAUSE));
  }
  return NOT_TAKEN;
}

/** A daemon of another user's cannot read what we wrote; and a number may be another process's by now. */
function isOurs(pid: number): boolean {
  const isSameUser = statSync(`/proc/${pid}`).uid === process.getuid?.();
  return isSameUser && readFileSync(`/proc/${pid}/cmdline`, "utf8").split("\0").includes("run");
}
