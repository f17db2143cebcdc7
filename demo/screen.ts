/** What is shown: lines that stay and, on a terminal, one line below them that lives. */

import { COLOURED, PLAIN, type Style, widthOf } from "../common/text/style.ts";
import { formatDuration } from "../common/text/units.ts";
import { monotonicMs } from "./moment.ts";

const FRAME = 80; // milliseconds
const SPINNER = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏";
const START_OF_LINE = "\r\u001b[K";
const HIDE_CURSOR = "\u001b[?25l";
const SHOW_CURSOR = "\u001b[?25h";

export class Screen {
  readonly style: Style;
  readonly #terminal = process.stdout.isTTY === true;
  #live: (() => string) | undefined;
  #timer: NodeJS.Timeout | undefined;
  #frame = 0;

  constructor() {
    const { NO_COLOR } = process.env;
    this.style = this.#terminal && !NO_COLOR ? COLOURED : PLAIN;
    if (!this.#terminal) return;
    process.stdout.write(HIDE_CURSOR);
    this.#timer = setInterval(() => this.#draw(), FRAME);
  }

  /** What the living line shows from now on; nothing without an argument. */
  follow(live?: () => string): void {
    this.#live = live;
    this.#draw();
  }

  /** A line that stays. */
  say(text = ""): void {
    process.stdout.write(`${this.#terminal ? START_OF_LINE : ""}${text}\n`);
    this.#draw();
  }

  /** Shows that `work` goes on, then that it is done. */
  async step<T>(label: string, work: () => Promise<T>): Promise<T> {
    const start = monotonicMs();
    const before = this.#live;
    this.follow(() => `  ${this.style.pending(this.spinner)} ${label}`);
    try {
      const result = await work();
      this.#live = before;
      const took = this.style.faint(formatDuration(monotonicMs() - start));
      this.say(`  ${this.style.good("✓")} ${label}  ${took}`);
      return result;
    } finally {
      this.follow(before);
    }
  }

  get spinner(): string {
    return SPINNER[this.#frame % SPINNER.length] ?? "";
  }

  close(): void {
    clearInterval(this.#timer);
    if (this.#terminal) process.stdout.write(START_OF_LINE + SHOW_CURSOR);
    this.#live = undefined;
  }

  #draw(): void {
    if (!this.#terminal) return;
    this.#frame += 1;
    const live = this.#live?.() ?? "";
    // A line that wraps could not be drawn over.
    const fits = widthOf(live) < process.stdout.columns;
    process.stdout.write(START_OF_LINE + (fits ? live : ""));
  }
}
