/** Payload of RTM_NEWADDR, RTM_DELADDR and RTM_GETADDR: `struct ifaddrmsg`, rtnetlink(7) and linux/if_addr.h. */

import {
  addressBits,
  addressIn,
  addressOctets,
  type IpAddress,
  type IpFamily,
  ipFamily,
} from "./address-family.ts";
import {
  AttributeWriter,
  decodeAttributes,
  malformed,
  readU8,
  readU32,
  u8In,
  u32In,
} from "./attribute.ts";

const IFADDRMSG = 8; // octets
const IFA_PREFIX_LENGTH = 1;
const IFA_HEADER_FLAGS = 2;
const IFA_SCOPE = 3;
const IFA_INDEX = 4;
const IFA_ADDRESS = 1;
const IFA_LOCAL = 2;
const IFA_FLAGS = 8;
const IFA_PROTO = 11;

export const AddressFlag = {
  /** No duplicate address detection: the address works at once. */
  noDad: 0x02,
  /** Duplicate address detection has found the address elsewhere. */
  dadFailed: 0x08,
  /** Duplicate address detection is under way: nothing can be sent from it yet. */
  tentative: 0x40,
  permanent: 0x80,
  /** The kernel adds no route for the prefix. */
  noPrefixRoute: 0x200,
} as const;

export interface AddressMessage {
  readonly family: IpFamily;
  readonly prefixLength: number;
  readonly flags: number;
  readonly scope: number;
  readonly interfaceIndex: number;
  /** The interface's own address. */
  readonly address: IpAddress;
  /** Who made the address, as with routes; kernels before 5.18 do not tell. */
  readonly protocol?: number | undefined;
}

/** Throws `MalformedError`. */
export function decodeAddressMessage(payload: Uint8Array): AddressMessage {
  const attributes = decodeAttributes(payload, IFADDRMSG);
  const family = ipFamily(readU8(payload, 0));
  // On point-to-point links IFA_ADDRESS is the peer's; IPv6 tells IFA_LOCAL only there.
  const address =
    addressIn(attributes, IFA_LOCAL, family) ?? addressIn(attributes, IFA_ADDRESS, family);
  if (address === undefined) throw malformed("no-address", "an address message without address");
  const prefixLength = readU8(payload, IFA_PREFIX_LENGTH);
  if (prefixLength > addressBits(family)) {
    throw malformed("bad-length", `a prefix of ${prefixLength} bits`);
  }
  return {
    family,
    prefixLength,
    flags: u32In(attributes, IFA_FLAGS) ?? readU8(payload, IFA_HEADER_FLAGS),
    scope: readU8(payload, IFA_SCOPE),
    interfaceIndex: readU32(payload, IFA_INDEX),
    address,
    protocol: u8In(attributes, IFA_PROTO),
  };
}

export function encodeAddressMessage(message: AddressMessage): Uint8Array {
  const octets = addressOctets(message.family, message.address);
  return header(message.family, message.interfaceIndex, message)
    .attribute(IFA_LOCAL, octets)
    .u32Attribute(IFA_FLAGS, message.flags === 0 ? undefined : message.flags)
    .attribute(IFA_ADDRESS, octets)
    .u8Attribute(IFA_PROTO, message.protocol)
    .finish();
}

/** A question for all addresses of one interface; wants NETLINK_GET_STRICT_CHK, or tells all interfaces'. */
export function encodeAddressQuery(family: IpFamily, interfaceIndex: number): Uint8Array {
  return header(family, interfaceIndex, { prefixLength: 0, scope: 0 }).finish();
}

function header(
  family: IpFamily,
  interfaceIndex: number,
  fields: { prefixLength: number; scope: number },
): AttributeWriter {
  return new AttributeWriter()
    .u8(family)
    .u8(fields.prefixLength)
    .u8(0) // the flags have an attribute of their own
    .u8(fields.scope)
    .u32(interfaceIndex);
}
