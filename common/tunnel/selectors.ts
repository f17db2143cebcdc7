/**
 * Who may speak to whom through a tunnel: the traffic selectors of its two security associations (RFC 4301 section
 * 4.4.1), checked on every inner packet after it was decrypted and before it is sealed.
 *
 * A packet has an origin, the side of the tunnel it comes from, and a target, the side it goes to; outbound is the
 * mirror image of inbound. Each side has addresses of its own (link-local first) and prefixes behind it. On a home
 * `::/0` is behind the server, on the server `::/0` is behind itself, so the same rules serve both roles.
 *
 * A pair of SAs for multicast has selectors of its own: from where the link's would let a packet come, to any group of
 * link scope or wider, one way.
 */

import type { PacketMemory } from "../bytes/packet-memory.ts";
import { type Ipv6Address, type Ipv6Prefix, ipv6Octets } from "../ip/address.ts";
import { IPV6_HEADER_LENGTH } from "../ip/ipv6.ts";
import type { MulticastDirection, TunnelSpec } from "./tunnel.ts";

/** Why an inner packet is refused; names of `RefusalReason`. */
export type InnerRefusal =
  /** Not an IPv6 packet of exactly this length: what its header says could not be trusted. */
  | "inner-malformed"
  /**
   * The origin's side has no such address. A home could otherwise speak in another's name, or the server hand a home
   * packets that claim to come from its own LAN (BCP 38).
   */
  | "inner-source"
  /**
   * The target's side has no such address. Link-local and loopback addresses of other machines and multicast of more
   * than the link would let a peer reach what is not meant to be reached through a router.
   */
  | "inner-destination";

const PAYLOAD_LENGTH = 4; // offset in the IPv6 header
const SOURCE = 8; // offset in the IPv6 header
const DESTINATION = 24; // offset in the IPv6 header
const WORD = 4; // octets
const LINK_SCOPE = 2; // RFC 4291 section 2.7
const RULE = 8; // words: four of network, four of mask

export class TunnelSelectors {
  readonly #local: Side;
  readonly #remote: Side;

  constructor(
    spec: Pick<TunnelSpec, "localAddresses" | "peerLinkLocal" | "remotePrefixes" | "localPrefixes">,
  ) {
    this.#local = new Side(spec.localAddresses, spec.localPrefixes);
    this.#remote = new Side([spec.peerLinkLocal], spec.remotePrefixes);
  }

  /** Judges a packet that came out of the tunnel; undefined when it may go on. `multicast`: the pair's it came with. */
  judgeInbound(
    memory: PacketMemory,
    offset: number,
    length: number,
    multicast?: MulticastDirection,
  ): InnerRefusal | undefined {
    // By the selectors its source would be a group.
    if (multicast === "outbound") return "inner-source";
    return judge(memory, offset, length, this.#remote, this.#local, multicast !== undefined);
  }

  /** Judges a packet that is to go into the tunnel; undefined when it may. `isMulticast`: with the pair for that. */
  judgeOutbound(
    memory: PacketMemory,
    offset: number,
    length: number,
    isMulticast = false,
  ): InnerRefusal | undefined {
    return judge(memory, offset, length, this.#local, this.#remote, isMulticast);
  }
}

function judge(
  memory: PacketMemory,
  offset: number,
  length: number,
  origin: Side,
  target: Side,
  isMulticast: boolean,
): InnerRefusal | undefined {
  const { view } = memory;
  const isInside =
    length >= IPV6_HEADER_LENGTH && offset >= 0 && offset + length <= memory.octets.length;
  if (
    !isInside ||
    view.getUint8(offset) >> 4 !== 6 ||
    view.getUint16(offset + PAYLOAD_LENGTH) + IPV6_HEADER_LENGTH !== length
  ) {
    return "inner-malformed";
  }
  const source = offset + SOURCE;
  const isGoodSource = mayComeFrom(
    origin,
    target,
    view.getInt32(source),
    view.getInt32(source + WORD),
    view.getInt32(source + 2 * WORD),
    view.getInt32(source + 3 * WORD),
  );
  if (!isGoodSource) return "inner-source";

  const destination = offset + DESTINATION;
  if (isMulticast) {
    return isGroup(view.getInt32(destination)) ? undefined : "inner-destination";
  }
  const isGoodDestination = mayGoTo(
    target,
    view.getInt32(destination),
    view.getInt32(destination + WORD),
    view.getInt32(destination + 2 * WORD),
    view.getInt32(destination + 3 * WORD),
  );
  return isGoodDestination ? undefined : "inner-destination";
}

// Addresses travel as four 32-bit words in network order: nothing is allocated for a packet.

function mayComeFrom(
  origin: Side,
  target: Side,
  a: number,
  b: number,
  c: number,
  d: number,
): boolean {
  if (origin.addresses.match(a, b, c, d)) return true;
  if (a >>> 24 === 0xff || isForOneMachineOrLink(a, b, c, d)) return false;
  if (!origin.prefixes.match(a, b, c, d)) return false;
  // What lies on the target's side does not come from the other, however wide the prefixes of that are; unless the
  // target's side is the whole Internet, of which the origin's prefixes are a part.
  return (
    target.prefixes.matchesAll ||
    !(target.addresses.match(a, b, c, d) || target.prefixes.match(a, b, c, d))
  );
}

function mayGoTo(target: Side, a: number, b: number, c: number, d: number): boolean {
  if (target.addresses.match(a, b, c, d)) return true;
  if (a >>> 24 === 0xff) return a >>> 16 === 0xff02; // link scope, RFC 4291 section 2.7
  return !isForOneMachineOrLink(a, b, c, d) && target.prefixes.match(a, b, c, d);
}

/** Of link scope or wider: what is less never leaves a machine, RFC 4291 section 2.7. */
function isGroup(a: number): boolean {
  return a >>> 24 === 0xff && ((a >>> 16) & 0xf) >= LINK_SCOPE;
}

/** Link-local, unspecified, loopback or IPv4-mapped (RFC 4291 section 2.5): never forwarded. */
function isForOneMachineOrLink(a: number, b: number, c: number, d: number): boolean {
  if (a >>> 22 === 0xfe80 >>> 6) return true;
  return a === 0 && b === 0 && ((c === 0 && (d === 0 || d === 1)) || c === 0xffff);
}

/** What lies at one end of the tunnel. */
class Side {
  readonly addresses: PrefixTable;
  readonly prefixes: PrefixTable;

  constructor(addresses: readonly Ipv6Address[], prefixes: readonly Ipv6Prefix[]) {
    this.addresses = new PrefixTable(addresses.map((address) => ({ address, length: 128 })));
    this.prefixes = new PrefixTable(prefixes);
  }
}

/**
 * Prefixes laid out as words. Few per tunnel, so they are read one after the other; thousands on a server, so in a
 * plain array, which takes half the memory of a short Int32Array and is as fast.
 */
class PrefixTable {
  /** Whether `::/0` is one of them. */
  readonly matchesAll: boolean;
  readonly #words: readonly number[];

  constructor(prefixes: readonly Ipv6Prefix[]) {
    this.matchesAll = prefixes.some((prefix) => prefix.length === 0);
    // The copy has no room to grow.
    this.#words = prefixes.flatMap(ruleOf).slice();
  }

  match(a: number, b: number, c: number, d: number): boolean {
    const words = this.#words;
    for (let i = 0; i < words.length; i += RULE) {
      const difference =
        ((a ^ (words[i] ?? 0)) & (words[i + 4] ?? 0)) |
        ((b ^ (words[i + 1] ?? 0)) & (words[i + 5] ?? 0)) |
        ((c ^ (words[i + 2] ?? 0)) & (words[i + 6] ?? 0)) |
        ((d ^ (words[i + 3] ?? 0)) & (words[i + 7] ?? 0));
      if (difference === 0) return true;
    }
    return false;
  }
}

function ruleOf(prefix: Ipv6Prefix): number[] {
  const view = new DataView(ipv6Octets(prefix.address).buffer);
  const words = [0, 1, 2, 3];
  const masks = words.map((i) => maskOf(Math.min(32, Math.max(0, prefix.length - 32 * i))));
  return [...words.map((i) => view.getInt32(WORD * i)), ...masks];
}

/** A word whose `bits` upper bits are set. */
function maskOf(bits: number): number {
  // A shift by 32 would be one by 0.
  return bits === 0 ? 0 : -1 << (32 - bits);
}
