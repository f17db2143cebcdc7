/** The suites hometun speaks and their sizes: RFC 4106 (AES-GCM-16), RFC 3602 (AES-CBC), RFC 4868 (HMAC-SHA2-256-128). */

import type { SecurityAssociationKeys, Suite } from "../tunnel/tunnel.ts";
import type { TransformSizes } from "./transform.ts";

export interface SuiteFacts {
  readonly sizes: TransformSizes;
  /** `gcm` authenticates by itself; `cbc` is encrypted first and then authenticated by HMAC (RFC 4303 section 3.3.2.1). */
  readonly mode: "gcm" | "cbc";
  /** Octets of the cipher's key. */
  readonly encryptionKeyLength: number;
  /** Octets of salt (GCM) or of HMAC key (CBC). */
  readonly companionLength: number;
}

const GCM_SIZES: TransformSizes = { iv: 8, icv: 16, block: 4 };
const CBC_SIZES: TransformSizes = { iv: 16, icv: 16, block: 16 };

const gcm = (encryptionKeyLength: number): SuiteFacts => ({
  sizes: GCM_SIZES,
  mode: "gcm",
  encryptionKeyLength,
  companionLength: 4,
});

const SUITES: Readonly<Record<Suite, SuiteFacts>> = {
  "aes-gcm-128": gcm(16),
  "aes-gcm-192": gcm(24),
  "aes-gcm-256": gcm(32),
  "aes-cbc-256-hmac-sha2-256-128": {
    sizes: CBC_SIZES,
    mode: "cbc",
    encryptionKeyLength: 32,
    companionLength: 32,
  },
};

export function suiteFacts(suite: Suite): SuiteFacts {
  return SUITES[suite];
}

/** The facts of the keys' suite. Throws `RangeError` when the keys are not as long as it wants them. */
export function suiteOfKeys(keys: SecurityAssociationKeys): SuiteFacts {
  const facts = SUITES[keys.suite];
  if (keys.encryptionKey.length !== facts.encryptionKeyLength) {
    throw new RangeError(
      `${keys.suite} needs an encryption key of ${facts.encryptionKeyLength} octets`,
    );
  }
  if (keys.companion.length !== facts.companionLength) {
    throw new RangeError(
      `${keys.suite} needs ${facts.companionLength} octets of ${facts.mode === "gcm" ? "salt" : "HMAC key"}`,
    );
  }
  return facts;
}
