import type { Clock, Timer } from "../../common/adapters/system-clock.ts";
import type { Instant } from "../../common/time.ts";

/** A clock that moves only when told; timers fire in the order of their deadlines. */
export class VirtualClock implements Clock {
  #now = 0;
  readonly #timers: { deadline: Instant; callback: () => void }[] = [];

  now(): Instant {
    return this.#now as Instant;
  }

  wall(): number {
    return Date.UTC(2026, 0, 1) + this.#now;
  }

  at(deadline: Instant, callback: () => void): Timer {
    const timer = { deadline, callback };
    this.#timers.push(timer);
    return { cancel: () => this.#remove(timer) };
  }

  /** How many timers are armed. */
  get armed(): number {
    return this.#timers.length;
  }

  advanceTo(milliseconds: number): void {
    for (;;) {
      const [first] = this.#timers.toSorted((a, b) => a.deadline - b.deadline);
      if (first === undefined || first.deadline > milliseconds) break;
      this.#remove(first);
      this.#now = Math.max(this.#now, first.deadline);
      first.callback();
    }
    this.#now = Math.max(this.#now, milliseconds);
  }

  #remove(timer: { deadline: Instant; callback: () => void }): void {
    const index = this.#timers.indexOf(timer);
    if (index >= 0) this.#timers.splice(index, 1);
  }
}
