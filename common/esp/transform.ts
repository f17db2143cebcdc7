/**
 * The port behind which an SA's octets are encrypted and authenticated, in place in packet memory.
 * Implementations: `node-transform.ts` (node:crypto, everywhere) and `adapters/linux/evp-transform.ts`
 * (OpenSSL's EVP on addresses, no allocation per packet). Both pass the same vectors.
 */

import type { PacketMemory } from "../bytes/packet-memory.ts";
import type { SecurityAssociationKeys } from "../tunnel/tunnel.ts";

/** Sizes of a suite, in octets. */
export interface TransformSizes {
  /** What travels between the ESP header and the ciphertext: 8 for AES-GCM (RFC 4106), 16 for CBC. */
  readonly iv: number;
  /** Integrity check value: 16. */
  readonly icv: number;
  /** What padding aligns payload, pad length and next header to: 4 for GCM, 16 for CBC. */
  readonly block: number;
}

export interface EspTransform<Memory extends PacketMemory> {
  readonly sizes: TransformSizes;
  /**
   * Seals the ESP packet that starts at `offset`: SPI and sequence number are written, the plaintext of
   * `length` octets (a multiple of `sizes.block`) stands after the room for the IV. Writes IV, ciphertext
   * and ICV. `high` and `low` are the halves of the sequence number.
   */
  seal(memory: Memory, offset: number, length: number, high: number, low: number): void;
  /**
   * Checks and decrypts the ESP packet at `offset` whose ciphertext has `length` octets; the plaintext takes
   * the ciphertext's place. Returns false, and leaves nothing of the plaintext to be used, when the ICV is wrong.
   */
  open(memory: Memory, offset: number, length: number, high: number): boolean;
  /** Wipes the keys and frees what is held. Nothing may be called after it. */
  close(): void;
}

export type OpenTransform<Memory extends PacketMemory> = (
  keys: SecurityAssociationKeys,
  direction: "outbound" | "inbound",
) => EspTransform<Memory>;
