/** The Encrypted Fragment payload's own header, RFC 7383 section 2.5; what follows it is an Encrypted payload. */

import { ByteReader } from "../../../bytes/reader.ts";
import { ByteWriter } from "../../../bytes/writer.ts";
import { MalformedError } from "../../../errors.ts";

/** Octets. */
export const FRAGMENT_HEADER_LENGTH = 4;

export interface EncryptedFragment {
  /** Counted from 1. */
  readonly number: number;
  /** How many there are. */
  readonly total: number;
  /** Initialization vector, ciphertext and integrity check. */
  readonly sealed: Uint8Array;
}

/** Throws `MalformedError` `truncated` or `fragment-number`. */
export function decodeEncryptedFragment(body: Uint8Array): EncryptedFragment {
  const reader = new ByteReader("ikev2", body);
  const number = reader.u16();
  const total = reader.u16();
  if (number === 0 || number > total) {
    throw new MalformedError("ikev2", "fragment-number", `fragment ${number} of ${total}`);
  }
  return { number, total, sealed: reader.octets(reader.remaining) };
}

/** The header only. */
export function encodeFragmentHeader(number: number, total: number): Uint8Array {
  return new ByteWriter().u16(number).u16(total).finish();
}
