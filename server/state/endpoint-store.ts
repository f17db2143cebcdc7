/** Remembers the homes' endpoints in the state directory, and keeps the journal from growing for ever. */

import { JournalFile } from "../../common/adapters/journal-file.ts";
import type { SystemError } from "../../common/errors.ts";
import type { TunnelName } from "../../common/tunnel/tunnel.ts";
import { formatEntry, formatJournal, type JournalEntry, readJournal } from "./endpoint-journal.ts";

/** The journal is rewritten when it has this many lines more than twice the number of homes. */
const SPARE_LINES = 10_000;

export class EndpointStore {
  readonly #journal: JournalFile;
  readonly #entries: Map<TunnelName, JournalEntry>;
  #lines: number;

  /**
   * Opens or creates the journal. `failed` hears when the disk refuses a line: the journal is a memory, and the daemon
   * goes on without it. Throws `SystemError` when the journal is there and cannot be read.
   */
  constructor(path: string, failed: (error: SystemError) => void) {
    this.#entries = readJournal(JournalFile.read(path));
    this.#lines = this.#entries.size;
    this.#journal = new JournalFile(path, () => formatJournal(this.#entries.values()), failed);
  }

  /** Where the home was last, if that is known. */
  recall(home: TunnelName): JournalEntry | undefined {
    return this.#entries.get(home);
  }

  remember(entry: JournalEntry): void {
    this.#entries.set(entry.home, entry);
    this.#lines += 1;
    if (this.#lines > 2 * this.#entries.size + SPARE_LINES) this.#rewrite();
    else this.#journal.append(formatEntry(entry));
  }

  /** Forgets all but these homes: where a former customer was is nobody's business. */
  retain(homes: ReadonlySet<TunnelName>): void {
    const former = [...this.#entries.keys()].filter((home) => !homes.has(home));
    for (const home of former) this.#entries.delete(home);
    if (former.length > 0) this.#rewrite();
  }

  /** Durable when it returns. */
  close(): Promise<void> {
    return this.#journal.close();
  }

  #rewrite(): void {
    this.#lines = this.#entries.size;
    this.#journal.rewrite();
  }
}
