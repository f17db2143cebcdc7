/**
 * A token bucket: `burst` events at once, `rate` a second in the long run.
 *
 * Kept as one number, the instant at which the bucket would be full again (the "generic cell rate algorithm"
 * of ATM, ITU-T I.371 annex A): a server keeps one for each of thousands of homes.
 */

import type { Instant } from "./time.ts";

/** Adding fractions of a millisecond must not cost a token. */
const ROUNDING_MS = 0.001;

export interface RateLimit {
  /** Tokens that come back in a second; more than 0. */
  readonly rate: number;
  /** Tokens in a full bucket; 1 or more. */
  readonly burst: number;
}

export class TokenBucket {
  /** Milliseconds in which one token comes back. */
  readonly #interval: number;
  /** How far ahead of now the bucket's being full may lie and still leave a token. */
  readonly #tolerance: number;
  #fullAt = Number.NEGATIVE_INFINITY;

  /** A full bucket. Throws `RangeError` for limits that would never let anything pass. */
  constructor({ rate, burst }: RateLimit) {
    if (!(rate > 0 && burst >= 1)) throw new RangeError("a rate limit needs rate > 0, burst >= 1");
    this.#interval = 1000 / rate;
    this.#tolerance = (burst - 1) * this.#interval + ROUNDING_MS;
  }

  /** Takes one token. False, and nothing is taken, when there is none. */
  take(now: Instant): boolean {
    const from = Math.max(this.#fullAt, now);
    if (from - now > this.#tolerance) return false;
    this.#fullAt = from + this.#interval;
    return true;
  }
}
