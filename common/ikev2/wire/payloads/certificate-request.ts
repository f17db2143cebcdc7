/** The Certificate Request payload, RFC 7296 section 3.7. */

import { ByteReader } from "../../../bytes/reader.ts";
import { ByteWriter } from "../../../bytes/writer.ts";
import { MalformedError } from "../../../errors.ts";

const KEY_HASH_LENGTH = 20; // octets: SHA-1 of the authority's SubjectPublicKeyInfo

export interface CertificateRequest {
  readonly encoding: number;
  /** SHA-1 of the public key of each authority that is trusted; 20 octets each, none is "any". */
  readonly authorities: readonly Uint8Array[];
}

/** Throws `MalformedError` `truncated` or `authority-length`. */
export function decodeCertificateRequest(body: Uint8Array): CertificateRequest {
  const reader = new ByteReader("ikev2", body);
  const encoding = reader.u8();
  if (reader.remaining % KEY_HASH_LENGTH !== 0) {
    throw new MalformedError("ikev2", "authority-length", `${reader.remaining} octets of hashes`);
  }
  const authorities: Uint8Array[] = [];
  while (reader.remaining > 0) authorities.push(reader.octets(KEY_HASH_LENGTH));
  return { encoding, authorities };
}

export function encodeCertificateRequest(request: CertificateRequest): Uint8Array {
  const writer = new ByteWriter().u8(request.encoding);
  for (const authority of request.authorities) writer.octets(authority);
  return writer.finish();
}
