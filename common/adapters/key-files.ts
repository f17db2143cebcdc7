/** New keys, and the public half of those that lie in files. */

import { createPublicKey, generateKeyPairSync, type KeyObject, randomBytes } from "node:crypto";

/** As many octets as the strongest PRF has, RFC 7296 section 2.15. */
const SHARED_KEY_LENGTH = 32;

/** An Ed25519 private key in PEM (RFC 8410). Secret. */
export function newPrivateKey(): string {
  const { privateKey } = generateKeyPairSync("ed25519");
  return String(privateKey.export({ format: "pem", type: "pkcs8" }));
}

/** A shared key as digits that can be pasted. Secret. */
export function newSharedKey(): string {
  return randomBytes(SHARED_KEY_LENGTH).toString("hex");
}

/** SubjectPublicKeyInfo in base64, as the other end's configuration has it. */
export function publicKeyText(privateKey: KeyObject | string): string {
  return createPublicKey(privateKey).export({ format: "der", type: "spki" }).toString("base64");
}
