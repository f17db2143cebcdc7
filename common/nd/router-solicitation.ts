/** Router Solicitation, RFC 4861 section 4.1. Whether one is to be answered: `accept-solicitation.ts`. */

import { ByteReader } from "../bytes/reader.ts";
import { ByteWriter } from "../bytes/writer.ts";
import { MalformedError } from "../errors.ts";
import { decodeIcmpv6, encodeIcmpv6, Icmpv6Type } from "../ip/icmpv6.ts";
import { decodeNdOptions, encodeNdOptions, type NdOption } from "./option.ts";

const RESERVED = 4; // octets

export interface RouterSolicitation {
  readonly options: readonly NdOption[];
}

/**
 * Reads a whole ICMPv6 message. Code and checksum are not looked at. Throws `MalformedError` `wrong-type`,
 * `truncated` or `option-length-zero`.
 */
export function decodeRouterSolicitation(icmp: Uint8Array): RouterSolicitation {
  const { type, body } = decodeIcmpv6(icmp);
  if (type !== Icmpv6Type.routerSolicitation) {
    throw new MalformedError("nd", "wrong-type", `type ${type} is not a router solicitation`);
  }
  const reader = new ByteReader("nd", body);
  reader.skip(RESERVED);
  return { options: decodeNdOptions(reader.octets(reader.remaining)) };
}

/** The whole ICMPv6 message, its checksum zero. */
export function encodeRouterSolicitation(solicitation: RouterSolicitation): Uint8Array {
  const options = encodeNdOptions(solicitation.options);
  const body = new ByteWriter().zeros(RESERVED).octets(options).finish();
  return encodeIcmpv6({ type: Icmpv6Type.routerSolicitation, code: 0, body });
}
