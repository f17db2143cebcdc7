/**
 * What is remembered of each home, so that a server that starts again can go on: one line of JSON for each change, the
 * last line of a home counts.
 *
 *     {"version":1}
 *     {"home":"alice", ... }
 */

import { MalformedError } from "../../common/errors.ts";
import type { TunnelName } from "../../common/tunnel/tunnel.ts";

const VERSION = 1;
const HEADER = `${JSON.stringify({ version: VERSION })}\n`;

/** Something that is remembered of a home. */
export interface HomeEntry {
  readonly home: TunnelName;
}

/** How entries of one kind are written. */
export interface EntryFormat<Entry extends HomeEntry> {
  /** All but the home: what stands beside it in the line. */
  readonly encode: (entry: Entry) => Readonly<Record<string, unknown>>;
  /** Undefined for what means nothing. Throws `MalformedError`, or nothing else. */
  readonly decode: (
    home: TunnelName,
    fields: Readonly<Record<string, unknown>>,
  ) => Entry | undefined;
}

/** What stands in a journal. */
export interface Journal<Entry extends HomeEntry> {
  /** The last entry of each home. */
  readonly entries: Map<TunnelName, Entry>;
  /** Of another version, or with lines that mean nothing; those are passed over. */
  readonly isDamaged: boolean;
}

/** One line, with its newline. */
export function formatEntry<Entry extends HomeEntry>(
  format: EntryFormat<Entry>,
  entry: Entry,
): string {
  return `${JSON.stringify({ home: entry.home, ...format.encode(entry) })}\n`;
}

/** Before there were versions there was no first line. The last one may be half written, as a power cut leaves it. */
export function readJournal<Entry extends HomeEntry>(
  format: EntryFormat<Entry>,
  text: string,
): Journal<Entry> {
  const entries = new Map<TunnelName, Entry>();
  const lines = text.split("\n");
  const last = lines.pop();
  const version = versionOf(lines[0] ?? "");
  if (version !== undefined) lines.shift();
  if (version !== undefined && version !== VERSION) return { entries, isDamaged: true };
  let isDamaged = false;
  for (const line of [...lines, last ?? ""]) {
    const entry = parseEntry(format, line);
    if (entry !== undefined) entries.set(entry.home, entry);
    else if (line !== last) isDamaged = true;
  }
  return { entries, isDamaged };
}

/** A journal with one line for each entry. */
export function formatJournal<Entry extends HomeEntry>(
  format: EntryFormat<Entry>,
  entries: Iterable<Entry>,
): string {
  return HEADER + [...entries].map((entry) => formatEntry(format, entry)).join("");
}

function versionOf(line: string): unknown {
  try {
    return (JSON.parse(line) as { version?: unknown } | null)?.version;
  } catch {
    return undefined;
  }
}

function parseEntry<Entry extends HomeEntry>(
  format: EntryFormat<Entry>,
  line: string,
): Entry | undefined {
  try {
    const value: unknown = JSON.parse(line);
    if (typeof value !== "object" || value === null) return undefined;
    const { home, ...fields } = value as Record<string, unknown>;
    if (typeof home !== "string") return undefined;
    return format.decode(home as TunnelName, fields);
  } catch (error) {
    if (error instanceof SyntaxError || error instanceof MalformedError) return undefined;
    throw error;
  }
}
