/** The Nonce payload, RFC 7296 section 3.9: nothing but the nonce. */

import { MalformedError } from "../../../errors.ts";

const MINIMUM_NONCE = 16; // octets
const MAXIMUM_NONCE = 256; // octets

/** Throws `MalformedError` `nonce-length`. */
export function decodeNonce(body: Uint8Array): Uint8Array {
  if (body.length < MINIMUM_NONCE || body.length > MAXIMUM_NONCE) {
    throw new MalformedError("ikev2", "nonce-length", `a nonce of ${body.length} octets`);
  }
  return body;
}

export function encodeNonce(nonce: Uint8Array): Uint8Array {
  return nonce;
}
