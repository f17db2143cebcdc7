/** The home's prefixes, of which no unused part may circle between home and server: others may be given at any time. */

import type { LanLinks } from "../../common/adapters/lan-link.ts";
import type { Ipv6Prefix } from "../../common/ip/address.ts";
import type { Logger } from "../../common/runtime/log.ts";

export class PrefixGuard {
  readonly #links: LanLinks;
  readonly #log: Logger;
  #prefixes: readonly Ipv6Prefix[] = [];
  /** The last piece of work: one after the other, or an older one might undo a newer. */
  #last: Promise<unknown> = Promise.resolve();

  constructor(links: LanLinks, log: Logger) {
    this.#links = links;
    this.#log = log;
  }

  /** Those that are guarded. */
  get prefixes(): readonly Ipv6Prefix[] {
    return this.#prefixes;
  }

  /** Rejects with `SystemError`. */
  async open(prefixes: readonly Ipv6Prefix[]): Promise<void> {
    this.#prefixes = prefixes;
    await this.#links.guard(prefixes);
  }

  /** The home has these. Returns whether they are others than before. */
  follow(prefixes: readonly Ipv6Prefix[]): boolean {
    if (isSame(prefixes, this.#prefixes)) return false;
    const gone = this.#prefixes.filter((prefix) => !isIn(prefix, prefixes));
    this.#prefixes = prefixes;
    const replace = () => Promise.all([this.#links.unguard(gone), this.#links.guard(prefixes)]);
    this.#last = this.#last
      .then(replace)
      .catch((err: unknown) => this.#log.warn({ err }, "cannot guard the home's prefixes"));
    return true;
  }

  /** Rejects with `SystemError`. */
  async close(): Promise<void> {
    await this.#last;
    await this.#links.unguard(this.#prefixes);
  }
}

function isIn(prefix: Ipv6Prefix, others: readonly Ipv6Prefix[]): boolean {
  return others.some(
    ({ address, length }) => address === prefix.address && length === prefix.length,
  );
}

function isSame(prefixes: readonly Ipv6Prefix[], others: readonly Ipv6Prefix[]): boolean {
  return prefixes.length === others.length && prefixes.every((prefix) => isIn(prefix, others));
}
