/** A request that is repeated until it is answered, RFC 7296 sections 2.1 and 2.4. */

import { type Instant, later } from "../time.ts";

/** When to repeat and when to give up: our own tuning, for a home behind a slow line. */
export interface RetransmissionTimes {
  /** Milliseconds until the first repetition; each wait is `factor` times the one before. */
  readonly firstMs: number;
  readonly factor: number;
  readonly longestMs: number;
  /** How often it is sent in all. */
  readonly tries: number;
}

/** Gives up after 66 s. */
export const DEFAULT_TIMES: RetransmissionTimes = {
  firstMs: 500,
  factor: 2,
  longestMs: 15_000,
  tries: 8,
};

export class Retransmission {
  readonly #messages: readonly Uint8Array[];
  readonly #times: RetransmissionTimes;
  #waitMs: number;
  #sent = 1;
  #deadline: Instant;

  /** The first transmission is the caller's. */
  constructor(messages: readonly Uint8Array[], times: RetransmissionTimes, now: Instant) {
    this.#messages = messages;
    this.#times = times;
    this.#waitMs = times.firstMs;
    this.#deadline = later(now, this.#waitMs);
  }

  get deadline(): Instant {
    return this.#deadline;
  }

  get messages(): readonly Uint8Array[] {
    return this.#messages;
  }

  /** What to send again; undefined when it is time to give up. */
  handleDeadline(now: Instant): readonly Uint8Array[] | undefined {
    if (this.#sent === this.#times.tries) return undefined;
    this.#sent += 1;
    this.#waitMs = Math.min(this.#waitMs * this.#times.factor, this.#times.longestMs);
    this.#deadline = later(now, this.#waitMs);
    return this.#messages;
  }

  /** Again at once, as after an address change; the tries start anew. */
  restart(now: Instant): readonly Uint8Array[] {
    this.#sent = 1;
    this.#waitMs = this.#times.firstMs;
    this.#deadline = later(now, this.#waitMs);
    return this.#messages;
  }
}
