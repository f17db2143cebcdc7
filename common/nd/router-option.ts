/** The options of Router Advertisements: RFC 4861 sections 4.6.1, 4.6.2 and 4.6.4, RFC 8106 section 5.1. */

import { ByteReader } from "../bytes/reader.ts";
import { ByteWriter } from "../bytes/writer.ts";
import {
  formatIpv6,
  IPV6_LENGTH,
  type Ipv6Address,
  type Ipv6Prefix,
  ipv6Octets,
  maskIpv6,
} from "../ip/address.ts";
import { type NdOption, NdOptionType } from "./option.ts";

const FLAG_ON_LINK = 0x80;
const FLAG_AUTONOMOUS = 0x40;
const PREFIX_INFORMATION = 30; // octets after type and length
const PREFIX_RESERVED = 4; // octets between the lifetimes and the prefix
const MTU_VALUE = 6; // octets after type and length
const RESERVED = 2; // octets
const SERVERS_HEADER = 6; // octets before the first server: reserved, lifetime
const LONGEST_PREFIX = 128; // bits
const ETHERNET_ADDRESS = 6; // octets: what fills an option of one unit

/** RFC 4861 section 4.6.2. Lifetimes in seconds; 2^32 - 1 is for ever. */
export interface PrefixInformation {
  readonly prefix: Ipv6Prefix;
  /** L: addresses of the prefix are on this link. */
  readonly onLink: boolean;
  /** A: hosts may make addresses of it, RFC 4862. */
  readonly autonomous: boolean;
  readonly validLifetime: number;
  readonly preferredLifetime: number;
}

/** RFC 8106 section 5.1. */
export interface RecursiveDnsServers {
  /** Seconds; 0: not to be used any more. */
  readonly lifetime: number;
  /** At least one. */
  readonly servers: readonly Ipv6Address[];
}

export function prefixInformationOption(information: PrefixInformation): NdOption {
  const { prefix, onLink, autonomous } = information;
  const value = new ByteWriter()
    .u8(prefix.length)
    .u8((onLink ? FLAG_ON_LINK : 0) | (autonomous ? FLAG_AUTONOMOUS : 0))
    .u32(information.validLifetime)
    .u32(information.preferredLifetime)
    .zeros(PREFIX_RESERVED)
    .octets(ipv6Octets(prefix.address))
    .finish();
  return { type: NdOptionType.prefixInformation, value };
}

/**
 * Undefined when it is no such option, or has not its form. Bits beyond the prefix's length are ignored, as the RFC
 * asks.
 */
export function readPrefixInformation({ type, value }: NdOption): PrefixInformation | undefined {
  if (type !== NdOptionType.prefixInformation || value.length !== PREFIX_INFORMATION) {
    return undefined;
  }
  const reader = new ByteReader("nd", value);
  const length = reader.u8();
  if (length > LONGEST_PREFIX) return undefined;
  const flags = reader.u8();
  const validLifetime = reader.u32();
  const preferredLifetime = reader.u32();
  reader.skip(PREFIX_RESERVED);
  return {
    prefix: { address: maskIpv6(formatIpv6(reader.octets(IPV6_LENGTH)), length), length },
    onLink: (flags & FLAG_ON_LINK) !== 0,
    autonomous: (flags & FLAG_AUTONOMOUS) !== 0,
    validLifetime,
    preferredLifetime,
  };
}

/** `mtu` in octets. RFC 4861 section 4.6.4. */
export function mtuOption(mtu: number): NdOption {
  return { type: NdOptionType.mtu, value: new ByteWriter().zeros(RESERVED).u32(mtu).finish() };
}

/** Octets; undefined when it is no such option, or has not its form. */
export function readMtu({ type, value }: NdOption): number | undefined {
  if (type !== NdOptionType.mtu || value.length !== MTU_VALUE) return undefined;
  const reader = new ByteReader("nd", value);
  reader.skip(RESERVED);
  return reader.u32();
}

export function recursiveDnsServersOption({ lifetime, servers }: RecursiveDnsServers): NdOption {
  const writer = new ByteWriter().zeros(RESERVED).u32(lifetime);
  for (const server of servers) writer.octets(ipv6Octets(server));
  return { type: NdOptionType.recursiveDnsServer, value: writer.finish() };
}

/** Undefined when it is no such option, or has not its form. */
export function readRecursiveDnsServers({
  type,
  value,
}: NdOption): RecursiveDnsServers | undefined {
  const addresses = value.length - SERVERS_HEADER;
  if (type !== NdOptionType.recursiveDnsServer) return undefined;
  if (addresses < IPV6_LENGTH || addresses % IPV6_LENGTH !== 0) return undefined;
  const reader = new ByteReader("nd", value);
  reader.skip(RESERVED);
  const lifetime = reader.u32();
  const servers: Ipv6Address[] = [];
  while (reader.remaining > 0) servers.push(formatIpv6(reader.octets(IPV6_LENGTH)));
  return { lifetime, servers };
}

/**
 * Our address on a link of Ethernet's kind, RFC 2464 section 6. Undefined for other links: hosts then ask for it by
 * Neighbor Solicitation.
 */
export function sourceLinkLayerOption(address: Uint8Array): NdOption | undefined {
  if (address.length !== ETHERNET_ADDRESS) return undefined;
  return { type: NdOptionType.sourceLinkLayerAddress, value: address };
}
