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

  private constructor(journal: JournalFile, entries: Map<TunnelName, JournalEntry>) {
    this.#journal = journal;
    this.#entries = entries;
    this.#lines = entries.size;
  }

  /** `failed` hears when the disk refuses a line; the daemon goes on. Throws `SystemError`. */
  static async open(path: string, failed: (error: SystemError) => void): Promise<EndpointStore> {
    const entries = readJournal(JournalFile.read(path));
    const journal = await JournalFile.create(path, formatJournal(entries.values()), failed);
    return new EndpointStore(journal, entries);
  }

  /** Where the home was last, if that is known. */
  recall(home: TunnelName): JournalEntry | undefined {
    return this.#entries.get(home);
  }

  remember(entry: JournalEntry): void {
    this.#entries.set(entry.home, entry);
    this.#lines += 1;
    if (this.#lines > 2 * this.#entries.size + SPARE_LINES) {
      this.#lines = this.#entries.size;
      this.#journal.replace(formatJournal(this.#entries.values()));
    } else {
      this.#journal.append(formatEntry(entry));
    }
  }

  /** Durable when it returns. */
  close(): Promise<void> {
    return this.#journal.close();
  }
}
