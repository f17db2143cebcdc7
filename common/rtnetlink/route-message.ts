/** Payload of RTM_NEWROUTE, RTM_DELROUTE and RTM_GETROUTE: `struct rtmsg`, rtnetlink(7) and linux/rtnetlink.h. */

import {
  addressBits,
  addressIn,
  addressOctets,
  type IpAddress,
  type IpFamily,
  ipFamily,
  unspecifiedAddress,
} from "./address-family.ts";
import {
  AttributeWriter,
  decodeAttributes,
  malformed,
  nestedIn,
  readU8,
  readU32,
  u32In,
} from "./attribute.ts";

const RTMSG = 12; // octets
const RTM_DST_LEN = 1;
const RTM_SRC_LEN = 2;
const RTM_TABLE = 4;
const RTM_PROTOCOL = 5;
const RTM_SCOPE = 6;
const RTM_TYPE = 7;
const RTM_FLAGS = 8;
const RTA_DST = 1;
const RTA_SRC = 2;
const RTA_OIF = 4;
const RTA_GATEWAY = 5;
const RTA_PRIORITY = 6;
const RTA_PREFSRC = 7;
const RTA_METRICS = 8;
const RTA_TABLE = 15;
const RTAX_MTU = 2;
const TABLE_COMPAT = 252; // RT_TABLE_COMPAT: the number does not fit the header's octet

export const RouteType = { unspecified: 0, unicast: 1, local: 2, unreachable: 7 } as const;
export const RouteTable = { unspecified: 0, main: 254 } as const;

export interface RouteMessage {
  readonly family: IpFamily;
  readonly destination: IpAddress;
  /** Bits. */
  readonly destinationLength: number;
  /** Only packets from there take the route; IPv6, in kernels with IPV6_SUBTREES. Absent: from anywhere. */
  readonly source?: { readonly address: IpAddress; readonly length: number } | undefined;
  readonly table: number;
  /** Who made the route; `rt_protos` of iproute2. */
  readonly protocol: number;
  readonly scope: number;
  readonly type: number;
  readonly flags: number;
  readonly interfaceIndex?: number | undefined;
  readonly gateway?: IpAddress | undefined;
  /** The lower of two routes to one destination wins. */
  readonly metric?: number | undefined;
  /** The source address that packets from this machine get. */
  readonly preferredSource?: IpAddress | undefined;
  /** Octets: the route's own, or what path MTU discovery found; neither for most routes. */
  readonly mtu?: number | undefined;
}

/** Throws `MalformedError`. */
export function decodeRouteMessage(payload: Uint8Array): RouteMessage {
  const attributes = decodeAttributes(payload, RTMSG);
  const family = ipFamily(readU8(payload, 0));
  const prefix = (attribute: number, length: number) => {
    if (length > addressBits(family)) throw malformed("bad-length", `a prefix of ${length} bits`);
    const address = addressIn(attributes, attribute, family) ?? unspecifiedAddress(family);
    return { address, length };
  };
  const destination = prefix(RTA_DST, readU8(payload, RTM_DST_LEN));
  const source = prefix(RTA_SRC, readU8(payload, RTM_SRC_LEN));
  return {
    family,
    destination: destination.address,
    destinationLength: destination.length,
    source: source.length === 0 ? undefined : source,
    table: u32In(attributes, RTA_TABLE) ?? readU8(payload, RTM_TABLE),
    protocol: readU8(payload, RTM_PROTOCOL),
    scope: readU8(payload, RTM_SCOPE),
    type: readU8(payload, RTM_TYPE),
    flags: readU32(payload, RTM_FLAGS),
    interfaceIndex: u32In(attributes, RTA_OIF),
    gateway: addressIn(attributes, RTA_GATEWAY, family),
    metric: u32In(attributes, RTA_PRIORITY),
    preferredSource: addressIn(attributes, RTA_PREFSRC, family),
    mtu: u32In(nestedIn(attributes, RTA_METRICS), RTAX_MTU),
  };
}

export function encodeRouteMessage(message: RouteMessage): Uint8Array {
  const { family, source, gateway, preferredSource } = message;
  const wideTable = message.table > 0xff;
  return header({ ...message, table: wideTable ? TABLE_COMPAT : message.table })
    .u32Attribute(RTA_TABLE, wideTable ? message.table : undefined)
    .attribute(RTA_DST, addressOctets(family, message.destination))
    .attribute(RTA_SRC, source && addressOctets(family, source.address))
    .attribute(RTA_GATEWAY, gateway && addressOctets(family, gateway))
    .u32Attribute(RTA_PRIORITY, message.metric)
    .u32Attribute(RTA_OIF, message.interfaceIndex)
    .attribute(RTA_PREFSRC, preferredSource && addressOctets(family, preferredSource))
    .nested(RTA_METRICS, (metrics) => metrics.u32Attribute(RTAX_MTU, message.mtu))
    .finish();
}

/** A question for the routes of one protocol in the main table, through one interface or all. */
export function encodeRoutesQuery(
  family: IpFamily,
  wanted: { protocol: number; interfaceIndex?: number | undefined },
): Uint8Array {
  const fields = { family, destinationLength: 0, scope: 0, type: 0, flags: 0 };
  return header({ ...fields, table: 0, protocol: wanted.protocol })
    .u32Attribute(RTA_TABLE, RouteTable.main)
    .u32Attribute(RTA_OIF, wanted.interfaceIndex)
    .finish();
}

function header(
  fields: Pick<
    RouteMessage,
    "family" | "destinationLength" | "source" | "table" | "protocol" | "scope" | "type" | "flags"
  >,
): AttributeWriter {
  return new AttributeWriter()
    .u8(fields.family)
    .u8(fields.destinationLength)
    .u8(fields.source?.length ?? 0)
    .u8(0) // type of service
    .u8(fields.table)
    .u8(fields.protocol)
    .u8(fields.scope)
    .u8(fields.type)
    .u32(fields.flags);
}
