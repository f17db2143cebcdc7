/** `struct xfrm_selector`: which packets a state or a policy is for. */

import type { Ipv6Address, Ipv6Prefix } from "../ip/address.ts";
import { AddressFamily, type IpAddress } from "../rtnetlink/address-family.ts";
import type { Struct } from "./struct.ts";

const DESTINATION = 0;
const SOURCE = 16;
const FAMILY = 40;
const DESTINATION_LENGTH = 42;
const SOURCE_LENGTH = 43;
const PROTOCOL = 44;

export interface Selector {
  /** Address family of the packets; 0 for any. */
  readonly family: number;
  readonly source: IpAddress;
  readonly sourceLength: number;
  readonly destination: IpAddress;
  readonly destinationLength: number;
  /** Upper-layer protocol; 0 for any. */
  readonly protocol: number;
}

const EVERYTHING: Ipv6Prefix = { address: "::" as Ipv6Address, length: 0 };

/** IPv6 packets from one prefix to another. */
export function ipv6Selector(
  source: Ipv6Prefix = EVERYTHING,
  destination: Ipv6Prefix = EVERYTHING,
  protocol = 0,
): Selector {
  return {
    family: AddressFamily.ipv6,
    source: source.address,
    sourceLength: source.length,
    destination: destination.address,
    destinationLength: destination.length,
    protocol,
  };
}

export function readSelector(struct: Struct): Selector {
  const family = struct.u16(FAMILY);
  return {
    family,
    source: struct.address(SOURCE, family),
    sourceLength: struct.u8(SOURCE_LENGTH),
    destination: struct.address(DESTINATION, family),
    destinationLength: struct.u8(DESTINATION_LENGTH),
    protocol: struct.u8(PROTOCOL),
  };
}

export function writeSelector(struct: Struct, selector: Selector): void {
  struct
    .setAddress(DESTINATION, selector.destination)
    .setAddress(SOURCE, selector.source)
    .setU16(FAMILY, selector.family)
    .setU8(DESTINATION_LENGTH, selector.destinationLength)
    .setU8(SOURCE_LENGTH, selector.sourceLength)
    .setU8(PROTOCOL, selector.protocol);
}
