/** Listening on a Unix stream socket that is for its owner and group only. */

import { chmodSync, mkdirSync, type Stats, statSync, unlinkSync } from "node:fs";
import { createConnection, type Server, type Socket } from "node:net";
import { dirname } from "node:path";
import { SystemError } from "../errors.ts";

/** Owner and group may talk to us, the world may not. */
const SOCKET_MODE = 0o660;
/** Of a directory that we make: the group has to get to the socket. */
const DIRECTORY_MODE = 0o750;

/**
 * Lets `server` listen at `path`. A socket left over is replaced, one that answers is not. Throws `SystemError`
 * with `operation`, such as `EADDRINUSE` when another instance runs.
 */
export async function listenUnix(server: Server, path: string, operation: string): Promise<void> {
  makeSocketDirectory(path, operation);
  await clearPath(path, operation);
  try {
    await new Promise<void>((resolve, reject) => {
      server.once("error", reject);
      server.once("listening", resolve);
      // Between bind and chmod nobody may slip in: the socket is born closed to all but its owner. `listen`
      // binds before it returns.
      const before = process.umask(0o177);
      server.listen(path);
      process.umask(before);
    });
    chmodSync(path, SOCKET_MODE);
  } catch (cause) {
    const code = codeOf(cause);
    throw systemError(operation, code, cause, listenHint(code, path));
  }
  // Out of descriptors: whoever asked is not answered, the daemon goes on.
  server.on("error", () => undefined);
}

/**
 * Makes the directory of the socket at `path`, as systemd's RuntimeDirectory= would. One that is there stays as it is.
 * Throws `SystemError` with `operation`.
 */
export function makeSocketDirectory(path: string, operation: string): void {
  const directory = dirname(path);
  try {
    makeDirectory(directory);
  } catch (cause) {
    const hint = `cannot make its directory: run as root, or first mkdir -p ${directory}`;
    throw systemError(operation, codeOf(cause), cause, hint);
  }
}

/** Not by `recursive`, with which Node 20 never ends where a parent that is there says ENOENT, as /proc does. */
function makeDirectory(directory: string): void {
  if (statSync(directory, { throwIfNoEntry: false })?.isDirectory() === true) return;
  const parent = dirname(directory);
  if (parent !== directory) makeDirectory(parent);
  mkdirSync(directory, DIRECTORY_MODE);
}

/** Removes what a dead daemon left at `path`. Only a socket is ever removed. */
async function clearPath(path: string, operation: string): Promise<void> {
  const found = statOf(path, operation);
  if (found === undefined) return;
  if (!found.isSocket()) {
    throw systemError(operation, "EEXIST", undefined, "something other than a socket is there");
  }
  try {
    (await connectUnix(path)).destroy();
  } catch (cause) {
    if (codeOf(cause) !== "ECONNREFUSED") throw systemError(operation, codeOf(cause), cause);
    unlinkSync(path);
    return;
  }
  throw systemError(operation, "EADDRINUSE", undefined, "another instance is running");
}

function statOf(path: string, operation: string): Stats | undefined {
  try {
    return statSync(path, { throwIfNoEntry: false });
  } catch (cause) {
    const code = codeOf(cause);
    throw systemError(operation, code, cause, listenHint(code, path));
  }
}

/** Rejects with what `connect` emits. */
export function connectUnix(path: string): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = createConnection(path);
    socket.once("error", reject);
    socket.once("connect", () => {
      socket.off("error", reject);
      resolve(socket);
    });
  });
}

function listenHint(code: string, path: string): string | undefined {
  switch (code) {
    case "EACCES":
      return `no permission to write in ${dirname(path)}`;
    case "EADDRINUSE":
      return "another instance is running";
    default:
      return undefined;
  }
}

/** A `SystemError`, with a hint if there is one. */
export function systemError(
  operation: string,
  code: string,
  cause: unknown,
  hint?: string,
): SystemError {
  return new SystemError(operation, code, { cause, ...(hint === undefined ? {} : { hint }) });
}

/** The system's word for an error of Node's. */
export function codeOf(error: unknown): string {
  const isCoded = error instanceof Error && "code" in error && typeof error.code === "string";
  return isCoded ? (error.code as string) : "EUNKNOWN";
}
