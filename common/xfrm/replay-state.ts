/**
 * `struct xfrm_replay_state_esn`: the sequence number last sent, the highest received, and the window below it.
 * The kernel keeps it for states with 64-bit numbers (RFC 4303 section 2.2.1) and for windows of more than 32.
 */

import { malformed, Struct } from "./struct.ts";

const BITMAP_WORDS = 0;
const SENT_LOW = 4;
const RECEIVED_LOW = 8;
const SENT_HIGH = 12;
const RECEIVED_HIGH = 16;
const WINDOW = 20;
const HEADER = 24; // octets before the bitmap
const HALF = 2 ** 32;
const MOST_WORDS = 128; // 4,096 packets, XFRMA_REPLAY_ESN_MAX

export interface ReplayState {
  /** Number of the last packet sent, 0 before the first. */
  readonly sent: number;
  /** Highest number received, 0 before the first. */
  readonly received: number;
  /** Packets; a multiple of 32. */
  readonly window: number;
  /** One bit for each number of the window; which is which the kernel keeps to itself. */
  readonly bitmap: Uint32Array;
}

/** A state that has sent up to `sent`; what is not above `received` counts as received. */
export function freshReplayState(options: {
  readonly sent: number;
  readonly received: number;
  readonly window: number;
}): ReplayState {
  const bitmap = new Uint32Array(options.window / 32);
  if (options.received > 0) bitmap.fill(0xffff_ffff);
  return { ...options, bitmap };
}

/** Throws `MalformedError`. */
export function decodeReplayState(octets: Uint8Array): ReplayState {
  const struct = Struct.of(octets, HEADER);
  const words = struct.u32(BITMAP_WORDS);
  if (words > MOST_WORDS) throw malformed("bad-length", `a bitmap of ${words} words`);
  const bitmap = Struct.of(octets, HEADER + 4 * words);
  return {
    sent: struct.u32(SENT_HIGH) * HALF + struct.u32(SENT_LOW),
    received: struct.u32(RECEIVED_HIGH) * HALF + struct.u32(RECEIVED_LOW),
    window: struct.u32(WINDOW),
    bitmap: Uint32Array.from({ length: words }, (_, word) => bitmap.u32(HEADER + 4 * word)),
  };
}

export function encodeReplayState({ sent, received, window, bitmap }: ReplayState): Uint8Array {
  const struct = Struct.make(HEADER + 4 * bitmap.length)
    .setU32(BITMAP_WORDS, bitmap.length)
    .setU32(SENT_LOW, sent % HALF)
    .setU32(RECEIVED_LOW, received % HALF)
    .setU32(SENT_HIGH, Math.floor(sent / HALF))
    .setU32(RECEIVED_HIGH, Math.floor(received / HALF))
    .setU32(WINDOW, window);
  for (const [word, value] of bitmap.entries()) struct.setU32(HEADER + 4 * word, value);
  return struct.octets;
}
