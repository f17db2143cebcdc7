/**
 * Where each home was last, so that a server that starts again knows whom to ask: one line of JSON for each
 * change, the last line of a home counts.
 *
 *     {"version":1}
 *     {"home":"alice","address":"203.0.113.9","port":4500,"at":1767225600000}
 *
 * It is a memory, not a source of truth: what is restored from it is asked before anything is sent to it.
 */

import { MalformedError } from "../../common/errors.ts";
import { parseIpv4 } from "../../common/ip/address.ts";
import type { Endpoint, TunnelName } from "../../common/tunnel/tunnel.ts";

const VERSION = 1;
const HEADER = `${JSON.stringify({ version: VERSION })}\n`;

/** An endpoint and since when, in wall-clock milliseconds since 1970, the home has it. */
export interface JournalEntry {
  readonly home: TunnelName;
  readonly endpoint: Endpoint;
  readonly at: number;
}

/** One line, with its newline. */
export function formatEntry({ home, endpoint, at }: JournalEntry): string {
  return `${JSON.stringify({ home, address: endpoint.address, port: endpoint.port, at })}\n`;
}

/** What stands in a journal. */
export interface Journal {
  /** The last entry of each home. */
  readonly entries: Map<TunnelName, JournalEntry>;
  /** Of another version, or with lines that mean nothing; those are passed over. */
  readonly isDamaged: boolean;
}

/** Before there were versions there was no first line. The last one may be half written, as a power cut leaves it. */
export function readJournal(text: string): Journal {
  const entries = new Map<TunnelName, JournalEntry>();
  const lines = text.split("\n");
  const last = lines.pop();
  const version = versionOf(lines[0] ?? "");
  if (version !== undefined) lines.shift();
  if (version !== undefined && version !== VERSION) return { entries, isDamaged: true };
  let isDamaged = false;
  for (const line of [...lines, last ?? ""]) {
    const entry = parseEntry(line);
    if (entry !== undefined) entries.set(entry.home, entry);
    else if (line !== last) isDamaged = true;
  }
  return { entries, isDamaged };
}

/** A journal with one line for each entry. */
export function formatJournal(entries: Iterable<JournalEntry>): string {
  return HEADER + [...entries].map(formatEntry).join("");
}

function versionOf(line: string): unknown {
  try {
    return (JSON.parse(line) as { version?: unknown } | null)?.version;
  } catch {
    return undefined;
  }
}

function parseEntry(line: string): JournalEntry | undefined {
  try {
    const value: unknown = JSON.parse(line);
    if (typeof value !== "object" || value === null) return undefined;
    const { home, address, port, at } = value as Record<string, unknown>;
    if (typeof home !== "string" || typeof address !== "string") return undefined;
    if (typeof port !== "number" || !Number.isInteger(port) || port < 0 || port > 0xffff)
      return undefined;
    if (typeof at !== "number" || !Number.isFinite(at)) return undefined;
    return { home: home as TunnelName, endpoint: { address: parseIpv4(address), port }, at };
  } catch (error) {
    if (error instanceof SyntaxError || error instanceof MalformedError) return undefined;
    throw error;
  }
}
