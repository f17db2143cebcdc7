/** From a shared secret to keys: prf, prf+ and what is cut from it. RFC 7296 sections 2.13, 2.14, 2.17, 2.18. */

import { createHmac, createSecretKey, type KeyObject } from "node:crypto";
import { ByteWriter } from "../bytes/writer.ts";
import type { SecurityAssociationKeys, Suite } from "../tunnel/tunnel.ts";
import { CIPHERS, type IkeSuite, PRFS, type Prf } from "./algorithms.ts";
import { type IkeSpi, ikeSpiOctets } from "./wire/header.ts";

/** prf+ counts its blocks in one octet, RFC 7296 section 2.13. */
const MAXIMUM_BLOCKS = 255;

/** From Node 24 on an HMAC takes four times as long with a key that comes as octets; before, to read it first took longer. */
const READS_OCTETS_SLOWLY = Number.parseInt(process.versions.node, 10) >= 24;

/** The keys of one IKE SA, RFC 7296 section 2.14. Secret. */
export interface IkeKeys {
  /** Derives the keys of Child SAs and of the next IKE SA. */
  readonly d: Uint8Array;
  /** Integrity; empty with an AEAD. */
  readonly ai: Uint8Array;
  readonly ar: Uint8Array;
  /** Encryption, with GCM's salt at the end. */
  readonly ei: Uint8Array;
  readonly er: Uint8Array;
  /** Authenticate the identities. */
  readonly pi: Uint8Array;
  readonly pr: Uint8Array;
}

/** The nonces of an exchange, without headers. */
export interface Nonces {
  readonly initiator: Uint8Array;
  readonly responder: Uint8Array;
}

export function prf(
  algorithm: Prf,
  key: Uint8Array | KeyObject,
  ...data: readonly Uint8Array[]
): Uint8Array {
  const hmac = createHmac(PRFS[algorithm].hash, key);
  for (const part of data) hmac.update(part);
  return new Uint8Array(hmac.digest());
}

/** RFC 7296 section 2.13. */
export function prfPlus(
  algorithm: Prf,
  key: Uint8Array,
  seed: Uint8Array,
  length: number,
): Uint8Array {
  const blockLength = PRFS[algorithm].length;
  const blocks = Math.ceil(length / blockLength);
  if (blocks > MAXIMUM_BLOCKS) throw new RangeError(`prf+ cannot give ${length} octets`);
  const output = new Uint8Array(blocks * blockLength);
  const readKey = READS_OCTETS_SLOWLY ? createSecretKey(key) : key;
  let block: Uint8Array = new Uint8Array(0);
  for (let count = 1; count <= blocks; count++) {
    block = prf(algorithm, readKey, block, seed, Uint8Array.of(count));
    output.set(block, (count - 1) * blockLength);
  }
  return output.slice(0, length);
}

/** SKEYSEED of a first IKE SA, RFC 7296 section 2.14. */
export function initialSkeyseed(algorithm: Prf, nonces: Nonces, secret: Uint8Array): Uint8Array {
  return prf(algorithm, joined(nonces.initiator, nonces.responder), secret);
}

/** SKEYSEED of an IKE SA that follows another, with the PRF and SK_d of the old one, section 2.18. */
export function rekeyedSkeyseed(
  old: { readonly prf: Prf; readonly d: Uint8Array },
  nonces: Nonces,
  secret: Uint8Array,
): Uint8Array {
  return prf(old.prf, old.d, secret, nonces.initiator, nonces.responder);
}

export function deriveIkeKeys(options: {
  readonly suite: IkeSuite;
  readonly skeyseed: Uint8Array;
  readonly nonces: Nonces;
  readonly initiatorSpi: IkeSpi;
  readonly responderSpi: IkeSpi;
}): IkeKeys {
  const { suite, nonces } = options;
  const cipher = CIPHERS[suite.encryption];
  const prfLength = PRFS[suite.prf].length;
  const encryptionLength = cipher.keyLength + cipher.saltLength;
  const seed = joined(
    nonces.initiator,
    nonces.responder,
    ikeSpiOctets(options.initiatorSpi),
    ikeSpiOctets(options.responderSpi),
  );
  const total = 3 * prfLength + 2 * cipher.integrityKeyLength + 2 * encryptionLength;
  const take = cutter(prfPlus(suite.prf, options.skeyseed, seed, total));
  return {
    d: take(prfLength),
    ai: take(cipher.integrityKeyLength),
    ar: take(cipher.integrityKeyLength),
    ei: take(encryptionLength),
    er: take(encryptionLength),
    pi: take(prfLength),
    pr: take(prfLength),
  };
}

/** KEYMAT of a Child SA, RFC 7296 section 2.17. `secret` is there when the exchange had its own agreement. */
export function deriveChildKeys(options: {
  readonly prf: Prf;
  readonly d: Uint8Array;
  readonly nonces: Nonces;
  readonly secret?: Uint8Array;
  readonly suite: Suite;
}): Record<"initiatorToResponder" | "responderToInitiator", ChildKeys> {
  const { nonces, secret } = options;
  const cipher = CIPHERS[options.suite];
  // One of the two is zero: GCM has a salt, CBC an integrity key.
  const companionLength = cipher.saltLength + cipher.integrityKeyLength;
  const seed = joined(
    ...(secret === undefined ? [] : [secret]),
    nonces.initiator,
    nonces.responder,
  );
  const total = 2 * (cipher.keyLength + companionLength);
  const take = cutter(prfPlus(options.prf, options.d, seed, total));
  const direction = (): ChildKeys => ({
    encryptionKey: take(cipher.keyLength),
    companion: take(companionLength),
  });
  return { initiatorToResponder: direction(), responderToInitiator: direction() };
}

export type ChildKeys = Pick<SecurityAssociationKeys, "encryptionKey" | "companion">;

/** Takes the next octets of some keying material, in order. */
function cutter(material: Uint8Array): (length: number) => Uint8Array {
  let offset = 0;
  return (length) => {
    const part = material.slice(offset, offset + length);
    offset += length;
    return part;
  };
}

function joined(...parts: readonly Uint8Array[]): Uint8Array {
  const writer = new ByteWriter(parts.reduce((sum, { length }) => sum + length, 0));
  for (const part of parts) writer.octets(part);
  return writer.finish();
}
