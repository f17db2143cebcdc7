/**
 * The Unix stream socket of the control protocol, both ends. The daemon's end is for its owner and group; whoever
 * connects gets little room, little time and one answer.
 */

import { chmodSync, type Stats, statSync, unlinkSync } from "node:fs";
import { createConnection, createServer, type Server, type Socket } from "node:net";
import { dirname } from "node:path";
import {
  type ControlHandler,
  type ControlReply,
  type ControlRequest,
  decodeReply,
  decodeRequest,
  encodeControl,
  LONGEST_REQUEST,
  refused,
} from "../control/protocol.ts";
import { MalformedError, SystemError } from "../errors.ts";
import type { Task } from "../runtime/tasks.ts";

/** Owner and group may talk to us, the world may not. */
const SOCKET_MODE = 0o660;
const MOST_CONNECTIONS = 16;
/** How long a connection may be idle, in milliseconds: also what a client that reads nothing may cost. */
const CONNECTION_TIMEOUT = 5_000;
/** How long a daemon may think, in milliseconds. */
const REPLY_TIMEOUT = 5_000;
/** Longest reply read, in octets: 10,000 homes need about 10 MB. */
const LONGEST_REPLY = 256 * 1024 * 1024;
/** No daemon listens: the socket is missing, or left over by one that died. */
const NOBODY = new Set(["ENOENT", "ECONNREFUSED"]);

/** Asking failed since no daemon runs there. */
export class DaemonAbsentError extends Error {
  override readonly name = "DaemonAbsentError";
  readonly path: string;

  constructor(path: string) {
    super(`no daemon is running: nobody answers at ${path}`);
    this.path = path;
  }
}

export interface ControlServer {
  /** Stops listening, ends what is being answered, removes the socket. */
  close(): Promise<void>;
}

/**
 * Listens at `path`. A socket left over is replaced, one that answers is not. Throws `SystemError`:
 * `EADDRINUSE` when another instance runs, `ENOENT` when the directory is missing.
 */
export async function serveControl(path: string, handler: ControlHandler): Promise<ControlServer> {
  const operation = `listen on the control socket ${path}`;
  await clearPath(path, operation);
  const connections = new Set<Socket>();
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    connections.add(socket);
    socket.on("close", () => connections.delete(socket));
    if (connections.size > MOST_CONNECTIONS) {
      socket.on("error", () => socket.destroy());
      socket.end(encodeControl(refused("busy", "too many connections")));
    } else {
      converse(socket, handler);
    }
  });
  await listen(server, path, operation);
  return {
    close: () =>
      new Promise((resolve) => {
        for (const socket of connections) socket.destroy();
        server.close(() => resolve());
      }),
  };
}

/** The control socket as a part of a daemon. */
export function controlTask(path: string, handler: ControlHandler): Task {
  return {
    name: "control",
    async run(signal, ready) {
      const server = await serveControl(path, handler);
      ready();
      await new Promise<void>((resolve) => {
        if (signal.aborted) resolve();
        else signal.addEventListener("abort", () => resolve(), { once: true });
      });
      await server.close();
    },
  };
}

/** Asks the daemon at `path`. Throws `DaemonAbsentError`, `SystemError` or `MalformedError`. */
export async function askControl(path: string, request: ControlRequest): Promise<ControlReply> {
  const operation = `ask the daemon at ${path}`;
  let socket: Socket;
  try {
    socket = await connect(path);
  } catch (cause) {
    const code = codeOf(cause);
    if (NOBODY.has(code)) throw new DaemonAbsentError(path);
    const hint =
      code === "EACCES" ? "run as root, or as a member of the socket's group" : undefined;
    throw systemError(operation, code, cause, hint);
  }
  return new Promise<ControlReply>((resolve, reject) => {
    const chunks: Uint8Array[] = [];
    let length = 0;
    const fail = (code: string, cause?: unknown) => {
      socket.destroy();
      reject(systemError(operation, code, cause));
    };
    socket.setTimeout(REPLY_TIMEOUT, () => fail("ETIMEDOUT"));
    socket.on("error", (error) => fail(codeOf(error), error));
    socket.on("data", (chunk) => {
      chunks.push(chunk as Uint8Array);
      length += chunk.length;
      if (length > LONGEST_REPLY) fail("EMSGSIZE");
    });
    socket.on("end", () => {
      socket.destroy();
      try {
        resolve(decodeReply(Buffer.concat(chunks).toString("utf8")));
      } catch (error) {
        reject(error);
      }
    });
    socket.write(encodeControl(request));
  });
}

/** Reads one request, answers it, hangs up. */
function converse(socket: Socket, handler: ControlHandler): void {
  let received = Buffer.alloc(0);
  let answered = false;
  socket.setTimeout(CONNECTION_TIMEOUT, () => socket.destroy());
  // Whoever hangs up on us is forgotten: there is nobody left to tell.
  socket.on("error", () => socket.destroy());
  socket.on("end", () => {
    if (!answered) socket.destroy();
  });
  socket.on("data", (chunk) => {
    if (answered) return;
    received = Buffer.concat([received, chunk as Buffer]);
    const newline = received.indexOf("\n");
    if (newline < 0 && received.length < LONGEST_REQUEST) return;
    answered = true;
    if (newline < 0 || newline >= LONGEST_REQUEST) {
      socket.end(encodeControl(refused("malformed", `longer than ${LONGEST_REQUEST} octets`)));
      return;
    }
    void replyTo(received.toString("utf8", 0, newline), handler).then((reply) => socket.end(reply));
  });
}

/** The reply as a line: a status that cannot be written down is a failure like any other. */
async function replyTo(line: string, handler: ControlHandler): Promise<string> {
  try {
    return encodeControl(await handler(decodeRequest(line)));
  } catch (error) {
    return encodeControl(refusalOf(error));
  }
}

function refusalOf(error: unknown): ControlReply {
  const reason = error instanceof Error ? error.message : String(error);
  if (!(error instanceof MalformedError)) return refused("failed", reason);
  return refused(error.code === "unknown-command" ? error.code : "malformed", reason);
}

async function listen(server: Server, path: string, operation: string): Promise<void> {
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

/** Removes what a dead daemon left at `path`. Only a socket is ever removed. */
async function clearPath(path: string, operation: string): Promise<void> {
  const directory = dirname(path);
  // bind(2) would say ENOENT, but libuv makes EACCES of it.
  if (statOf(directory, operation) === undefined) {
    throw systemError(
      operation,
      "ENOENT",
      undefined,
      `first make its directory: mkdir ${directory}`,
    );
  }
  const found = statOf(path, operation);
  if (found === undefined) return;
  if (!found.isSocket()) {
    throw systemError(operation, "EEXIST", undefined, "something other than a socket is there");
  }
  try {
    (await connect(path)).destroy();
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

function connect(path: string): Promise<Socket> {
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

function systemError(operation: string, code: string, cause: unknown, hint?: string): SystemError {
  return new SystemError(operation, code, { cause, ...(hint === undefined ? {} : { hint }) });
}

function codeOf(error: unknown): string {
  const isCoded = error instanceof Error && "code" in error && typeof error.code === "string";
  return isCoded ? (error.code as string) : "EUNKNOWN";
}
