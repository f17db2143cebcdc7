/**
 * The one loop that runs a protocol core: feeds it, arms a timer at its deadline, performs its effects.
 *
 * Effects are performed in the order they were given, those of one input before the next input is taken. What is
 * fed while an effect is being performed waits its turn, so neither the core nor the handler is ever entered
 * twice.
 */

import type { Clock, Timer } from "../adapters/system-clock.ts";
import type { Instant } from "../time.ts";

/** What a protocol core looks like from outside. CONTRIBUTING.md, "A protocol core". */
export interface Core<Input, Effect> {
  /** When to call `handleDeadline`, if nothing else happens first. */
  readonly deadline: Instant | undefined;
  handle(input: Input, now: Instant): readonly Effect[];
  handleDeadline(now: Instant): readonly Effect[];
}

export interface DriverOptions<Input, Effect> {
  readonly core: Core<Input, Effect>;
  readonly clock: Clock;
  /** Carries out one effect. What it throws escapes from `feed`, or from the timer: it ends the process. */
  readonly perform: (effect: Effect) => void;
}

export class Driver<Input, Effect> {
  readonly #core: Core<Input, Effect>;
  readonly #clock: Clock;
  readonly #perform: (effect: Effect) => void;
  readonly #waiting: Input[] = [];
  #busy = false;
  #closed = false;
  #timer: Timer | undefined;
  #armedFor: Instant | undefined;

  constructor(options: DriverOptions<Input, Effect>) {
    this.#core = options.core;
    this.#clock = options.clock;
    this.#perform = options.perform;
    this.#arm();
  }

  /** Gives the core one input and performs what comes of it. Does nothing after `close`. */
  feed(input: Input): void {
    if (this.#closed) return;
    if (this.#busy) {
      this.#waiting.push(input);
      return;
    }
    this.#run(() => this.#core.handle(input, this.#clock.now()));
  }

  /** Disarms the timer; effects that are still to come are dropped. */
  close(): void {
    this.#closed = true;
    this.#waiting.length = 0;
    this.#disarm();
  }

  #run(step: () => readonly Effect[]): void {
    this.#busy = true;
    try {
      this.#performAll(step());
      for (let next = this.#waiting.shift(); next !== undefined; next = this.#waiting.shift()) {
        this.#performAll(this.#core.handle(next, this.#clock.now()));
      }
    } finally {
      this.#busy = false;
      this.#arm();
    }
  }

  #performAll(effects: readonly Effect[]): void {
    for (const effect of effects) {
      if (this.#closed) return;
      this.#perform(effect);
    }
  }

  /** A timer that stands too early is left: waking once for nothing is cheaper than re-arming per input. */
  #arm(): void {
    const deadline = this.#closed ? undefined : this.#core.deadline;
    if (deadline === undefined) {
      this.#disarm();
      return;
    }
    if (this.#armedFor !== undefined && this.#armedFor <= deadline) return;
    this.#disarm();
    this.#armedFor = deadline;
    this.#timer = this.#clock.at(deadline, () => this.#wake());
  }

  #disarm(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
    this.#armedFor = undefined;
  }

  #wake(): void {
    this.#timer = undefined;
    this.#armedFor = undefined;
    const { deadline } = this.#core;
    const now = this.#clock.now();
    if (deadline === undefined || deadline > now) this.#arm();
    else this.#run(() => this.#core.handleDeadline(now));
  }
}
