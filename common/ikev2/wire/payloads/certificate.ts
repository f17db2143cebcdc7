/** The Certificate payload, RFC 7296 section 3.6. */

import { ByteReader } from "../../../bytes/reader.ts";
import { ByteWriter } from "../../../bytes/writer.ts";

/** RFC 7296 section 3.6; 15 is RFC 7670 section 3. */
export const CertificateEncoding = {
  x509Signature: 4,
  rawPublicKey: 15,
} as const;

export interface Certificate {
  readonly encoding: number;
  /** DER: an X.509 certificate, or a SubjectPublicKeyInfo. */
  readonly data: Uint8Array;
}

/** Throws `MalformedError` `truncated`. */
export function decodeCertificate(body: Uint8Array): Certificate {
  const reader = new ByteReader("ikev2", body);
  return { encoding: reader.u8(), data: reader.octets(reader.remaining) };
}

export function encodeCertificate({ encoding, data }: Certificate): Uint8Array {
  return new ByteWriter().u8(encoding).octets(data).finish();
}
