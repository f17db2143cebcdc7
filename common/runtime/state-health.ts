/**
 * Whether what must outlive the daemon can be kept. Each file of the state directory tells how it fares; the log hears
 * when trouble begins and when it ends, status and metrics hear of it while it lasts.
 */

import type { SystemError } from "../errors.ts";
import type { Logger } from "./log.ts";

/** Told by whoever keeps one file. */
export interface StateReport {
  /** The file was not what it should be. What it was is kept under that name, for people to look at. */
  damaged(keptAs: string): void;
  /** It cannot be written; the daemon goes on, and tries again. */
  failing(error: SystemError): void;
  /** It was written. */
  written(): void;
}

/** For those who tell nobody. */
export const NO_REPORT: StateReport = {
  damaged: () => undefined,
  failing: () => undefined,
  written: () => undefined,
};

export class StateHealth {
  readonly #log: Logger;
  readonly #failing = new Map<string, SystemError>();

  constructor(log: Logger) {
    this.#log = log;
  }

  /** `file` is what the log calls it. */
  of(file: string): StateReport {
    return {
      damaged: (keptAs) =>
        this.#log.error({ file, keptAs }, "state file damaged or of another version, kept aside"),
      failing: (err) => {
        const news = !this.#failing.has(file);
        this.#failing.set(file, err);
        if (news) this.#log.error({ file, err }, "state cannot be written, going on without");
      },
      written: () => {
        if (this.#failing.delete(file)) this.#log.warn({ file }, "state is written again");
      },
    };
  }

  /** In words, while something cannot be written. */
  get problem(): string | undefined {
    const [first] = this.#failing.values();
    return first?.message;
  }
}
