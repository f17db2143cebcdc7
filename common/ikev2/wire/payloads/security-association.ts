/** The Security Association payload: proposals and their transforms, RFC 7296 section 3.3. */

import { ByteReader } from "../../../bytes/reader.ts";
import { ByteWriter } from "../../../bytes/writer.ts";
import { MalformedError } from "../../../errors.ts";

/** RFC 7296 section 3.3.1. */
export const ProtocolId = { none: 0, ike: 1, ah: 2, esp: 3 } as const;

/** RFC 7296 section 3.3.2. */
export const TransformType = {
  encryption: 1,
  pseudorandomFunction: 2,
  integrity: 3,
  keyExchangeMethod: 4,
  extendedSequenceNumbers: 5,
} as const;

const PROPOSAL_HEADER_LENGTH = 8; // octets, without SPI
const TRANSFORM_HEADER_LENGTH = 8; // octets, without attributes
const LAST_SUBSTRUCTURE = 0;
const MORE_PROPOSALS = 2;
const MORE_TRANSFORMS = 3;
const ATTRIBUTE_FORMAT_TV = 0x8000;
const ATTRIBUTE_KEY_LENGTH = 14; // RFC 7296 section 3.3.5
/** Our own limits on work done for strangers: proposals of a payload, attributes of a transform. */
const MAXIMUM_PROPOSALS = 64;
const MAXIMUM_ATTRIBUTES = 8;

export interface Transform {
  readonly type: number;
  readonly id: number;
  /** Bits. */
  readonly keyLength?: number;
  /** It has attributes that we do not know: it must not be chosen (section 3.3.6). */
  readonly hasUnknownAttributes?: true;
}

export interface Proposal {
  /** Counted from 1. */
  readonly number: number;
  readonly protocol: number;
  /** 8 octets for IKE (none in IKE_SA_INIT), 4 for ESP. */
  readonly spi: Uint8Array;
  readonly transforms: readonly Transform[];
}

/**
 * Throws `MalformedError`: `truncated`, `proposal-length`, `proposal-more`, `transform-length`,
 * `transform-count`, `too-many-proposals`, `too-many-attributes`.
 */
export function decodeSecurityAssociation(body: Uint8Array): Proposal[] {
  const reader = new ByteReader("ikev2", body);
  const proposals: Proposal[] = [];
  let more = true;
  while (more) {
    if (proposals.length === MAXIMUM_PROPOSALS) throw malformed("too-many-proposals");
    more = moreFollow(reader.u8(), MORE_PROPOSALS, "proposal-more");
    reader.skip(1);
    const length = reader.u16();
    if (length < PROPOSAL_HEADER_LENGTH) throw malformed("proposal-length");
    proposals.push(decodeProposal(reader.octets(length - 4)));
  }
  if (reader.remaining > 0) throw malformed("proposal-more");
  return proposals;
}

export function encodeSecurityAssociation(proposals: readonly Proposal[]): Uint8Array {
  const writer = new ByteWriter();
  proposals.forEach((proposal, index) => {
    const transforms = encodeTransforms(proposal.transforms);
    writer
      .u8(index === proposals.length - 1 ? LAST_SUBSTRUCTURE : MORE_PROPOSALS)
      .u8(0)
      .u16(PROPOSAL_HEADER_LENGTH + proposal.spi.length + transforms.length)
      .u8(proposal.number)
      .u8(proposal.protocol)
      .u8(proposal.spi.length)
      .u8(proposal.transforms.length)
      .octets(proposal.spi)
      .octets(transforms);
  });
  return writer.finish();
}

/** `octets` begin at the proposal's number. */
function decodeProposal(octets: Uint8Array): Proposal {
  const reader = new ByteReader("ikev2", octets);
  const number = reader.u8();
  const protocol = reader.u8();
  const spiLength = reader.u8();
  const count = reader.u8();
  const spi = reader.octets(spiLength);
  const transforms: Transform[] = [];
  for (let index = 0; index < count; index++) {
    const more = moreFollow(reader.u8(), MORE_TRANSFORMS, "transform-count");
    if (more !== index < count - 1) throw malformed("transform-count");
    reader.skip(1);
    const length = reader.u16();
    if (length < TRANSFORM_HEADER_LENGTH) throw malformed("transform-length");
    transforms.push(decodeTransform(reader.octets(length - 4)));
  }
  if (reader.remaining > 0) throw malformed("transform-count");
  return { number, protocol, spi, transforms };
}

/** `octets` begin at the transform's type. */
function decodeTransform(octets: Uint8Array): Transform {
  const reader = new ByteReader("ikev2", octets);
  const type = reader.u8();
  reader.skip(1);
  const id = reader.u16();
  let keyLength: number | undefined;
  let unknown = false;
  for (let count = 0; reader.remaining > 0; count++) {
    if (count === MAXIMUM_ATTRIBUTES) throw malformed("too-many-attributes");
    const head = reader.u16();
    const isShort = (head & ATTRIBUTE_FORMAT_TV) !== 0;
    const value = reader.u16();
    if (isShort && (head & ~ATTRIBUTE_FORMAT_TV) === ATTRIBUTE_KEY_LENGTH) keyLength = value;
    else unknown = true;
    if (!isShort) reader.skip(value);
  }
  return {
    type,
    id,
    ...(keyLength === undefined ? {} : { keyLength }),
    ...(unknown ? { hasUnknownAttributes: true } : {}),
  };
}

function encodeTransforms(transforms: readonly Transform[]): Uint8Array {
  const writer = new ByteWriter();
  transforms.forEach(({ type, id, keyLength }, index) => {
    writer
      .u8(index === transforms.length - 1 ? LAST_SUBSTRUCTURE : MORE_TRANSFORMS)
      .u8(0)
      .u16(TRANSFORM_HEADER_LENGTH + (keyLength === undefined ? 0 : 4))
      .u8(type)
      .u8(0)
      .u16(id);
    if (keyLength !== undefined) {
      writer.u16(ATTRIBUTE_FORMAT_TV | ATTRIBUTE_KEY_LENGTH).u16(keyLength);
    }
  });
  return writer.finish();
}

function moreFollow(value: number, more: number, code: string): boolean {
  if (value !== more && value !== LAST_SUBSTRUCTURE) throw malformed(code);
  return value === more;
}

function malformed(code: string): MalformedError {
  return new MalformedError("ikev2", code, `security association payload: ${code}`);
}
