/** Payload of RTM_NEWLINK, RTM_GETLINK and RTM_SETLINK: `struct ifinfomsg`, rtnetlink(7) and linux/if_link.h. */

import { AddressFamily } from "./address-family.ts";
import {
  AttributeWriter,
  decodeAttributes,
  nestedIn,
  readU32,
  textIn,
  u8In,
  u32In,
} from "./attribute.ts";

const IFINFOMSG = 16; // octets
const IFI_INDEX = 4;
const IFI_FLAGS = 8;
const IFI_CHANGE = 12;
const IFLA_ADDRESS = 1;
const IFLA_IFNAME = 3;
const IFLA_MTU = 4;
const IFLA_LINKINFO = 18;
const IFLA_INFO_KIND = 1;
const IFLA_AF_SPEC = 26;
const IFLA_GROUP = 27;
const IFLA_EXT_MASK = 29;
const IFLA_INET6_ADDR_GEN_MODE = 8;
const RTEXT_FILTER_SKIP_STATS = 8;

/** linux/if.h */
export const LinkFlag = {
  up: 0x1,
  /** It has a carrier. */
  running: 0x40,
} as const;

/** How the kernel makes link-local addresses, linux/if_link.h. */
export const AddressGenerationMode = { eui64: 0, none: 1 } as const;

export interface LinkMessage {
  /** 0 asks by name. */
  readonly index: number;
  readonly flags: number;
  /** Which of the flags are to be changed. */
  readonly change: number;
  readonly name?: string | undefined;
  /** Octets. */
  readonly mtu?: number | undefined;
  /** The driver, such as `tun`; hardware has none. */
  readonly kind?: string | undefined;
  readonly addressGenerationMode?: number | undefined;
  /** Such as a MAC address; read only. */
  readonly linkLayerAddress?: Uint8Array | undefined;
  /** Links of one group can be removed together; 0, the usual one, is no group. */
  readonly group?: number | undefined;
}

/** Throws `MalformedError`. */
export function decodeLinkMessage(payload: Uint8Array): LinkMessage {
  const attributes = decodeAttributes(payload, IFINFOMSG);
  const perFamily = nestedIn(attributes, IFLA_AF_SPEC);
  return {
    index: readU32(payload, IFI_INDEX),
    flags: readU32(payload, IFI_FLAGS),
    change: readU32(payload, IFI_CHANGE),
    name: textIn(attributes, IFLA_IFNAME),
    mtu: u32In(attributes, IFLA_MTU),
    kind: textIn(nestedIn(attributes, IFLA_LINKINFO), IFLA_INFO_KIND),
    addressGenerationMode: u8In(nestedIn(perFamily, AddressFamily.ipv6), IFLA_INET6_ADDR_GEN_MODE),
    linkLayerAddress: attributes.get(IFLA_ADDRESS),
    group: u32In(attributes, IFLA_GROUP),
  };
}

/** A change of what is given; the rest stays as it is. */
export function encodeLinkMessage(message: LinkMessage): Uint8Array {
  return header(message)
    .textAttribute(IFLA_IFNAME, message.name)
    .u32Attribute(IFLA_MTU, message.mtu)
    .nested(IFLA_AF_SPEC, (families) =>
      families.nested(AddressFamily.ipv6, (ipv6) =>
        ipv6.u8Attribute(IFLA_INET6_ADDR_GEN_MODE, message.addressGenerationMode),
      ),
    )
    .u32Attribute(IFLA_GROUP, message.group)
    .finish();
}

/** A question for one link, by index or by name, without its statistics. */
export function encodeLinkQuery(link: { index: number } | { name: string }): Uint8Array {
  const byName = "name" in link;
  return header({ index: byName ? 0 : link.index, flags: 0, change: 0 })
    .u32Attribute(IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS)
    .textAttribute(IFLA_IFNAME, byName ? link.name : undefined)
    .finish();
}

/** A question for all links, without their statistics. */
export function encodeLinksQuery(): Uint8Array {
  return header({ index: 0, flags: 0, change: 0 })
    .u32Attribute(IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS)
    .finish();
}

function header(fields: { index: number; flags: number; change: number }): AttributeWriter {
  return new AttributeWriter()
    .u32(0) // family unspecified, device type
    .u32(fields.index)
    .u32(fields.flags)
    .u32(fields.change);
}
