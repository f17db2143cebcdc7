/** The Identification payloads IDi and IDr, RFC 7296 section 3.5. */

import { ByteReader } from "../../../bytes/reader.ts";
import { ByteWriter } from "../../../bytes/writer.ts";

/** RFC 7296 section 3.5. */
export const IdentificationType = {
  ipv4Address: 1,
  fullyQualifiedDomainName: 2,
  emailAddress: 3,
  ipv6Address: 5,
  distinguishedName: 9,
  keyId: 11,
} as const;

const RESERVED = 3; // octets

export interface Identification {
  readonly type: number;
  readonly data: Uint8Array;
}

/** Throws `MalformedError` `truncated`. */
export function decodeIdentification(body: Uint8Array): Identification {
  const reader = new ByteReader("ikev2", body);
  const type = reader.u8();
  reader.skip(RESERVED);
  return { type, data: reader.octets(reader.remaining) };
}

export function encodeIdentification({ type, data }: Identification): Uint8Array {
  return new ByteWriter().u8(type).zeros(RESERVED).octets(data).finish();
}
