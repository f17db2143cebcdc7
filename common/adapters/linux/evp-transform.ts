/**
 * ESP's transforms by OpenSSL's EVP, called in the node process itself through koffi: a context for each SA,
 * keyed once, and for each packet only the nonce changes. Nothing is allocated or copied per packet.
 *
 * OpenSSL is given addresses, and does not know where memory ends: every address here comes from
 * `Slab.address()`, which checks that the whole packet lies inside. Contexts are freed once, by `close()`, and are
 * out of reach from then on.
 */

import koffi from "koffi";
import { ESP_HEADER_LENGTH } from "../../esp/packet.ts";
import { type SuiteFacts, suiteOfKeys } from "../../esp/suite.ts";
import type { EspTransform, OpenTransform, TransformSizes } from "../../esp/transform.ts";
import type { SecurityAssociationKeys } from "../../tunnel/tunnel.ts";
import { Slab } from "./slab.ts";

const ADDRESS = "uintptr_t";
const EVP_CTRL_AEAD_GET_TAG = 0x10;
const EVP_CTRL_AEAD_SET_TAG = 0x11;
const OSSL_PARAM_UTF8_STRING = 4;
const OSSL_PARAM_LENGTH = 40;
const DIGEST_LENGTH = 32; // octets of SHA-256, of which the ICV is the first 16 (RFC 4868)
const SALT_LENGTH = 4; // octets, RFC 4106 section 4
const CBC_IV_LENGTH = 16; // octets
const IV_POOL = 16; // CBC IVs fetched from OpenSSL's generator at once

// offsets in the work space
const NONCE = 0; // salt and IV
const ASSOCIATED = 16; // SPI, high and low half of the sequence number
const HIGH = 20; // the high half, where the associated data has it
const WRITTEN = 32; // what OpenSSL says it wrote: int or size_t
const DIGEST = 40;
const SCRATCH_LENGTH = DIGEST + DIGEST_LENGTH;

/**
 * What OpenSSL reads and writes besides packets, off the JavaScript heap. One for all SAs: each call is over before the
 * next begins, and a thousand homes need no thousand of them.
 */
class WorkSpace {
  readonly scratch = new Slab(SCRATCH_LENGTH);
  readonly nonce = this.scratch.address(NONCE, 12);
  readonly associated = this.scratch.address(ASSOCIATED, 12);
  readonly high = this.scratch.address(HIGH, 4);
  readonly written = this.scratch.address(WRITTEN, 8);
  readonly digest = this.scratch.address(DIGEST, DIGEST_LENGTH);
  /** Random octets for the IVs of CBC; each is used once. */
  readonly ivs = new Slab(IV_POOL * CBC_IV_LENGTH);
  ivsUsed = IV_POOL;
}

const evp = bindEvp();

/** Whether this Node lets its OpenSSL (3.0 or later) be called. If not, `esp/node-transform.ts` does the work. */
export function evpAvailable(): boolean {
  return evp !== undefined;
}

/** Throws `RangeError` for keys of the wrong length, `Error` when OpenSSL refuses or is not available. */
export const openEvpTransform: OpenTransform<Slab> = (keys, direction) => {
  if (evp === undefined) throw new Error("this Node does not export OpenSSL's EVP");
  const facts = suiteOfKeys(keys);
  return facts.mode === "gcm"
    ? new EvpGcm(evp, { keys, facts, direction })
    : new EvpCbcHmac(evp, { keys, facts, direction });
};

interface SecurityAssociationParts {
  readonly keys: SecurityAssociationKeys;
  readonly facts: SuiteFacts;
  readonly direction: "outbound" | "inbound";
}

/** RFC 4106. The IV is the sequence number: unique by construction, as GCM needs above all. */
class EvpGcm implements EspTransform<Slab> {
  readonly sizes: TransformSizes;
  readonly #evp: Evp;
  readonly #outbound: boolean;
  readonly #extended: boolean;
  readonly #work: WorkSpace;
  #salt: number;
  #context: number;

  constructor(evp: Evp, { keys, facts, direction }: SecurityAssociationParts) {
    this.sizes = facts.sizes;
    this.#evp = evp;
    this.#outbound = direction === "outbound";
    this.#extended = keys.extendedSequenceNumbers;
    this.#work = evp.work;
    const { companion } = keys;
    this.#salt = new DataView(companion.buffer, companion.byteOffset).getUint32(0);
    this.#context = keyedCipher(evp, gcmCipher(evp, facts), keys.encryptionKey, this.#outbound);
  }

  seal(memory: Slab, offset: number, length: number, high: number, low: number): void {
    const { sizes } = this;
    const context = usable(this.#context, this.#outbound);
    const iv = offset + ESP_HEADER_LENGTH;
    const start = iv + sizes.iv;
    const packet = memory.address(offset, start - offset + length + sizes.icv);
    const text = memory.address(start, length);
    memory.view.setUint32(iv, high);
    memory.view.setUint32(iv + 4, low);
    const { written } = this.#work;
    const nonce = this.#work.scratch.view;
    nonce.setUint32(NONCE, this.#salt);
    nonce.setUint32(NONCE + SALT_LENGTH, high);
    nonce.setUint32(NONCE + SALT_LENGTH + 4, low);
    const associated = this.#extended ? this.#associate(memory, offset, high) : packet;
    const { encryptInit, encryptUpdate, encryptFinal, cipherControl } = this.#evp;
    const sealed =
      encryptInit(context, 0, 0, 0, this.#work.nonce) === 1 &&
      encryptUpdate(context, 0, written, associated, this.#extended ? 12 : 8) === 1 &&
      encryptUpdate(context, text, written, text, length) === 1 &&
      encryptFinal(context, text + length, written) === 1 &&
      cipherControl(context, EVP_CTRL_AEAD_GET_TAG, sizes.icv, text + length) === 1;
    if (!sealed) throw failure(this.#evp, "seal a packet");
  }

  open(memory: Slab, offset: number, length: number, high: number): boolean {
    const { sizes } = this;
    const context = usable(this.#context, !this.#outbound);
    const iv = offset + ESP_HEADER_LENGTH;
    const start = iv + sizes.iv;
    const packet = memory.address(offset, start - offset + length + sizes.icv);
    const text = memory.address(start, length);
    const { written } = this.#work;
    const nonce = this.#work.scratch.view;
    nonce.setUint32(NONCE, this.#salt);
    nonce.setUint32(NONCE + SALT_LENGTH, memory.view.getUint32(iv));
    nonce.setUint32(NONCE + SALT_LENGTH + 4, memory.view.getUint32(iv + 4));
    const associated = this.#extended ? this.#associate(memory, offset, high) : packet;
    const { decryptInit, decryptUpdate, decryptFinal, cipherControl, clearErrors } = this.#evp;
    const authentic =
      decryptInit(context, 0, 0, 0, this.#work.nonce) === 1 &&
      cipherControl(context, EVP_CTRL_AEAD_SET_TAG, sizes.icv, text + length) === 1 &&
      decryptUpdate(context, 0, written, associated, this.#extended ? 12 : 8) === 1 &&
      decryptUpdate(context, text, written, text, length) === 1 &&
      decryptFinal(context, text + length, written) === 1;
    if (!authentic) {
      // GCM decrypts before it knows: what came out of a forgery must not be read by anyone.
      memory.octets.fill(0, start, start + length);
      clearErrors();
    }
    return authentic;
  }

  close(): void {
    this.#evp.freeCipher(this.#context);
    this.#context = 0;
    this.#salt = 0;
    this.#work.scratch.octets.fill(0);
  }

  /** SPI and the 64 bits of the sequence number, RFC 4106 section 5; returns their address. */
  #associate(memory: Slab, offset: number, high: number): number {
    const { view } = this.#work.scratch;
    view.setUint32(ASSOCIATED, memory.view.getUint32(offset));
    view.setUint32(HIGH, high);
    view.setUint32(ASSOCIATED + 8, memory.view.getUint32(offset + 4));
    return this.#work.associated;
  }
}

/** RFC 3602 and RFC 4868: encrypted first; the ICV covers header, IV, ciphertext and the number's high half. */
class EvpCbcHmac implements EspTransform<Slab> {
  readonly sizes: TransformSizes;
  readonly #evp: Evp;
  readonly #outbound: boolean;
  readonly #extended: boolean;
  readonly #work: WorkSpace;
  #cipher: number;
  #mac = 0;

  constructor(evp: Evp, { keys, facts, direction }: SecurityAssociationParts) {
    this.sizes = facts.sizes;
    this.#evp = evp;
    this.#outbound = direction === "outbound";
    this.#extended = keys.extendedSequenceNumbers;
    this.#work = evp.work;
    this.#cipher = keyedCipher(evp, evp.aes256Cbc(), keys.encryptionKey, this.#outbound);
    try {
      this.#mac = keyedHmac(evp, keys.companion);
    } catch (error) {
      this.close();
      throw error;
    }
    evp.setPadding(this.#cipher, 0); // ESP pads by itself
  }

  seal(memory: Slab, offset: number, length: number, high: number, _low: number): void {
    const { sizes } = this;
    const context = usable(this.#cipher, this.#outbound);
    const iv = offset + ESP_HEADER_LENGTH;
    const start = iv + sizes.iv;
    const packet = memory.address(offset, start - offset + length + sizes.icv);
    const text = memory.address(start, length);
    this.#takeIv(memory.octets, iv);
    const { encryptInit, encryptUpdate } = this.#evp;
    const sealed =
      encryptInit(context, 0, 0, 0, packet + ESP_HEADER_LENGTH) === 1 &&
      encryptUpdate(context, text, this.#work.written, text, length) === 1 &&
      this.#work.scratch.view.getInt32(WRITTEN, true) === length &&
      this.#authenticate(packet, start - offset + length, high);
    if (!sealed) throw failure(this.#evp, "seal a packet");
    const digest = this.#work.scratch.octets;
    for (let i = 0; i < sizes.icv; i++) memory.octets[start + length + i] = digest[DIGEST + i] ?? 0;
  }

  open(memory: Slab, offset: number, length: number, high: number): boolean {
    const { sizes } = this;
    const context = usable(this.#cipher, !this.#outbound);
    const start = offset + ESP_HEADER_LENGTH + sizes.iv;
    const packet = memory.address(offset, start - offset + length + sizes.icv);
    const text = memory.address(start, length);
    const { decryptInit, decryptUpdate, compare, clearErrors } = this.#evp;
    if (
      !this.#authenticate(packet, start - offset + length, high) ||
      compare(this.#work.digest, text + length, sizes.icv) !== 0
    ) {
      return false;
    }
    const decrypted =
      decryptInit(context, 0, 0, 0, packet + ESP_HEADER_LENGTH) === 1 &&
      decryptUpdate(context, text, this.#work.written, text, length) === 1 &&
      this.#work.scratch.view.getInt32(WRITTEN, true) === length;
    if (!decrypted) {
      memory.octets.fill(0, start, start + length);
      clearErrors();
    }
    return decrypted;
  }

  close(): void {
    this.#evp.freeCipher(this.#cipher);
    this.#evp.freeMacContext(this.#mac);
    this.#cipher = 0;
    this.#mac = 0;
    this.#work.scratch.octets.fill(0);
  }

  /** Leaves HMAC-SHA-256 of the packet without its ICV in `DIGEST`. */
  #authenticate(packet: number, length: number, high: number): boolean {
    const { macInit, macUpdate, macFinal } = this.#evp;
    const mac = this.#mac;
    if (macInit(mac, 0, 0, 0) !== 1 || macUpdate(mac, packet, length) !== 1) return false;
    if (this.#extended) {
      // Not sent, yet authenticated, as if it followed the next header (RFC 4303 section 2.2.1).
      this.#work.scratch.view.setUint32(HIGH, high);
      if (macUpdate(mac, this.#work.high, 4) !== 1) return false;
    }
    return macFinal(mac, this.#work.digest, this.#work.written, DIGEST_LENGTH) === 1;
  }

  /** CBC's IV must be unpredictable (RFC 3602 section 3), also after a restart: fresh random octets. */
  #takeIv(into: Uint8Array, at: number): void {
    const work = this.#work;
    if (work.ivsUsed === IV_POOL) {
      const size = IV_POOL * CBC_IV_LENGTH;
      if (this.#evp.randomBytes(work.ivs.address(0, size), size) !== 1) {
        throw failure(this.#evp, "make an IV");
      }
      work.ivsUsed = 0;
    }
    const from = work.ivsUsed * CBC_IV_LENGTH;
    const { octets } = work.ivs;
    for (let i = 0; i < CBC_IV_LENGTH; i++) into[at + i] = octets[from + i] ?? 0;
    work.ivsUsed += 1;
  }
}

/** The context, if it stands and serves this direction. */
function usable(context: number, direction: boolean): number {
  if (context === 0) throw new Error("the ESP transform is closed");
  if (!direction) throw new Error("the ESP transform serves the other direction");
  return context;
}

function gcmCipher(evp: Evp, facts: SuiteFacts): number {
  if (facts.encryptionKeyLength === 16) return evp.aes128Gcm();
  return facts.encryptionKeyLength === 24 ? evp.aes192Gcm() : evp.aes256Gcm();
}

/** A cipher context that holds the key; whoever called this frees it. */
function keyedCipher(evp: Evp, cipher: number, key: Uint8Array, outbound: boolean): number {
  const context = evp.newCipher();
  const secret = new Slab(key.length);
  secret.octets.set(key);
  const init = outbound ? evp.encryptInit : evp.decryptInit;
  const keyed = context !== 0 && init(context, cipher, 0, secret.address(0, key.length), 0) === 1;
  secret.octets.fill(0);
  if (keyed) return context;
  evp.freeCipher(context);
  throw failure(evp, "set a cipher's key");
}

/** An HMAC-SHA-256 context that holds the key; whoever called this frees it. */
function keyedHmac(evp: Evp, key: Uint8Array): number {
  const hmac = evp.fetchMac(0, "HMAC", null);
  const context = hmac === 0 ? 0 : evp.newMacContext(hmac);
  evp.freeMac(hmac); // the context holds a reference of its own
  // [{ "digest", UTF-8, "SHA256", 6 }, end], the names, the key
  const names = OSSL_PARAM_LENGTH * 2;
  const secret = new Slab(names + 16 + key.length);
  secret.octets.set(new TextEncoder().encode("digest\0\0SHA256"), names);
  secret.setPointer(0, secret.address(names, 7));
  secret.setPointer(8, OSSL_PARAM_UTF8_STRING);
  secret.setPointer(16, secret.address(names + 8, 7));
  secret.setPointer(24, 6);
  secret.octets.set(key, names + 16);
  const keyed =
    context !== 0 &&
    evp.macInit(
      context,
      secret.address(names + 16, key.length),
      key.length,
      secret.address(0, names),
    ) === 1;
  secret.octets.fill(0);
  if (keyed) return context;
  evp.freeMacContext(context);
  throw failure(evp, "set an HMAC key");
}

/** OpenSSL's own words are left unread, but not left behind: Node would take them for its own call's. */
function failure(evp: Evp, operation: string): Error {
  evp.clearErrors();
  return new Error(`OpenSSL cannot ${operation}`);
}

type Evp = NonNullable<ReturnType<typeof bindEvp>>;

/** The functions by the names of OpenSSL 3.0's manual; undefined when one is missing. */
function bindEvp() {
  const work = new WorkSpace();
  const library = koffi.load(null);
  const bind = (name: string, result: string, parameters: string[]) =>
    library.func(name, result, parameters) as (...values: number[]) => number;
  const init = [ADDRESS, ADDRESS, ADDRESS, ADDRESS, ADDRESS];
  const update = [ADDRESS, ADDRESS, ADDRESS, ADDRESS, "int"];
  try {
    return {
      work,
      aes128Gcm: bind("EVP_aes_128_gcm", ADDRESS, []),
      aes192Gcm: bind("EVP_aes_192_gcm", ADDRESS, []),
      aes256Gcm: bind("EVP_aes_256_gcm", ADDRESS, []),
      aes256Cbc: bind("EVP_aes_256_cbc", ADDRESS, []),
      newCipher: bind("EVP_CIPHER_CTX_new", ADDRESS, []),
      freeCipher: bind("EVP_CIPHER_CTX_free", "void", [ADDRESS]),
      setPadding: bind("EVP_CIPHER_CTX_set_padding", "int", [ADDRESS, "int"]),
      cipherControl: bind("EVP_CIPHER_CTX_ctrl", "int", [ADDRESS, "int", "int", ADDRESS]),
      encryptInit: bind("EVP_EncryptInit_ex", "int", init),
      encryptUpdate: bind("EVP_EncryptUpdate", "int", update),
      encryptFinal: bind("EVP_EncryptFinal_ex", "int", [ADDRESS, ADDRESS, ADDRESS]),
      decryptInit: bind("EVP_DecryptInit_ex", "int", init),
      decryptUpdate: bind("EVP_DecryptUpdate", "int", update),
      decryptFinal: bind("EVP_DecryptFinal_ex", "int", [ADDRESS, ADDRESS, ADDRESS]),
      fetchMac: library.func("EVP_MAC_fetch", ADDRESS, [ADDRESS, "str", "str"]) as (
        context: number,
        algorithm: string,
        properties: string | null,
      ) => number,
      freeMac: bind("EVP_MAC_free", "void", [ADDRESS]),
      newMacContext: bind("EVP_MAC_CTX_new", ADDRESS, [ADDRESS]),
      freeMacContext: bind("EVP_MAC_CTX_free", "void", [ADDRESS]),
      macInit: bind("EVP_MAC_init", "int", [ADDRESS, ADDRESS, "size_t", ADDRESS]),
      macUpdate: bind("EVP_MAC_update", "int", [ADDRESS, ADDRESS, "size_t"]),
      macFinal: bind("EVP_MAC_final", "int", [ADDRESS, ADDRESS, ADDRESS, "size_t"]),
      randomBytes: bind("RAND_bytes", "int", [ADDRESS, "int"]),
      compare: bind("CRYPTO_memcmp", "int", [ADDRESS, ADDRESS, "size_t"]),
      clearErrors: bind("ERR_clear_error", "void", []),
    };
  } catch {
    return undefined;
  }
}
