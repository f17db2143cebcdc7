/**
 * Where each home was last, so that a server that starts again knows whom to ask: one line of JSON for each
 * change, the last line of a home counts.
 *
 *     {"home":"alice","address":"203.0.113.9","port":4500,"at":1767225600000}
 *
 * It is a memory, not a source of truth: what is restored from it is asked before anything is sent to it.
 */

import { MalformedError } from "../../common/errors.ts";
import { parseIpv4 } from "../../common/ip/address.ts";
import type { Endpoint, TunnelName } from "../../common/tunnel/tunnel.ts";

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

/** The last entry of each home. Lines that are damaged, as the last one is after a power cut, are passed over. */
export function readJournal(text: string): Map<TunnelName, JournalEntry> {
  const entries = new Map<TunnelName, JournalEntry>();
  for (const line of text.split("\n")) {
    const entry = parseEntry(line);
    if (entry !== undefined) entries.set(entry.home, entry);
  }
  return entries;
}

/** A journal with one line for each entry. */
export function formatJournal(entries: Iterable<JournalEntry>): string {
  return [...entries].map(formatEntry).join("");
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
