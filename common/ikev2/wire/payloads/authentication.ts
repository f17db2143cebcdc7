/** The Authentication payload, RFC 7296 section 3.8. */

import { ByteReader } from "../../../bytes/reader.ts";
import { ByteWriter } from "../../../bytes/writer.ts";

/** RFC 7296 section 3.8; 14 is RFC 7427 section 3. */
export const AuthenticationMethod = {
  rsaSignature: 1,
  sharedKey: 2,
  ecdsaP256: 9,
  digitalSignature: 14,
} as const;

const RESERVED = 3; // octets

export interface Authentication {
  readonly method: number;
  readonly data: Uint8Array;
}

/** Throws `MalformedError` `truncated`. */
export function decodeAuthentication(body: Uint8Array): Authentication {
  const reader = new ByteReader("ikev2", body);
  const method = reader.u8();
  reader.skip(RESERVED);
  return { method, data: reader.octets(reader.remaining) };
}

export function encodeAuthentication({ method, data }: Authentication): Uint8Array {
  return new ByteWriter().u8(method).zeros(RESERVED).octets(data).finish();
}
