/** Neighbor Advertisement, RFC 4861 section 4.4. Whether one may act on us: `accept.ts`. */

import { ByteReader } from "../bytes/reader.ts";
import { ByteWriter } from "../bytes/writer.ts";
import { MalformedError } from "../errors.ts";
import { formatIpv6, IPV6_LENGTH, type Ipv6Address, ipv6Octets } from "../ip/address.ts";
import { decodeIcmpv6, encodeIcmpv6, Icmpv6Type } from "../ip/icmpv6.ts";
import { decodeNdOptions, encodeNdOptions, type NdOption } from "./option.ts";

const FLAG_ROUTER = 0x80000000;
const FLAG_SOLICITED = 0x40000000;
const FLAG_OVERRIDE = 0x20000000;

export interface NeighborAdvertisement {
  /** The sender forwards packets. */
  readonly router: boolean;
  /** It answers a solicitation. */
  readonly solicited: boolean;
  /** It shall replace what was known of the link-layer address. */
  readonly override: boolean;
  readonly target: Ipv6Address;
  readonly options: readonly NdOption[];
}

/**
 * Reads a whole ICMPv6 message. Code and checksum are not looked at: they are acceptance's part. Reserved
 * bits are ignored. Throws `MalformedError` `wrong-type`, `truncated` or `option-length-zero`.
 */
export function decodeNeighborAdvertisement(icmp: Uint8Array): NeighborAdvertisement {
  const { type, body } = decodeIcmpv6(icmp);
  if (type !== Icmpv6Type.neighborAdvertisement) {
    throw new MalformedError("nd", "wrong-type", `type ${type} is not an advertisement`);
  }
  const reader = new ByteReader("nd", body);
  const flags = reader.u32();
  return {
    router: (flags & FLAG_ROUTER) !== 0,
    solicited: (flags & FLAG_SOLICITED) !== 0,
    override: (flags & FLAG_OVERRIDE) !== 0,
    target: formatIpv6(reader.octets(IPV6_LENGTH)),
    options: decodeNdOptions(reader.octets(reader.remaining)),
  };
}

/** The whole ICMPv6 message, its checksum zero. */
export function encodeNeighborAdvertisement(advertisement: NeighborAdvertisement): Uint8Array {
  const flags =
    (advertisement.router ? FLAG_ROUTER : 0) |
    (advertisement.solicited ? FLAG_SOLICITED : 0) |
    (advertisement.override ? FLAG_OVERRIDE : 0);
  const body = new ByteWriter()
    .u32(flags >>> 0)
    .octets(ipv6Octets(advertisement.target))
    .octets(encodeNdOptions(advertisement.options))
    .finish();
  return encodeIcmpv6({ type: Icmpv6Type.neighborAdvertisement, code: 0, body });
}
