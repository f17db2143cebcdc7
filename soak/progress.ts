/** One line that lives on a terminal; elsewhere a line every ten seconds. */

import { formatDuration } from "../common/text/units.ts";

const SPACING_MS = 10_000;
const START_OF_LINE = "\r\u001b[K";

export class Progress {
  readonly #label: string;
  readonly #total: number;
  readonly #terminal = process.stderr.isTTY === true;
  readonly #startedAt = performance.now();
  #shownAt = performance.now();

  constructor(label: string, total: number) {
    this.#label = label;
    this.#total = total;
  }

  /** `facts`: what is to be said besides the count and the time that is left. */
  show(done: number, facts: readonly string[]): void {
    const now = performance.now();
    const isLast = done === this.#total;
    if (!this.#terminal && !isLast && now - this.#shownAt < SPACING_MS) return;
    this.#shownAt = now;
    const left = ((now - this.#startedAt) / done) * (this.#total - done);
    const line = [
      `${this.#label} ${done}/${this.#total}`,
      ...facts,
      `${formatDuration(left)} left`,
    ];
    const text = line.join(" · ");
    if (this.#terminal) process.stderr.write(START_OF_LINE + text + (isLast ? "\n" : ""));
    else process.stderr.write(`${text}\n`);
  }
}
