/** Remembers one thing of each home in the state directory, and keeps the journal from growing for ever. */

import { JournalFile } from "../../common/adapters/journal-file.ts";
import { keepAside, readTextFile } from "../../common/adapters/text-file.ts";
import type { StateReport } from "../../common/runtime/state-health.ts";
import type { TunnelName } from "../../common/tunnel/tunnel.ts";
import {
  type EntryFormat,
  formatEntry,
  formatJournal,
  type HomeEntry,
  readJournal,
} from "./home-journal.ts";

/** The journal is rewritten when it has this many lines more than twice the number of homes. */
const SPARE_LINES = 10_000;
/** What could not be written is tried again in each so-many-th flush: it may be the whole journal. */
const FLUSHES_A_RETRY = 10;

export class HomeStore<Entry extends HomeEntry> {
  readonly #format: EntryFormat<Entry>;
  readonly #journal: JournalFile;
  readonly #entries: Map<TunnelName, Entry>;
  #lines: number;
  #flushes = 0;

  /**
   * Opens or creates the journal. `report` hears when the disk refuses a line: the journal is a memory, and the daemon
   * goes on without it. Throws `SystemError` when the journal is there and cannot be read.
   */
  constructor(
    format: EntryFormat<Entry>,
    path: string,
    report: StateReport,
    wall: () => number = Date.now,
  ) {
    const { entries, isDamaged } = readJournal(format, readTextFile(path) ?? "");
    this.#format = format;
    if (isDamaged) report.damaged(keepAside(path, wall()));
    this.#entries = entries;
    this.#lines = entries.size;
    this.#journal = new JournalFile(
      path,
      () => formatJournal(format, this.#entries.values()),
      report,
    );
  }

  /** What was last remembered of the home, if anything. */
  recall(home: TunnelName): Entry | undefined {
    return this.#entries.get(home);
  }

  remember(entry: Entry): void {
    this.#entries.set(entry.home, entry);
    this.#lines += 1;
    if (this.#lines > 2 * this.#entries.size + SPARE_LINES) this.#rewrite();
    else this.#journal.append(formatEntry(this.#format, entry));
  }

  /** Forgets all but these homes: what became of a former customer is nobody's business. */
  retain(homes: ReadonlySet<TunnelName>): void {
    const former = [...this.#entries.keys()].filter((home) => !homes.has(home));
    for (const home of former) this.#entries.delete(home);
    if (former.length > 0) this.#rewrite();
  }

  /** Tries again what could not be written. To be called each second. */
  flush(): void {
    this.#flushes += 1;
    if (this.#flushes % FLUSHES_A_RETRY === 0) this.#journal.retry();
  }

  /** Durable when it returns. */
  close(): Promise<void> {
    return this.#journal.close();
  }

  leave(): Promise<void> {
    return this.close();
  }

  #rewrite(): void {
    this.#lines = this.#entries.size;
    this.#journal.rewrite();
  }
}
