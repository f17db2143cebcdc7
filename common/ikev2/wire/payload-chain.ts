/** The chain of generic payloads, RFC 7296 section 3.2: types, critical bits and bodies, not their meaning. */

import { ByteReader } from "../../bytes/reader.ts";
import { ByteWriter } from "../../bytes/writer.ts";
import { MalformedError } from "../../errors.ts";

/** Octets of the generic payload header. */
export const PAYLOAD_HEADER_LENGTH = 4;

/** RFC 7296 section 3.2; 53 is RFC 7383 section 2.5. */
export const PayloadType = {
  none: 0,
  securityAssociation: 33,
  keyExchange: 34,
  initiatorIdentification: 35,
  responderIdentification: 36,
  certificate: 37,
  certificateRequest: 38,
  authentication: 39,
  nonce: 40,
  notify: 41,
  delete: 42,
  vendorId: 43,
  initiatorTrafficSelectors: 44,
  responderTrafficSelectors: 45,
  encrypted: 46,
  configuration: 47,
  eap: 48,
  encryptedFragment: 53,
} as const;

const FLAG_CRITICAL = 0x80;
const MAXIMUM_PAYLOAD_LENGTH = 0xffff; // octets, generic header included
/** Our own limit on work done for strangers; real messages have at most about twenty. */
const MAXIMUM_PAYLOADS = 64;

export interface GenericPayload {
  readonly type: number;
  readonly critical: boolean;
  /** What follows the generic header; after decoding a view, not a copy. */
  readonly body: Uint8Array;
}

/** A chain that ends in an Encrypted payload names the first payload inside it as "next". */
export interface PayloadChain {
  readonly payloads: readonly GenericPayload[];
  /** Type of the first payload inside the closing Encrypted (Fragment) payload, or 0. */
  readonly inner: number;
}

/**
 * Throws `MalformedError`: `truncated`, `payload-length`, `too-many-payloads`, `trailing-octets`. Nothing may
 * follow an Encrypted or Encrypted Fragment payload (section 3.14).
 */
export function decodePayloadChain(first: number, octets: Uint8Array): PayloadChain {
  const reader = new ByteReader("ikev2", octets);
  const payloads: GenericPayload[] = [];
  let type = first;
  let inner = 0;
  while (type !== PayloadType.none) {
    if (payloads.length === MAXIMUM_PAYLOADS) {
      throw new MalformedError("ikev2", "too-many-payloads", `more than ${MAXIMUM_PAYLOADS}`);
    }
    const next = reader.u8();
    const critical = (reader.u8() & FLAG_CRITICAL) !== 0;
    const length = reader.u16();
    if (length < PAYLOAD_HEADER_LENGTH) {
      throw new MalformedError("ikev2", "payload-length", `payload ${type} of ${length} octets`);
    }
    payloads.push({ type, critical, body: reader.octets(length - PAYLOAD_HEADER_LENGTH) });
    if (isEncrypted(type)) {
      inner = next;
      break;
    }
    type = next;
  }
  if (reader.remaining > 0) {
    throw new MalformedError("ikev2", "trailing-octets", `${reader.remaining} after the last`);
  }
  return { payloads, inner };
}

/** Throws `RangeError` for a body that no payload can hold. */
export function encodePayloadChain(payloads: readonly GenericPayload[]): Uint8Array {
  const total = payloads.reduce((sum, { body }) => sum + PAYLOAD_HEADER_LENGTH + body.length, 0);
  const writer = new ByteWriter(total);
  payloads.forEach(({ critical, body }, index) => {
    const length = PAYLOAD_HEADER_LENGTH + body.length;
    if (length > MAXIMUM_PAYLOAD_LENGTH) throw new RangeError(`a payload of ${length} octets`);
    writer
      .u8(payloads[index + 1]?.type ?? PayloadType.none)
      .u8(critical ? FLAG_CRITICAL : 0)
      .u16(length)
      .octets(body);
  });
  return writer.finish();
}

/** Whether a payload of this type hides others, and so is the last. */
export function isEncrypted(type: number): boolean {
  return type === PayloadType.encrypted || type === PayloadType.encryptedFragment;
}
