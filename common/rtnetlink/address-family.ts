/** Addresses inside rtnetlink messages: their family says how long they are and how they are written. */

import {
  formatIpv4,
  formatIpv6,
  IPV4_LENGTH,
  IPV6_LENGTH,
  type Ipv4Address,
  type Ipv6Address,
  ipv4Octets,
  ipv6Octets,
} from "../ip/address.ts";
import { type Attributes, malformed } from "./attribute.ts";

/** linux/socket.h */
export const AddressFamily = { unspecified: 0, ipv4: 2, ipv6: 10 } as const;
export type IpFamily = typeof AddressFamily.ipv4 | typeof AddressFamily.ipv6;
export type IpAddress = Ipv4Address | Ipv6Address;

/** Throws `MalformedError` for a family that is neither IPv4 nor IPv6, such as MPLS. */
export function ipFamily(number: number): IpFamily {
  if (number === AddressFamily.ipv4 || number === AddressFamily.ipv6) return number;
  throw malformed("unknown-family", `address family ${number}`);
}

/** Bits of an address. */
export function addressBits(family: IpFamily): number {
  return 8 * (family === AddressFamily.ipv4 ? IPV4_LENGTH : IPV6_LENGTH);
}

export function unspecifiedAddress(family: IpFamily): IpAddress {
  return (family === AddressFamily.ipv4 ? "0.0.0.0" : "::") as IpAddress;
}

/** The address in an attribute, if it is there. Throws `MalformedError` when it has the wrong length. */
export function addressIn(
  attributes: Attributes,
  type: number,
  family: IpFamily,
): IpAddress | undefined {
  const octets = attributes.get(type);
  if (octets === undefined) return undefined;
  if (octets.length * 8 !== addressBits(family)) {
    throw malformed("bad-address", `an address of ${octets.length} octets in family ${family}`);
  }
  return family === AddressFamily.ipv4 ? formatIpv4(octets) : formatIpv6(octets);
}

export function addressOctets(family: IpFamily, address: IpAddress): Uint8Array {
  return family === AddressFamily.ipv4
    ? ipv4Octets(address as Ipv4Address)
    : ipv6Octets(address as Ipv6Address);
}
