/** NLMSG_ERROR, which also acknowledges: linux/netlink.h `struct nlmsgerr` and its extended acknowledgement. */

import { decodeAttributes, readU32, textIn } from "./attribute.ts";

const NLMSGERR = 20; // octets: the error, then the header of the message that is answered
const NLMSG_HEADER = 16;
const FLAG_CAPPED = 0x100; // the answered message's payload is left out
const FLAG_EXTENDED = 0x200; // attributes follow
const NLMSGERR_ATTR_MSG = 1;

export interface Acknowledgement {
  /** 0 when the request was carried out, else an error number. */
  readonly errno: number;
  /** The kernel's own words for what was wrong. */
  readonly text: string | undefined;
}

/** `flags` are those of the acknowledging message's header. Throws `MalformedError`. */
export function decodeAcknowledgement(payload: Uint8Array, flags: number): Acknowledgement {
  const errno = -(readU32(payload, 0) | 0);
  if ((flags & FLAG_EXTENDED) === 0) return { errno: errno || 0, text: undefined };
  const answered = readU32(payload, 4);
  const echoed = (flags & FLAG_CAPPED) !== 0 ? 0 : Math.max(0, answered - NLMSG_HEADER);
  const attributes = decodeAttributes(payload, NLMSGERR + 4 * Math.ceil(echoed / 4));
  return { errno: errno || 0, text: textIn(attributes, NLMSGERR_ATTR_MSG) };
}
