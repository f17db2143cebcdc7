/**
 * How many messages of strangers are looked at: each costs time that the homes' packets need. What comes beyond the rate
 * is refused; and so that refusing costs nothing either, `share` says which part should reach us at all.
 */

import { type RateLimit, TokenBucket } from "../rate-limit.ts";
import { type Instant, later } from "../time.ts";

/** How often the share is thought over. */
const WINDOW_MS = 200;
const SHORTEST_WINDOW_MS = 1;
const SMALLEST_SHARE = 1 / 4096;
/** When so many times a window's share have come, the window is over at once. */
const OVERRUN = 2;
/** When fewer come than may, the share grows by this factor in a window. */
const RELAXATION = 4;

export class StrangerThrottle {
  readonly #rate: number;
  readonly #bucket: TokenBucket;
  #share = 1;
  #arrived = 0;
  #windowFrom: Instant | undefined;

  constructor(limit: RateLimit) {
    this.#rate = limit.rate;
    this.#bucket = new TokenBucket(limit);
  }

  /** The part of all messages that should be let through to us, chosen at random: more than 0, at most 1. */
  get share(): number {
    return this.#share;
  }

  /** When `review` is due; undefined while nothing comes and all may. */
  get deadline(): Instant | undefined {
    if (this.#windowFrom === undefined) return undefined;
    const isOverrun = this.#arrived > (OVERRUN * this.#rate * WINDOW_MS) / 1000;
    return later(this.#windowFrom, isOverrun ? SHORTEST_WINDOW_MS : WINDOW_MS);
  }

  /** One has arrived. False: it is one too many. */
  admit(now: Instant): boolean {
    this.#windowFrom ??= now;
    this.#arrived += 1;
    return this.#bucket.take(now);
  }

  /** Thinks the share over, if it is time. True when it has changed. */
  review(now: Instant): boolean {
    const { deadline } = this;
    if (deadline === undefined || now < deadline || this.#windowFrom === undefined) return false;
    const arriving = (1000 * this.#arrived) / (now - this.#windowFrom);
    const before = this.#share;
    if (arriving > this.#rate) {
      this.#share = Math.max(SMALLEST_SHARE, (before * this.#rate) / arriving);
    } else if (arriving < this.#rate / 2) {
      this.#share = Math.min(1, before * RELAXATION);
    }
    this.#arrived = 0;
    this.#windowFrom = this.#share < 1 ? now : undefined;
    return this.#share !== before;
  }
}
