/**
 * The Internet checksum (RFC 1071) on the packet path: sums of 32-bit words of packet memory.
 *
 * A one's complement sum comes out octet-swapped when the machine reads the words octet-swapped (RFC 1071 section
 * 2(B)), so words are summed and stored as they lie in memory, and only numbers that come from elsewhere are
 * turned with `networkWord`. The machine is little-endian: `adapters/linux/slab.ts` refuses others.
 */

import type { PacketMemory } from "../bytes/packet-memory.ts";
import { IPV6_HEADER_LENGTH } from "../ip/ipv6.ts";

const SOURCE_ADDRESS = 8; // offset in the IPv6 header
const BOTH_ADDRESSES = 32; // octets

/** A 16-bit number as a word of packet memory, and back. */
export function networkWord(value: number): number {
  return ((value & 0xff) << 8) | ((value >>> 8) & 0xff);
}

/**
 * Adds `length` octets at `offset`, which is even (a multiple of four is fastest), to a sum of at most 20 bits;
 * returns it folded to 16 bits. Octets behind the last are not read; a missing one counts as zero.
 * At most 64 KiB.
 */
export function sumWords(
  memory: PacketMemory,
  offset: number,
  length: number,
  sum: number,
): number {
  const { octets, words16, words32 } = memory;
  let at = offset;
  let rest = length;
  let total = sum;
  if ((at & 2) !== 0 && rest >= 2) {
    total += words16[at >> 1] ?? 0;
    at += 2;
    rest -= 2;
  }
  // `all` is the sum of the words modulo 2^32, `high` that of their upper halves. What `all` holds beyond
  // `high` * 2^16 is the sum of the lower halves, below 2^32 for so few words: two additions and a shift a word,
  // all in 32 bits, and no carries to look after.
  let all = 0;
  let high = 0;
  let i = at >> 2;
  const end = i + (rest >> 2);
  for (; i + 7 < end; i += 8) {
    const a = words32[i] ?? 0;
    const b = words32[i + 1] ?? 0;
    const c = words32[i + 2] ?? 0;
    const d = words32[i + 3] ?? 0;
    const e = words32[i + 4] ?? 0;
    const f = words32[i + 5] ?? 0;
    const g = words32[i + 6] ?? 0;
    const h = words32[i + 7] ?? 0;
    all = (all + a + b + c + d + e + f + g + h) | 0;
    high =
      (high +
        (a >>> 16) +
        (b >>> 16) +
        (c >>> 16) +
        (d >>> 16) +
        (e >>> 16) +
        (f >>> 16) +
        (g >>> 16) +
        (h >>> 16)) |
      0;
  }
  for (; i < end; i += 1) {
    const word = words32[i] ?? 0;
    all = (all + word) | 0;
    high = (high + (word >>> 16)) | 0;
  }
  const low = (all - (high << 16)) >>> 0;
  total += fold(low) + fold(high);
  at += rest & ~3;
  if ((rest & 2) !== 0) {
    total += words16[at >> 1] ?? 0;
    at += 2;
  }
  if ((rest & 1) !== 0) total += octets[at] ?? 0;
  return fold(total);
}

/**
 * The sum of an upper-layer message's pseudo-header, RFC 8200 section 8.1. The IPv6 header is at `packetOffset`,
 * a multiple of four; `length` is the upper-layer message's, in octets, below 65,536.
 */
export function sumPseudoHeader(
  memory: PacketMemory,
  packetOffset: number,
  protocol: number,
  length: number,
): number {
  const rest = networkWord(protocol) + networkWord(length);
  return sumWords(memory, packetOffset + SOURCE_ADDRESS, BOTH_ADDRESSES, rest);
}

/**
 * Completes the checksum of a packet whose virtio header says `needsChecksum`: the field holds the sum of the
 * pseudo-header, the message begins `start` octets into the packet and the field stands `checksumOffset` octets
 * into the message. False, and nothing changed, when the field is not inside the packet behind its IPv6 header,
 * or at an odd place.
 */
export function completeChecksum(
  memory: PacketMemory,
  packetOffset: number,
  packetLength: number,
  start: number,
  checksumOffset: number,
): boolean {
  const message = packetOffset + start;
  const field = message + checksumOffset;
  const end = packetOffset + packetLength;
  const inside =
    packetOffset >= 0 &&
    start >= IPV6_HEADER_LENGTH &&
    checksumOffset >= 0 &&
    field + 2 <= end &&
    end <= memory.octets.length;
  if (!inside || ((message | field) & 1) !== 0) return false;
  const sum = sumWords(memory, message, end - message, 0);
  memory.words16[field >> 1] = checksumOf(sum);
  return true;
}

/**
 * The value for a checksum field. Zero is stored as all ones, which is the same number in one's complement: in
 * UDP a zero says "no checksum", which IPv6 forbids (RFC 8200 section 8.1), and TCP's receivers take either.
 */
export function checksumOf(sum: number): number {
  const checksum = ~sum & 0xffff;
  return checksum === 0 ? 0xffff : checksum;
}

/** 32 bits to 16; the first addition leaves at most one carry, the second none. */
function fold(sum: number): number {
  const once = (sum & 0xffff) + (sum >>> 16);
  return (once & 0xffff) + (once >>> 16);
}
