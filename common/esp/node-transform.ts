/**
 * ESP's transforms by node:crypto: everywhere Node runs, at several times the price of
 * `adapters/linux/evp-transform.ts`, since every packet makes a cipher of its own and is copied twice.
 */

import { createCipheriv, createDecipheriv, createHmac, timingSafeEqual } from "node:crypto";
import type { PacketMemory } from "../bytes/packet-memory.ts";
import type { SecurityAssociationKeys } from "../tunnel/tunnel.ts";
import { ESP_HEADER_LENGTH } from "./packet.ts";
import { type SuiteFacts, suiteOfKeys } from "./suite.ts";
import type { EspTransform, OpenTransform, TransformSizes } from "./transform.ts";

const SALT_LENGTH = 4; // octets, RFC 4106 section 4
const AUTH_TAG_LENGTH = 16;

/** Random octets, unpredictable to an attacker: `node:crypto`'s `randomBytes`, or a fixed sequence in tests. */
export type RandomOctets = (count: number) => Uint8Array;

/** `randomOctets` gives CBC its IVs. The opener throws `RangeError` for keys of the wrong length. */
export function openNodeTransform(randomOctets: RandomOctets): OpenTransform<PacketMemory> {
  return (keys) => {
    const facts = suiteOfKeys(keys);
    return facts.mode === "gcm"
      ? new NodeGcm(keys, facts)
      : new NodeCbcHmac(keys, facts, randomOctets);
  };
}

/** RFC 4106. The IV is the sequence number: unique by construction, as GCM needs above all. */
class NodeGcm implements EspTransform<PacketMemory> {
  readonly sizes: TransformSizes;
  readonly #algorithm: "aes-128-gcm" | "aes-192-gcm" | "aes-256-gcm";
  #key: Uint8Array | undefined;
  readonly #nonce = new Uint8Array(SALT_LENGTH + 8);
  readonly #associated: Uint8Array;
  readonly #associatedView: DataView;

  constructor(keys: SecurityAssociationKeys, facts: SuiteFacts) {
    this.sizes = facts.sizes;
    this.#algorithm = GCM_ALGORITHMS[facts.encryptionKeyLength] ?? "aes-256-gcm";
    this.#key = keys.encryptionKey.slice();
    this.#nonce.set(keys.companion);
    this.#associated = new Uint8Array(keys.extendedSequenceNumbers ? 12 : 8);
    this.#associatedView = new DataView(this.#associated.buffer);
  }

  seal(memory: PacketMemory, offset: number, length: number, high: number, low: number): void {
    const key = held(this.#key);
    const iv = offset + ESP_HEADER_LENGTH;
    const start = iv + this.sizes.iv;
    checkRoom(memory, offset, start + length + this.sizes.icv);
    memory.view.setUint32(iv, high);
    memory.view.setUint32(iv + 4, low);
    this.#prepare(memory, offset, high);
    const cipher = createCipheriv(this.#algorithm, key, this.#nonce, {
      authTagLength: AUTH_TAG_LENGTH,
    });
    cipher.setAAD(this.#associated);
    memory.octets.set(cipher.update(memory.octets.subarray(start, start + length)), start);
    cipher.final();
    memory.octets.set(cipher.getAuthTag(), start + length);
  }

  open(memory: PacketMemory, offset: number, length: number, high: number): boolean {
    const key = held(this.#key);
    const start = offset + ESP_HEADER_LENGTH + this.sizes.iv;
    const end = start + length;
    checkRoom(memory, offset, end + this.sizes.icv);
    this.#prepare(memory, offset, high);
    const decipher = createDecipheriv(this.#algorithm, key, this.#nonce, {
      authTagLength: AUTH_TAG_LENGTH,
    });
    decipher.setAAD(this.#associated);
    decipher.setAuthTag(memory.octets.subarray(end, end + AUTH_TAG_LENGTH));
    const plaintext = decipher.update(memory.octets.subarray(start, end));
    try {
      decipher.final(); // compares the ICV, in constant time, and throws when it is wrong
    } catch {
      plaintext.fill(0);
      return false;
    }
    memory.octets.set(plaintext, start);
    return true;
  }

  close(): void {
    this.#key?.fill(0);
    this.#key = undefined;
    this.#nonce.fill(0);
  }

  /** The nonce (salt and IV) and what is authenticated in clear: SPI and the whole sequence number. */
  #prepare(memory: PacketMemory, offset: number, high: number): void {
    const iv = offset + ESP_HEADER_LENGTH;
    this.#nonce.set(memory.octets.subarray(iv, iv + this.sizes.iv), SALT_LENGTH);
    const associated = this.#associatedView;
    associated.setUint32(0, memory.view.getUint32(offset));
    if (associated.byteLength === 12) associated.setUint32(4, high);
    associated.setUint32(associated.byteLength - 4, memory.view.getUint32(offset + 4));
  }
}

const GCM_ALGORITHMS: Readonly<Record<number, "aes-128-gcm" | "aes-192-gcm" | "aes-256-gcm">> = {
  16: "aes-128-gcm",
  24: "aes-192-gcm",
  32: "aes-256-gcm",
};

/** RFC 3602 and RFC 4868: encrypted first; the ICV covers header, IV, ciphertext and the number's high half. */
class NodeCbcHmac implements EspTransform<PacketMemory> {
  readonly sizes: TransformSizes;
  readonly #extended: boolean;
  readonly #randomOctets: RandomOctets;
  #key: Uint8Array | undefined;
  readonly #hmacKey: Uint8Array;
  readonly #high = new DataView(new ArrayBuffer(4));

  constructor(keys: SecurityAssociationKeys, facts: SuiteFacts, randomOctets: RandomOctets) {
    this.sizes = facts.sizes;
    this.#extended = keys.extendedSequenceNumbers;
    this.#randomOctets = randomOctets;
    this.#key = keys.encryptionKey.slice();
    this.#hmacKey = keys.companion.slice();
  }

  seal(memory: PacketMemory, offset: number, length: number, high: number, _low: number): void {
    const key = held(this.#key);
    const start = offset + ESP_HEADER_LENGTH + this.sizes.iv;
    const end = start + length;
    checkRoom(memory, offset, end + this.sizes.icv);
    const iv = this.#randomOctets(this.sizes.iv);
    const cipher = createCipheriv("aes-256-cbc", key, iv).setAutoPadding(false);
    memory.octets.set(iv, offset + ESP_HEADER_LENGTH);
    memory.octets.set(cipher.update(memory.octets.subarray(start, end)), start);
    memory.octets.set(this.#icv(memory, offset, end, high), end);
  }

  open(memory: PacketMemory, offset: number, length: number, high: number): boolean {
    const key = held(this.#key);
    const start = offset + ESP_HEADER_LENGTH + this.sizes.iv;
    const end = start + length;
    checkRoom(memory, offset, end + this.sizes.icv);
    const received = memory.octets.subarray(end, end + this.sizes.icv);
    if (!timingSafeEqual(this.#icv(memory, offset, end, high), received)) return false;
    const iv = memory.octets.subarray(offset + ESP_HEADER_LENGTH, start);
    const decipher = createDecipheriv("aes-256-cbc", key, iv).setAutoPadding(false);
    memory.octets.set(decipher.update(memory.octets.subarray(start, end)), start);
    return true;
  }

  close(): void {
    this.#key?.fill(0);
    this.#key = undefined;
    this.#hmacKey.fill(0);
  }

  #icv(memory: PacketMemory, offset: number, end: number, high: number): Uint8Array {
    const hmac = createHmac("sha256", this.#hmacKey).update(memory.octets.subarray(offset, end));
    if (this.#extended) {
      this.#high.setUint32(0, high);
      hmac.update(this.#high);
    }
    return hmac.digest().subarray(0, this.sizes.icv);
  }
}

function held(key: Uint8Array | undefined): Uint8Array {
  if (key === undefined) throw new Error("the ESP transform is closed");
  return key;
}

/** Typed arrays swallow what is written beyond their end; a packet must not be cut so. */
function checkRoom(memory: PacketMemory, offset: number, end: number): void {
  if (!(offset >= 0 && end >= offset && end <= memory.octets.length)) {
    throw new RangeError(`octets ${offset} to ${end} of a memory of ${memory.octets.length}`);
  }
}
