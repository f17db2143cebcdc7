/**
 * The daemons' log: one event, one line, on standard error. For people on a terminal, else JSON. Written
 * synchronously, so that the last line before an exit is not lost; a quiet system logs nothing.
 */

import { type DestinationStream, destination, type Logger, pino } from "pino";
import { prettyFactory } from "pino-pretty";
import type { LogConfig, LogFormat } from "../config/schema.ts";
import { SystemError } from "../errors.ts";

export type { Logger } from "pino";

const STANDARD_ERROR = 2;
/** Properties that may hold keys, in the model and in files. Nothing logs them; this is the second lock. */
const SECRETS = new Set([
  "keys",
  "encryptionKey",
  "companion",
  "salt",
  "integrity-key",
  "inbound",
  "outbound",
]);
/** Nobody will ever read it. */
const CLOSED = new Set(["EIO", "EPIPE"]);
/** Octets that wait while a disk is full; lines beyond them are lost. */
const MOST_WAITING = 64 * 1024;
const CENSORED = "[Redacted]";
/** How deep secrets are looked for. */
const DEPTH = 3;

/** Where and how lines are written; tests write elsewhere. */
export interface LogOutput {
  readonly stream?: DestinationStream;
  readonly terminal?: boolean;
  readonly colour?: boolean;
}

/** Opens the log. */
export function openLog(config: LogConfig, output: LogOutput = {}): Logger {
  const { NO_COLOR } = process.env;
  const terminal = output.terminal ?? process.stderr.isTTY === true;
  const pretty = isPretty(config.format, terminal);
  const stream = output.stream ?? standardError();
  const options = {
    level: config.level,
    base: null,
    formatters: {
      level: (label: string) => ({ level: label }),
      // pino's own redaction by wildcards costs more than all the rest of a line.
      log: (fields: Record<string, unknown>) => censor(fields, DEPTH),
    },
    timestamp: pino.stdTimeFunctions.isoTime,
    serializers: { err: pretty ? describeError : pino.stdSerializers.err },
  };
  return pino(
    options,
    pretty ? prettyOn(stream, output.colour ?? (terminal && !NO_COLOR)) : stream,
  );
}

/** Whoever closes the terminal or the pipe, or lets the disk run full, loses lines of the log, not the daemon. */
function standardError(): DestinationStream {
  const stream = destination({ dest: STANDARD_ERROR, sync: true, maxLength: MOST_WAITING });
  let isGone = false;
  stream.on("error", ({ code = "" }: NodeJS.ErrnoException) => {
    isGone ||= CLOSED.has(code);
  });
  return { write: (line) => void (isGone || stream.write(line)) };
}

/** For what nobody should hear of. */
export function silentLog(): Logger {
  return pino({ level: "silent" });
}

function isPretty(format: LogFormat, terminal: boolean): boolean {
  return format === "pretty" || (format === "auto" && terminal);
}

/** For people, what the system refused needs no stack; our own mistakes do. */
function describeError(error: Error): unknown {
  return error instanceof SystemError ? error.message : pino.stdSerializers.err(error);
}

/** `12:03:04.123 INFO: remote endpoint moved {"tunnel":"alice"}` */
function prettyOn(stream: DestinationStream, colorize: boolean): DestinationStream {
  const format = prettyFactory({ colorize, singleLine: true, translateTime: "SYS:HH:MM:ss.l" });
  return { write: (line) => stream.write(format(line)) };
}

/** The fields without secrets; the very same object if it holds none. */
function censor(fields: Record<string, unknown>, depth: number): Record<string, unknown> {
  let clean = fields;
  for (const [name, value] of Object.entries(fields)) {
    const shown = censorValue(name, value, depth);
    if (shown === value) continue;
    if (clean === fields) clean = { ...fields };
    clean[name] = shown;
  }
  return clean;
}

function censorValue(name: string, value: unknown, depth: number): unknown {
  if (SECRETS.has(name)) return CENSORED;
  const isPlain =
    typeof value === "object" &&
    value !== null &&
    Object.getPrototypeOf(value) === Object.prototype;
  return isPlain && depth > 1 ? censor(value as Record<string, unknown>, depth - 1) : value;
}
