/** Neighbor Solicitation, RFC 4861 section 4.3. */

import { ByteReader } from "../bytes/reader.ts";
import { ByteWriter } from "../bytes/writer.ts";
import { MalformedError } from "../errors.ts";
import { formatIpv6, IPV6_LENGTH, type Ipv6Address, ipv6Octets } from "../ip/address.ts";
import { decodeIcmpv6, encodeIcmpv6, Icmpv6Type } from "../ip/icmpv6.ts";
import { decodeNdOptions, encodeNdOptions, type NdOption } from "./option.ts";

const RESERVED = 4; // octets

export interface NeighborSolicitation {
  readonly target: Ipv6Address;
  readonly options: readonly NdOption[];
}

/**
 * Reads a whole ICMPv6 message. Code and checksum are not looked at. Throws `MalformedError` `wrong-type`,
 * `truncated` or `option-length-zero`.
 */
export function decodeNeighborSolicitation(icmp: Uint8Array): NeighborSolicitation {
  const { type, body } = decodeIcmpv6(icmp);
  if (type !== Icmpv6Type.neighborSolicitation) {
    throw new MalformedError("nd", "wrong-type", `type ${type} is not a solicitation`);
  }
  const reader = new ByteReader("nd", body);
  reader.skip(RESERVED);
  return {
    target: formatIpv6(reader.octets(IPV6_LENGTH)),
    options: decodeNdOptions(reader.octets(reader.remaining)),
  };
}

/** The whole ICMPv6 message, its checksum zero. */
export function encodeNeighborSolicitation(solicitation: NeighborSolicitation): Uint8Array {
  const body = new ByteWriter()
    .zeros(RESERVED)
    .octets(ipv6Octets(solicitation.target))
    .octets(encodeNdOptions(solicitation.options))
    .finish();
  return encodeIcmpv6({ type: Icmpv6Type.neighborSolicitation, code: 0, body });
}
