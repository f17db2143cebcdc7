/** The Key Exchange payload, RFC 7296 section 3.4. */

import { ByteReader } from "../../../bytes/reader.ts";
import { ByteWriter } from "../../../bytes/writer.ts";

export interface KeyExchange {
  /** Key exchange method, "Diffie-Hellman group": a number of IANA's registry. */
  readonly group: number;
  /** The public value; its length is the group's affair. */
  readonly publicValue: Uint8Array;
}

/** Throws `MalformedError` `truncated`. */
export function decodeKeyExchange(body: Uint8Array): KeyExchange {
  const reader = new ByteReader("ikev2", body);
  const group = reader.u16();
  reader.skip(2);
  return { group, publicValue: reader.octets(reader.remaining) };
}

export function encodeKeyExchange({ group, publicValue }: KeyExchange): Uint8Array {
  return new ByteWriter().u16(group).u16(0).octets(publicValue).finish();
}
