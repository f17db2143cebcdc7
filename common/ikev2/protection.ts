/**
 * The Encrypted payload and the Encrypted Fragment payload: what keeps IKE messages secret and whole. RFC 7296
 * section 3.14, RFC 5282 for AES-GCM, RFC 7383 for fragments.
 */

import {
  type CipherGCMTypes,
  createCipheriv,
  createDecipheriv,
  createHmac,
  timingSafeEqual,
} from "node:crypto";
import { ByteWriter } from "../bytes/writer.ts";
import { MalformedError } from "../errors.ts";
import { CIPHERS, type IkeEncryption } from "./algorithms.ts";
import type { RandomSource } from "./key-agreement.ts";
import { encodeIkeHeader, HEADER_LENGTH, type IkeHeader } from "./wire/header.ts";
import { PAYLOAD_HEADER_LENGTH, PayloadType } from "./wire/payload-chain.ts";
import {
  encodeFragmentHeader,
  FRAGMENT_HEADER_LENGTH,
} from "./wire/payloads/encrypted-fragment.ts";

const GCM_IV_LENGTH = 8; // octets, RFC 5282 section 3.1
const GCM_TAG_LENGTH = 16; // octets
const CBC_BLOCK_LENGTH = 16; // octets
const HMAC_LENGTH = 16; // octets, truncated, RFC 4868 section 2.1.1
/** After this many messages in one direction the key is not used any more; far beyond any real number. */
const MAXIMUM_SEALED = 2 ** 48;

/** One direction of one IKE SA. */
export interface DirectionKeys {
  readonly encryption: Uint8Array;
  /** Empty with an AEAD. */
  readonly integrity: Uint8Array;
}

/** What a message that is to be sealed says in the clear. */
export type SealedHeader = Omit<IkeHeader, "nextPayload" | "length">;

/** Seals messages of one direction. Counts, since GCM must never see an initialization vector twice. */
export class Sealer {
  readonly #encryption: IkeEncryption;
  readonly #keys: DirectionKeys;
  readonly #random: RandomSource;
  #sealed = 0;

  constructor(encryption: IkeEncryption, keys: DirectionKeys, random: RandomSource) {
    this.#encryption = encryption;
    this.#keys = keys;
    this.#random = random;
  }

  /** Octets of a whole message that hides `length` octets of payloads. */
  sealedLength(length: number): number {
    const cipher = CIPHERS[this.#encryption];
    const head = HEADER_LENGTH + PAYLOAD_HEADER_LENGTH;
    if (cipher.integrity === undefined) return head + GCM_IV_LENGTH + length + 1 + GCM_TAG_LENGTH;
    return head + CBC_BLOCK_LENGTH + cbcLength(length) + HMAC_LENGTH;
  }

  /** A message whose only payload is an Encrypted payload that hides a chain beginning with `first`. */
  message(header: SealedHeader, first: number, plain: Uint8Array): Uint8Array {
    return this.#seal(header, PayloadType.encrypted, first, new Uint8Array(0), plain);
  }

  /**
   * Messages that each carry a piece, none longer than `limit` octets (RFC 7383 section 2.5.1). Only the first
   * names the first payload.
   */
  fragments(header: SealedHeader, first: number, plain: Uint8Array, limit: number): Uint8Array[] {
    // What the padding of CBC may add is taken off too, so the length of each piece is simply the same.
    const overhead = this.sealedLength(CBC_BLOCK_LENGTH) + FRAGMENT_HEADER_LENGTH;
    const piece = limit - overhead;
    const total = Math.ceil(plain.length / piece);
    return Array.from({ length: total }, (_, index) =>
      this.#seal(
        header,
        PayloadType.encryptedFragment,
        index === 0 ? first : PayloadType.none,
        encodeFragmentHeader(index + 1, total),
        plain.subarray(index * piece, (index + 1) * piece),
      ),
    );
  }

  #seal(
    header: SealedHeader,
    nextPayload: number,
    inner: number,
    fragmentHeader: Uint8Array,
    plain: Uint8Array,
  ): Uint8Array {
    const length = this.sealedLength(plain.length) + fragmentHeader.length;
    const associated = new ByteWriter(HEADER_LENGTH + PAYLOAD_HEADER_LENGTH + fragmentHeader.length)
      .octets(encodeIkeHeader({ ...header, nextPayload, length }))
      .u8(inner)
      .u8(0)
      .u16(length - HEADER_LENGTH)
      .octets(fragmentHeader)
      .finish();
    const writer = new ByteWriter(length).octets(associated);
    if (CIPHERS[this.#encryption].integrity === undefined) {
      this.#sealGcm(writer, associated, plain);
      return writer.finish();
    }
    this.#sealCbc(writer, plain);
    return writer.octets(hmac(this.#keys.integrity, writer.finish())).finish();
  }

  #sealGcm(writer: ByteWriter, associated: Uint8Array, plain: Uint8Array): void {
    if (this.#sealed === MAXIMUM_SEALED) throw new RangeError("too many messages under one key");
    const count = this.#sealed++;
    const iv = new ByteWriter()
      .u32(Math.floor(count / 2 ** 32))
      .u32(count >>> 0)
      .finish();
    const { algorithm, key, nonce } = gcmParameters(this.#encryption, this.#keys, iv);
    const cipher = createCipheriv(algorithm, key, nonce, { authTagLength: GCM_TAG_LENGTH });
    cipher.setAAD(associated);
    writer.octets(iv).octets(cipher.update(plain));
    // No padding: one octet that says so.
    writer.octets(cipher.update(Uint8Array.of(0))).octets(cipher.final());
    writer.octets(cipher.getAuthTag());
  }

  #sealCbc(writer: ByteWriter, plain: Uint8Array): void {
    const iv = this.#random(CBC_BLOCK_LENGTH);
    const padded = new Uint8Array(cbcLength(plain.length));
    padded.set(plain);
    padded[padded.length - 1] = padded.length - plain.length - 1;
    const cipher = createCipheriv("aes-256-cbc", this.#keys.encryption, iv).setAutoPadding(false);
    writer.octets(iv).octets(cipher.update(padded)).octets(cipher.final());
  }
}

/**
 * The hidden octets. `associated` is everything before the initialization vector; `sealed` all after it.
 * Undefined when it is not authentic. Throws `MalformedError` `sealed-length` or `padding`.
 */
export function openSealed(
  encryption: IkeEncryption,
  keys: DirectionKeys,
  associated: Uint8Array,
  sealed: Uint8Array,
): Uint8Array | undefined {
  const isAead = CIPHERS[encryption].integrity === undefined;
  const plain = isAead
    ? openGcm(encryption, keys, associated, sealed)
    : openCbc(keys, associated, sealed);
  if (plain === undefined) return undefined;
  const padding = plain[plain.length - 1];
  if (padding === undefined || padding + 1 > plain.length) {
    throw new MalformedError("ikev2", "padding", "more padding than there are octets");
  }
  return plain.subarray(0, plain.length - 1 - padding);
}

function openGcm(
  encryption: IkeEncryption,
  keys: DirectionKeys,
  associated: Uint8Array,
  sealed: Uint8Array,
): Uint8Array | undefined {
  if (sealed.length < GCM_IV_LENGTH + 1 + GCM_TAG_LENGTH) throw badLength(sealed);
  const iv = sealed.subarray(0, GCM_IV_LENGTH);
  const { algorithm, key, nonce } = gcmParameters(encryption, keys, iv);
  const decipher = createDecipheriv(algorithm, key, nonce, { authTagLength: GCM_TAG_LENGTH });
  decipher.setAAD(associated);
  decipher.setAuthTag(sealed.subarray(-GCM_TAG_LENGTH));
  const plain = decipher.update(sealed.subarray(GCM_IV_LENGTH, -GCM_TAG_LENGTH));
  try {
    decipher.final();
  } catch {
    return undefined;
  }
  return new Uint8Array(plain);
}

function openCbc(
  keys: DirectionKeys,
  associated: Uint8Array,
  sealed: Uint8Array,
): Uint8Array | undefined {
  const ciphertextLength = sealed.length - CBC_BLOCK_LENGTH - HMAC_LENGTH;
  if (ciphertextLength < CBC_BLOCK_LENGTH || ciphertextLength % CBC_BLOCK_LENGTH !== 0) {
    throw badLength(sealed);
  }
  const expected = hmac(keys.integrity, associated, sealed.subarray(0, -HMAC_LENGTH));
  if (!timingSafeEqual(expected, sealed.subarray(-HMAC_LENGTH))) return undefined;
  const iv = sealed.subarray(0, CBC_BLOCK_LENGTH);
  const decipher = createDecipheriv("aes-256-cbc", keys.encryption, iv).setAutoPadding(false);
  // All of it comes out of `update`: there is no padding for `final` to take away.
  return new Uint8Array(decipher.update(sealed.subarray(CBC_BLOCK_LENGTH, -HMAC_LENGTH)));
}

function gcmParameters(encryption: IkeEncryption, keys: DirectionKeys, iv: Uint8Array) {
  const { keyLength, saltLength } = CIPHERS[encryption];
  const nonce = new Uint8Array(saltLength + GCM_IV_LENGTH);
  nonce.set(keys.encryption.subarray(keyLength));
  nonce.set(iv, saltLength);
  const algorithm = `aes-${keyLength * 8}-gcm` as CipherGCMTypes;
  return { algorithm, key: keys.encryption.subarray(0, keyLength), nonce };
}

function hmac(key: Uint8Array, ...data: readonly Uint8Array[]): Uint8Array {
  const mac = createHmac("sha256", key);
  for (const part of data) mac.update(part);
  return new Uint8Array(mac.digest().subarray(0, HMAC_LENGTH));
}

/** Octets of plain text with its padding and the octet that counts it. */
function cbcLength(length: number): number {
  return Math.ceil((length + 1) / CBC_BLOCK_LENGTH) * CBC_BLOCK_LENGTH;
}

function badLength(sealed: Uint8Array): MalformedError {
  return new MalformedError("ikev2", "sealed-length", `${sealed.length} octets`);
}
