/**
 * The layout of an ESP packet, RFC 4303 section 2:
 *
 *     SPI (4) | sequence number, low half (4) | IV | payload | padding | pad length (1) | next header (1) | ICV
 *                                                   '------------------ ciphertext ------------------'
 *
 * Pure arithmetic and the padding octets; keys and sequence numbers are the security association's.
 */

import type { PacketMemory } from "../bytes/packet-memory.ts";
import type { TransformSizes } from "./transform.ts";

/** SPI and sequence number, in octets. */
export const ESP_HEADER_LENGTH = 8;
/** Where the sequence number stands in the header. */
export const SEQUENCE_OFFSET = 4;
/** Pad length and next header, in octets. */
export const ESP_TRAILER_LENGTH = 2;

export const NextHeader = {
  ipv6: 41,
  /** "No next header": a dummy packet, to be dropped (RFC 4303 section 2.6). */
  none: 59,
} as const;

/** Octets of padding behind a payload of `length`: as few as the block allows, RFC 4303 section 2.4. */
export function paddingLength(length: number, block: number): number {
  return (block - ((length + ESP_TRAILER_LENGTH) % block)) % block;
}

/** Octets of the ESP packet that carries a payload of `length`. */
export function sealedLength(length: number, sizes: TransformSizes): number {
  const ciphertext = length + paddingLength(length, sizes.block) + ESP_TRAILER_LENGTH;
  return ESP_HEADER_LENGTH + sizes.iv + ciphertext + sizes.icv;
}

/** Octets of the largest payload whose ESP packet has no more than `limit`; negative when none fits. */
export function largestPayload(limit: number, sizes: TransformSizes): number {
  const room = limit - ESP_HEADER_LENGTH - sizes.iv - sizes.icv;
  return Math.floor(room / sizes.block) * sizes.block - ESP_TRAILER_LENGTH;
}

/** Octets of the ciphertext of an ESP packet of `length`; negative when that is no size an ESP packet can have. */
export function ciphertextLength(length: number, sizes: TransformSizes): number {
  const ciphertext = length - ESP_HEADER_LENGTH - sizes.iv - sizes.icv;
  return ciphertext >= sizes.block && ciphertext % sizes.block === 0 ? ciphertext : -1;
}

/** Writes padding 1, 2, 3, ..., pad length and next header behind a payload; returns the offset behind them. */
export function writeTrailer(
  memory: PacketMemory,
  offset: number,
  padding: number,
  nextHeader: number,
): number {
  const { octets } = memory;
  for (let i = 0; i < padding; i++) octets[offset + i] = i + 1;
  octets[offset + padding] = padding;
  octets[offset + padding + 1] = nextHeader;
  return offset + padding + ESP_TRAILER_LENGTH;
}

/**
 * Octets of payload in the plaintext of `length` at `offset`, or -1 when its padding is not the monotone
 * 1, 2, 3, ... that RFC 4303 section 2.4 has senders write and receivers SHOULD inspect.
 */
export function payloadLength(memory: PacketMemory, offset: number, length: number): number {
  const { octets } = memory;
  const padding = octets[offset + length - ESP_TRAILER_LENGTH] ?? 0;
  const payload = length - ESP_TRAILER_LENGTH - padding;
  if (payload < 0) return -1;
  for (let i = 0; i < padding; i++) if (octets[offset + payload + i] !== i + 1) return -1;
  return payload;
}
