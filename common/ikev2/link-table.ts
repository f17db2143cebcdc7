/** Whose link is which, RFC 5739 section 4.2: a Link ID belongs to the identity it was given to. */

import { formatIdentification } from "./identity.ts";
import type { RandomSource } from "./key-agreement.ts";
import { compareOctets } from "./selectors.ts";
import type { Identification } from "./wire/payloads/identification.ts";

const LINK_ID_LENGTH = 16; // octets: nobody guesses another's

export class LinkTable {
  readonly #random: RandomSource;
  /** One link an identity; bounded by the homes that the gateway knows, since only they get here. */
  readonly #links = new Map<string, Uint8Array>();

  constructor(random: RandomSource) {
    this.#random = random;
  }

  /** The Link ID it asks for if that is its own; else it is a new link, with a new Link ID. */
  claim(identity: Identification, requested: Uint8Array): Uint8Array {
    const name = formatIdentification(identity);
    const own = this.#links.get(name);
    if (own !== undefined && compareOctets(own, requested) === 0) return own;
    const linkId = this.#random(LINK_ID_LENGTH);
    this.#links.set(name, linkId);
    return linkId;
  }

  /** A link from before a restart: the home may ask for it again. */
  restore(identity: Identification, linkId: Uint8Array): void {
    this.#links.set(formatIdentification(identity), linkId);
  }

  /** The home is not one of ours any more. */
  forget(identity: Identification): void {
    this.#links.delete(formatIdentification(identity));
  }
}
