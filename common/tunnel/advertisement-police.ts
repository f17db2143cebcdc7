/**
 * Limits how many Neighbor Discovery messages, and answers to probes, a tunnel may bring in, before the kernel and
 * the daemon's ICMPv6 socket, which all tunnels share, see them: a home that floods harms itself only.
 */

import type { PacketMemory } from "../bytes/packet-memory.ts";
import { Icmpv6Type } from "../ip/icmpv6.ts";
import { IPV6_HEADER_LENGTH, IpProtocol } from "../ip/ipv6.ts";
import { TokenBucket } from "../rate-limit.ts";
import type { Instant } from "../time.ts";
import { IDENTIFIER_OFFSET, PROBE_IDENTIFIER } from "./probe.ts";

const NEXT_HEADER = 6; // offset in the IPv6 header
const DESTINATION = 24; // offset in the IPv6 header
// RFC 4861 section 4: Router Solicitation to Redirect.
const FIRST_NEIGHBOR_DISCOVERY = 133;
const LAST_NEIGHBOR_DISCOVERY = 137;
const MOBILITY = 135; // RFC 6275
const HOST_IDENTITY = 139; // RFC 7401
const SHIM6 = 140; // RFC 5533

export class AdvertisementPolice {
  readonly #bucket: TokenBucket;

  /** `rate` is in messages a second, `burst` how many may come at once. */
  constructor(options: { readonly rate: number; readonly burst: number }) {
    this.#bucket = new TokenBucket(options);
  }

  /**
   * False when the packet is, or may be, a Neighbor Discovery message beyond the rate. Every message of ICMPv6's
   * types 133 to 137 counts; so do Echo Replies that answer a server's probes, or pretend to; and so does
   * every packet with an extension header to a link-local or multicast address, since the header may hide one
   * (RFC 6980). Other traffic is always admitted, and takes nothing from the rate.
   */
  admit(memory: PacketMemory, offset: number, length: number, now: Instant): boolean {
    return !mayBeNeighborDiscovery(memory.octets, offset, length) || this.#bucket.take(now);
  }
}

function mayBeNeighborDiscovery(octets: Uint8Array, offset: number, length: number): boolean {
  if (length < IPV6_HEADER_LENGTH) return false;
  const nextHeader = octets[offset + NEXT_HEADER] ?? 0;
  if (nextHeader === IpProtocol.icmpv6) {
    const type = length > IPV6_HEADER_LENGTH ? (octets[offset + IPV6_HEADER_LENGTH] ?? 0) : 0;
    if (type === Icmpv6Type.echoReply) return isProbeAnswer(octets, offset, length);
    return type >= FIRST_NEIGHBOR_DISCOVERY && type <= LAST_NEIGHBOR_DISCOVERY;
  }
  return isExtensionHeader(nextHeader) && staysOnLink(octets, offset + DESTINATION);
}

function isProbeAnswer(octets: Uint8Array, offset: number, length: number): boolean {
  const at = offset + IPV6_HEADER_LENGTH + IDENTIFIER_OFFSET;
  const identifier = ((octets[at] ?? 0) << 8) | (octets[at + 1] ?? 0);
  return at + 2 <= offset + length && identifier === PROBE_IDENTIFIER;
}

function staysOnLink(octets: Uint8Array, address: number): boolean {
  const first = octets[address];
  return first === 0xff || (first === 0xfe && ((octets[address + 1] ?? 0) & 0xc0) === 0x80);
}

/** IANA "IPv6 Extension Header Types", without those for experiments. */
function isExtensionHeader(nextHeader: number): boolean {
  switch (nextHeader) {
    case IpProtocol.hopByHopOptions:
    case IpProtocol.routing:
    case IpProtocol.fragment:
    case IpProtocol.esp:
    case IpProtocol.authentication:
    case IpProtocol.destinationOptions:
    case MOBILITY:
    case HOST_IDENTITY:
    case SHIM6:
      return true;
    default:
      return false;
  }
}
