/**
 * The Configuration payload, RFC 7296 section 3.15, and the attributes hometun uses: those of RFC 5739
 * section 5 for a whole IPv6 link, and INTERNAL_IP6_ADDRESS to fall back to.
 */

import { ByteReader } from "../../../bytes/reader.ts";
import { ByteWriter } from "../../../bytes/writer.ts";
import { MalformedError } from "../../../errors.ts";
import {
  formatIpv6,
  IPV6_LENGTH,
  type Ipv6Address,
  type Ipv6Prefix,
  ipv6Octets,
  maskIpv6,
} from "../../../ip/address.ts";

/** RFC 7296 section 3.15. */
export const ConfigurationType = { request: 1, reply: 2, set: 3, acknowledge: 4 } as const;

/** RFC 7296 section 3.15.1; 17 and 18 are RFC 5739 section 5. */
export const ConfigurationAttributeType = {
  internalIp6Address: 8,
  internalIp6Dns: 10,
  internalIp6Dhcp: 12,
  internalIp6Subnet: 15,
  internalIp6Link: 17,
  internalIp6Prefix: 18,
} as const;

const RESERVED = 3; // octets
const TYPE_MASK = 0x7fff; // the highest bit is reserved
const MAXIMUM_ATTRIBUTES = 64; // our own limit on work done for a peer
/** Octets. */
export const INTERFACE_ID_LENGTH = 8;
const MAXIMUM_PREFIX_LENGTH = 128; // bits

export interface ConfigurationAttribute {
  readonly type: number;
  /** Empty in a request that asks for any value. */
  readonly value: Uint8Array;
}

export interface Configuration {
  readonly type: number;
  readonly attributes: readonly ConfigurationAttribute[];
}

/** INTERNAL_IP6_LINK, RFC 5739 section 5.1. */
export interface InternalIp6Link {
  /** Of the party that sent the attribute; 8 octets. */
  readonly interfaceId: Uint8Array;
  /** Chosen by the gateway, opaque to the client; empty when the client knows none. */
  readonly linkId: Uint8Array;
}

/** Throws `MalformedError` `truncated` or `too-many-attributes`. */
export function decodeConfiguration(body: Uint8Array): Configuration {
  const reader = new ByteReader("ikev2", body);
  const type = reader.u8();
  reader.skip(RESERVED);
  const attributes: ConfigurationAttribute[] = [];
  while (reader.remaining > 0) {
    if (attributes.length === MAXIMUM_ATTRIBUTES) {
      throw new MalformedError("ikev2", "too-many-attributes", `more than ${MAXIMUM_ATTRIBUTES}`);
    }
    const attribute = reader.u16() & TYPE_MASK;
    attributes.push({ type: attribute, value: reader.octets(reader.u16()) });
  }
  return { type, attributes };
}

export function encodeConfiguration({ type, attributes }: Configuration): Uint8Array {
  const writer = new ByteWriter().u8(type).zeros(RESERVED);
  for (const attribute of attributes) {
    writer.u16(attribute.type).u16(attribute.value.length).octets(attribute.value);
  }
  return writer.finish();
}

/** Throws `MalformedError` `truncated` when there is no whole interface identifier. */
export function decodeInternalIp6Link(value: Uint8Array): InternalIp6Link {
  const reader = new ByteReader("ikev2", value);
  return {
    interfaceId: reader.octets(INTERFACE_ID_LENGTH),
    linkId: reader.octets(reader.remaining),
  };
}

export function encodeInternalIp6Link({ interfaceId, linkId }: InternalIp6Link): Uint8Array {
  return new ByteWriter().octets(interfaceId).octets(linkId).finish();
}

/**
 * INTERNAL_IP6_PREFIX, RFC 5739 section 5.2, also the form of INTERNAL_IP6_ADDRESS and INTERNAL_IP6_SUBNET.
 * Bits beyond the length are ignored. Throws `MalformedError` `truncated` or `prefix-length`.
 */
export function decodeInternalIp6Prefix(value: Uint8Array): Ipv6Prefix {
  const { address, length } = decodeInternalIp6Address(value);
  return { address: maskIpv6(address, length), length };
}

export function encodeInternalIp6Prefix({ address, length }: Ipv6Prefix): Uint8Array {
  return new ByteWriter().octets(ipv6Octets(address)).u8(length).finish();
}

/** INTERNAL_IP6_ADDRESS, RFC 7296 section 3.15.1: an address and the length of its prefix. */
export function decodeInternalIp6Address(value: Uint8Array): {
  readonly address: Ipv6Address;
  readonly length: number;
} {
  const reader = new ByteReader("ikev2", value);
  const address = formatIpv6(reader.octets(IPV6_LENGTH));
  const length = reader.u8();
  if (length > MAXIMUM_PREFIX_LENGTH || reader.remaining > 0) {
    throw new MalformedError("ikev2", "prefix-length", `${length} bits, ${value.length} octets`);
  }
  return { address, length };
}
