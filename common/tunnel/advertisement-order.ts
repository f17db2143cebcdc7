/**
 * An advertisement says where its sender is at the moment of sending, so one that a later one has overtaken is wrong.
 * ESP lets it pass: a packet that never arrived is no replay, and the replay window takes what is late. Someone
 * on the way could hold back advertisements and hand them over one by one, and so send a home's traffic to where the
 * home has been; a path that reorders does it without intent.
 */

import type { PacketMemory } from "../bytes/packet-memory.ts";
import { Icmpv6Type } from "../ip/icmpv6.ts";
import { IPV6_HEADER_LENGTH, IpProtocol } from "../ip/ipv6.ts";

const NEXT_HEADER = 6; // offset in the IPv6 header

/** The order of one tunnel's advertisements, by the ESP sequence numbers they came with. */
export class AdvertisementOrder {
  #latest: number;

  /** `latest`: the highest number received before, 0 for none. */
  constructor(latest: number) {
    this.#latest = latest;
  }

  /** False when an advertisement with a higher number was admitted before. */
  admit(sequence: number): boolean {
    if (sequence < this.#latest) return false;
    this.#latest = sequence;
    return true;
  }
}

/** Whether the IPv6 packet of `length` octets at `offset` is a Neighbor Advertisement. */
export function isAdvertisement(memory: PacketMemory, offset: number, length: number): boolean {
  const { octets } = memory;
  return (
    length > IPV6_HEADER_LENGTH &&
    octets[offset + NEXT_HEADER] === IpProtocol.icmpv6 &&
    octets[offset + IPV6_HEADER_LENGTH] === Icmpv6Type.neighborAdvertisement
  );
}
