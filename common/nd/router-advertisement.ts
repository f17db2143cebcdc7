/** Router Advertisement, RFC 4861 section 4.2. Its options: `router-option.ts`. */

import { ByteReader } from "../bytes/reader.ts";
import { ByteWriter } from "../bytes/writer.ts";
import { MalformedError } from "../errors.ts";
import { decodeIcmpv6, encodeIcmpv6, Icmpv6Type } from "../ip/icmpv6.ts";
import { decodeNdOptions, encodeNdOptions, type NdOption } from "./option.ts";

const FLAG_MANAGED = 0x80;
const FLAG_OTHER = 0x40;

export interface RouterAdvertisement {
  /** What hosts put into the hop limit field; 0: not told. */
  readonly currentHopLimit: number;
  /** M: addresses by DHCPv6. */
  readonly managed: boolean;
  /** O: other configuration by DHCPv6. */
  readonly otherConfiguration: boolean;
  /** Seconds for which the sender is a default router; 0: it is none. */
  readonly routerLifetime: number;
  /** Milliseconds; 0: not told. */
  readonly reachableTime: number;
  /** Milliseconds; 0: not told. */
  readonly retransTimer: number;
  readonly options: readonly NdOption[];
}

/**
 * Reads a whole ICMPv6 message. Code and checksum are not looked at, reserved bits are ignored. Throws
 * `MalformedError` `wrong-type`, `truncated` or `option-length-zero`.
 */
export function decodeRouterAdvertisement(icmp: Uint8Array): RouterAdvertisement {
  const { type, body } = decodeIcmpv6(icmp);
  if (type !== Icmpv6Type.routerAdvertisement) {
    throw new MalformedError("nd", "wrong-type", `type ${type} is not a router advertisement`);
  }
  const reader = new ByteReader("nd", body);
  const currentHopLimit = reader.u8();
  const flags = reader.u8();
  return {
    currentHopLimit,
    managed: (flags & FLAG_MANAGED) !== 0,
    otherConfiguration: (flags & FLAG_OTHER) !== 0,
    routerLifetime: reader.u16(),
    reachableTime: reader.u32(),
    retransTimer: reader.u32(),
    options: decodeNdOptions(reader.octets(reader.remaining)),
  };
}

/** The whole ICMPv6 message, its checksum zero. */
export function encodeRouterAdvertisement(advertisement: RouterAdvertisement): Uint8Array {
  const { managed, otherConfiguration } = advertisement;
  const body = new ByteWriter()
    .u8(advertisement.currentHopLimit)
    .u8((managed ? FLAG_MANAGED : 0) | (otherConfiguration ? FLAG_OTHER : 0))
    .u16(advertisement.routerLifetime)
    .u32(advertisement.reachableTime)
    .u32(advertisement.retransTimer)
    .octets(encodeNdOptions(advertisement.options))
    .finish();
  return encodeIcmpv6({ type: Icmpv6Type.routerAdvertisement, code: 0, body });
}
