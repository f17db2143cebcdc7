/** The IKE header, RFC 7296 section 3.1, and the security parameter indexes that name an IKE SA. */

import { ByteReader } from "../../bytes/reader.ts";
import { ByteWriter } from "../../bytes/writer.ts";
import { MalformedError } from "../../errors.ts";

/** Octets. */
export const HEADER_LENGTH = 28;
/** Octets. */
export const IKE_SPI_LENGTH = 8;

/** Of what is looked at before a message is read; octets. */
export const HeaderOffset = { responderSpi: 8, version: 17, exchange: 18, length: 24 } as const;

/** RFC 7296 section 3.1. Values we do not know stay numbers. */
export const ExchangeType = {
  ikeSaInit: 34,
  ikeAuth: 35,
  createChildSa: 36,
  informational: 37,
} as const;

const MAJOR_VERSION = 2;
const FLAG_INITIATOR = 0x08;
const FLAG_RESPONSE = 0x20;

/** Sixteen lower-case hexadecimal digits, so that it can be compared and be a key. */
export type IkeSpi = string & { readonly __brand: "IkeSpi" };
/** What the responder's SPI is before there is one. */
export const ZERO_SPI = "0000000000000000" as IkeSpi;

export interface IkeHeader {
  readonly initiatorSpi: IkeSpi;
  readonly responderSpi: IkeSpi;
  /** Type of the first payload; 0 is none. */
  readonly nextPayload: number;
  readonly exchange: number;
  /** Sent by the original initiator of the IKE SA. */
  readonly fromInitiator: boolean;
  readonly response: boolean;
  readonly messageId: number;
  /** Octets of the whole message, header included. */
  readonly length: number;
}

/**
 * Throws `MalformedError`: `truncated`; `major-version`, which a responder may answer with
 * INVALID_MAJOR_VERSION; `message-length` when the datagram has another length than the header says.
 */
export function decodeIkeHeader(message: Uint8Array): IkeHeader {
  const reader = new ByteReader("ikev2", message);
  const initiatorSpi = formatIkeSpi(reader.octets(IKE_SPI_LENGTH));
  const responderSpi = formatIkeSpi(reader.octets(IKE_SPI_LENGTH));
  const nextPayload = reader.u8();
  const version = reader.u8();
  const exchange = reader.u8();
  const flags = reader.u8();
  const messageId = reader.u32();
  const length = reader.u32();
  // A higher minor version is understood as ours (section 2.5).
  if (version >> 4 !== MAJOR_VERSION) {
    throw new MalformedError("ikev2", "major-version", `major version ${version >> 4}`);
  }
  if (length !== message.length) {
    throw new MalformedError("ikev2", "message-length", `${length} said, ${message.length} came`);
  }
  return {
    initiatorSpi,
    responderSpi,
    nextPayload,
    exchange,
    fromInitiator: (flags & FLAG_INITIATOR) !== 0,
    response: (flags & FLAG_RESPONSE) !== 0,
    messageId,
    length,
  };
}

/**
 * The header of a message of a later major version, read as ours: what is needed to answer it with
 * INVALID_MAJOR_VERSION (section 2.5) every version has alike. Undefined for other messages. Throws `MalformedError`.
 */
export function decodeLaterIkeHeader(message: Uint8Array): IkeHeader | undefined {
  const version = message[HeaderOffset.version] ?? 0;
  if (version >> 4 <= MAJOR_VERSION) return undefined;
  const asOurs = message.slice();
  asOurs[HeaderOffset.version] = MAJOR_VERSION << 4;
  return decodeIkeHeader(asOurs);
}

export function encodeIkeHeader(header: IkeHeader): Uint8Array {
  return new ByteWriter(HEADER_LENGTH)
    .octets(ikeSpiOctets(header.initiatorSpi))
    .octets(ikeSpiOctets(header.responderSpi))
    .u8(header.nextPayload)
    .u8(MAJOR_VERSION << 4)
    .u8(header.exchange)
    .u8((header.fromInitiator ? FLAG_INITIATOR : 0) | (header.response ? FLAG_RESPONSE : 0))
    .u32(header.messageId)
    .u32(header.length)
    .finish();
}

/** Of each octet. */
const DIGITS = Array.from({ length: 256 }, (_, octet) => octet.toString(16).padStart(2, "0"));

/** Eight octets to text. */
export function formatIkeSpi(octets: Uint8Array): IkeSpi {
  if (octets.length !== IKE_SPI_LENGTH) {
    throw new MalformedError("ikev2", "spi-length", `an IKE SPI of ${octets.length} octets`);
  }
  // Each message has two.
  let text = "";
  for (const octet of octets) text += DIGITS[octet];
  return text as IkeSpi;
}

export function ikeSpiOctets(spi: IkeSpi): Uint8Array {
  const octets = new Uint8Array(IKE_SPI_LENGTH);
  for (let i = 0; i < IKE_SPI_LENGTH; i++) {
    octets[i] = (digitAt(spi, 2 * i) << 4) | digitAt(spi, 2 * i + 1);
  }
  return octets;
}

/** Of a lower-case hexadecimal text. */
function digitAt(text: string, place: number): number {
  const code = text.charCodeAt(place);
  return code >= 0x61 ? code - 0x61 + 10 : code - 0x30;
}
