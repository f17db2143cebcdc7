/**
 * How often one source may begin, by address and by the network around it. Strangers can forge sources: the places are
 * few, and who has not been heard for the longest time loses his to the next, with no harm but a full measure.
 */

import type { Ipv4Address } from "../ip/address.ts";
import { type RateLimit, TokenBucket } from "../rate-limit.ts";
import type { Instant } from "../time.ts";

export interface SourceRates {
  readonly perAddress: RateLimit;
  /** A /24: what one who has many addresses has at the least. */
  readonly perNetwork: RateLimit;
}

/** What is not heard any more for a while, if anything. */
export type SourceVerdict = "pass" | "address-rate" | "network-rate";

const MAXIMUM_PLACES = 4_096;

export class SourceThrottle {
  readonly #addresses: Buckets;
  readonly #networks: Buckets;

  constructor({ perAddress, perNetwork }: SourceRates) {
    this.#addresses = new Buckets(perAddress);
    this.#networks = new Buckets(perNetwork);
  }

  take(address: Ipv4Address, now: Instant): SourceVerdict {
    if (!this.#addresses.take(address, now)) return "address-rate";
    const network = address.slice(0, address.lastIndexOf("."));
    return this.#networks.take(network, now) ? "pass" : "network-rate";
  }
}

class Buckets {
  readonly #limit: RateLimit;
  /** The least recently used first. At most `MAXIMUM_PLACES`. */
  readonly #buckets = new Map<string, TokenBucket>();

  constructor(limit: RateLimit) {
    this.#limit = limit;
  }

  take(key: string, now: Instant): boolean {
    const bucket = this.#buckets.get(key) ?? new TokenBucket(this.#limit);
    this.#buckets.delete(key);
    this.#buckets.set(key, bucket);
    const [oldest] = this.#buckets.keys();
    if (this.#buckets.size > MAXIMUM_PLACES && oldest !== undefined) this.#buckets.delete(oldest);
    return bucket.take(now);
  }
}
