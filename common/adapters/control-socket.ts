/**
 * The Unix stream socket of the control protocol, both ends. The daemon's end is for its owner and group; whoever
 * connects gets little room, little time and one answer.
 */

import { createServer, type Socket } from "node:net";
import {
  type ControlHandler,
  type ControlReply,
  type ControlRequest,
  decodeReply,
  decodeRequest,
  done,
  encodeControl,
  JsonPieces,
  LONGEST_REQUEST,
  refused,
} from "../control/protocol.ts";
import { MalformedError } from "../errors.ts";
import type { Task } from "../runtime/tasks.ts";
import {
  codeOf,
  connectUnix,
  listenUnix,
  makeSocketDirectory,
  systemError,
} from "./unix-listener.ts";
import { writePieces } from "./write-pieces.ts";

const MOST_CONNECTIONS = 16;
/** How long a connection may be idle, in milliseconds: also what a client that reads nothing may cost. */
const CONNECTION_TIMEOUT = 5_000;
/** How long a daemon may think, in milliseconds. */
const REPLY_TIMEOUT = 5_000;
/** Longest reply read, in octets: 10,000 homes need about 10 MB. */
const LONGEST_REPLY = 256 * 1024 * 1024;
/** No daemon listens: the socket is missing, or left over by one that died. */
const NOBODY = new Set(["ENOENT", "ECONNREFUSED"]);

/** A reply of the kind `done` around a value that is told in pieces. */
const [ANSWER_BEGINS = "", ANSWER_ENDS = ""] = encodeControl(done(0)).split("0");

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
 * Listens at `path`, whose directory is made if need be. A socket left over is replaced, one that answers is not. Throws
 * `SystemError`, such as `EADDRINUSE` when another instance runs.
 */
export async function serveControl(path: string, handler: ControlHandler): Promise<ControlServer> {
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
  await listenUnix(server, path, operationAt(path));
  return {
    close: () =>
      new Promise((resolve) => {
        for (const socket of connections) socket.destroy();
        server.close(() => resolve());
      }),
  };
}

function operationAt(path: string): string {
  return `listen on the control socket ${path}`;
}

/** The control socket as a part of a daemon. */
export function controlTask(path: string, handler: ControlHandler): Task {
  return {
    name: "control",
    prepare: () => makeSocketDirectory(path, operationAt(path)),
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
    socket = await connectUnix(path);
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
      const text = Buffer.concat(chunks).toString("utf8");
      // A daemon that ends breaks off.
      if (!text.endsWith("\n")) return fail("ECONNRESET");
      socket.destroy();
      try {
        resolve(decodeReply(text));
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
    void answer(socket, received.toString("utf8", 0, newline), handler);
  });
}

/** Answers a line. A status that cannot be written down is a failure like any other. */
async function answer(socket: Socket, line: string, handler: ControlHandler): Promise<void> {
  try {
    const reply = await handler(decodeRequest(line));
    if (reply.kind === "done" && reply.value instanceof JsonPieces) {
      await writePieces(socket, wrapped(reply.value));
      socket.end();
    } else {
      socket.end(encodeControl(reply));
    }
  } catch (error) {
    // With half of an answer told there is no way to say that it failed but to break off.
    if (socket.bytesWritten > 0) socket.destroy();
    else socket.end(encodeControl(refusalOf(error)));
  }
}

/** Nothing is told before the first piece is made: until then a failure can still be said. */
function* wrapped(value: JsonPieces): Generator<string> {
  let before = ANSWER_BEGINS;
  for (const piece of value.pieces) {
    yield piece === "" ? "" : before + piece;
    if (piece !== "") before = "";
  }
  yield ANSWER_ENDS;
}

function refusalOf(error: unknown): ControlReply {
  const reason = error instanceof Error ? error.message : String(error);
  if (!(error instanceof MalformedError)) return refused("failed", reason);
  return refused(error.code === "unknown-command" ? error.code : "malformed", reason);
}
