/**
 * xfrm interfaces in RTM_NEWLINK, RTM_DELLINK and the kernel's answers: linux/if_link.h, `IFLA_XFRM_*`. An xfrm
 * interface's number (`if_id`) ties to it the states and policies that carry the same.
 */

import {
  AttributeWriter,
  decodeAttributes,
  nestedIn,
  readU32,
  textIn,
  u32In,
} from "./attribute.ts";

const IFINFOMSG = 16; // octets
const IFI_INDEX = 4;
const IFLA_IFNAME = 3;
const IFLA_LINKINFO = 18;
const IFLA_EXT_MASK = 29;
const IFLA_INFO_KIND = 1;
const IFLA_INFO_DATA = 2;
const IFLA_XFRM_LINK = 1;
const IFLA_XFRM_IF_ID = 2;
const RTEXT_FILTER_SKIP_STATS = 8;
const KIND = "xfrm";
/** The loopback interface's index in every network namespace: it never goes away, hence nor does what lies on it. */
const LOOPBACK = 1;

export interface XfrmLink {
  readonly index: number;
  readonly name: string;
  readonly interfaceId: number;
}

/** For RTM_NEWLINK. */
export function encodeNewXfrmLink(link: Omit<XfrmLink, "index">): Uint8Array {
  return header(0)
    .textAttribute(IFLA_IFNAME, link.name)
    .nested(IFLA_LINKINFO, (info) =>
      info
        .textAttribute(IFLA_INFO_KIND, KIND)
        .nested(IFLA_INFO_DATA, (data) =>
          data
            .u32Attribute(IFLA_XFRM_LINK, LOOPBACK)
            .u32Attribute(IFLA_XFRM_IF_ID, link.interfaceId),
        ),
    )
    .finish();
}

/** For RTM_DELLINK; index 0 asks for the one called `name`. */
export function encodeLinkIndex(index: number, name?: string): Uint8Array {
  return header(index).textAttribute(IFLA_IFNAME, name).finish();
}

/** Asks RTM_GETLINK for all xfrm interfaces; kernels before 4.4 answer with interfaces of all kinds. */
export function encodeXfrmLinksQuery(): Uint8Array {
  return header(0)
    .u32Attribute(IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS)
    .nested(IFLA_LINKINFO, (info) => info.textAttribute(IFLA_INFO_KIND, KIND))
    .finish();
}

/** Undefined for an interface of another kind. Throws `MalformedError`. */
export function decodeXfrmLink(payload: Uint8Array): XfrmLink | undefined {
  const attributes = decodeAttributes(payload, IFINFOMSG);
  const info = nestedIn(attributes, IFLA_LINKINFO);
  const name = textIn(attributes, IFLA_IFNAME);
  if (textIn(info, IFLA_INFO_KIND) !== KIND || name === undefined) return undefined;
  const interfaceId = u32In(nestedIn(info, IFLA_INFO_DATA), IFLA_XFRM_IF_ID);
  return { index: readU32(payload, IFI_INDEX), name, interfaceId: interfaceId ?? 0 };
}

function header(index: number): AttributeWriter {
  return new AttributeWriter().u32(0).u32(index).u32(0).u32(0);
}
