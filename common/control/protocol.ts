/**
 * What `status` and `announce` say to a running daemon: one request, one reply, each one line of JSON over a
 * Unix stream socket.
 */

import { MalformedError } from "../errors.ts";
import { decodeHomeQuery, type HomeQuery } from "./home-query.ts";

/** A request needs far less; more is somebody else's protocol. */
export const LONGEST_REQUEST = 1_024; // octets, with the newline

export type ControlRequest =
  /** The whole status; on a server with `home`, that home's only, and with `homes` of those homes. */
  | { readonly command: "status"; readonly home?: string; readonly homes?: HomeQuery }
  /** Look at the addresses now, and announce the present one. */
  | { readonly command: "announce" };

export type ControlReply =
  | { readonly kind: "done"; readonly value: unknown }
  | { readonly kind: "refused"; readonly code: ControlRefusal; readonly reason: string };

/**
 * A value for `done` that is too long to be made and written in one go: the pieces of its JSON text. Whoever reads the
 * reply sees no difference.
 */
export class JsonPieces {
  readonly pieces: Iterable<string>;

  /** A piece may be empty: only time is needed then. */
  constructor(pieces: Iterable<string>) {
    this.pieces = pieces;
  }
}

export type ControlRefusal =
  | "malformed"
  | "unknown-command"
  | "unknown-home"
  | "unavailable"
  | "busy"
  | "failed";

/** Carries out a request. What it throws is answered as `failed`. */
export type ControlHandler = (request: ControlRequest) => ControlReply | Promise<ControlReply>;

export function done(value: unknown): ControlReply {
  return { kind: "done", value };
}

export function refused(code: ControlRefusal, reason: string): ControlReply {
  return { kind: "refused", code, reason };
}

/** One line, with its newline. */
export function encodeControl(message: ControlRequest | ControlReply): string {
  return `${JSON.stringify(message)}\n`;
}

/** Throws `MalformedError` `not-json`, `unknown-command`, `bad-home` or `bad-query`. */
export function decodeRequest(line: string): ControlRequest {
  const { command, home, homes } = objectOf(line);
  if (command === "announce") return { command };
  if (command !== "status") throw malformed("unknown-command", "unknown command");
  if (homes !== undefined) return { command, homes: decodeHomeQuery(homes) };
  if (home === undefined) return { command };
  if (typeof home !== "string") throw malformed("bad-home", "a home is a text");
  return { command, home };
}

/** Throws `MalformedError` `not-json` or `bad-reply`. */
export function decodeReply(line: string): ControlReply {
  const { kind, value, code, reason } = objectOf(line);
  if (kind === "done") return { kind, value };
  if (kind === "refused" && typeof code === "string" && typeof reason === "string") {
    return { kind, code: code as ControlRefusal, reason };
  }
  throw malformed("bad-reply", "neither done nor refused");
}

function objectOf(line: string): Record<string, unknown> {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch {
    throw malformed("not-json", "not JSON");
  }
  if (typeof value !== "object" || value === null) throw malformed("not-json", "not a JSON object");
  return value as Record<string, unknown>;
}

function malformed(code: string, detail: string): MalformedError {
  return new MalformedError("control", code, detail);
}
