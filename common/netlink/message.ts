/** Netlink's own framing, linux/netlink.h: several messages may travel in one datagram. Little-endian, aligned to 4. */

import { MalformedError } from "../errors.ts";

const HEADER = 16; // octets: nlmsg_len, nlmsg_type, nlmsg_flags, nlmsg_seq, nlmsg_pid
const ALIGNMENT = 4;

/** Message types of the framing itself. */
export const NetlinkType = { error: 2, done: 3 } as const;

/** Flags of the header. */
export const NetlinkFlag = {
  request: 0x1,
  multipart: 0x2,
  acknowledge: 0x4,
  dumpInterrupted: 0x10,
  replace: 0x100,
  dump: 0x300,
  exclusive: 0x200,
  create: 0x400,
} as const;

export interface NetlinkMessage {
  readonly type: number;
  readonly flags: number;
  /** The answer carries that of its request. */
  readonly sequence: number;
  readonly payload: Uint8Array;
}

/** One datagram. The port is left to the kernel. */
export function encodeNetlinkMessages(messages: readonly NetlinkMessage[]): Uint8Array {
  const total = messages.reduce((sum, { payload }) => sum + align(HEADER + payload.length), 0);
  const octets = new Uint8Array(total);
  const view = new DataView(octets.buffer);
  let at = 0;
  for (const { type, flags, sequence, payload } of messages) {
    view.setUint32(at, HEADER + payload.length, true);
    view.setUint16(at + 4, type, true);
    view.setUint16(at + 6, flags, true);
    view.setUint32(at + 8, sequence, true);
    octets.set(payload, at + HEADER);
    at += align(HEADER + payload.length);
  }
  return octets;
}

/** The messages of a datagram; payloads are views. Throws `MalformedError`. */
export function decodeNetlinkMessages(octets: Uint8Array): NetlinkMessage[] {
  const view = new DataView(octets.buffer, octets.byteOffset, octets.byteLength);
  const messages: NetlinkMessage[] = [];
  for (let at = 0; at < octets.length; ) {
    if (octets.length - at < HEADER) throw malformed("truncated", `${octets.length - at} octets`);
    const length = view.getUint32(at, true);
    if (length < HEADER) throw malformed("bad-length", `a message of ${length} octets`);
    if (length > octets.length - at) throw malformed("truncated", `a message of ${length} octets`);
    messages.push({
      type: view.getUint16(at + 4, true),
      flags: view.getUint16(at + 6, true),
      sequence: view.getUint32(at + 8, true),
      payload: octets.subarray(at + HEADER, at + length),
    });
    at += align(length);
  }
  return messages;
}

function align(length: number): number {
  return Math.ceil(length / ALIGNMENT) * ALIGNMENT;
}

function malformed(code: string, detail: string): MalformedError {
  return new MalformedError("netlink", code, detail);
}
