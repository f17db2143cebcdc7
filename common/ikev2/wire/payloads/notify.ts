/** The Notify payload, RFC 7296 section 3.10. */

import { ByteReader } from "../../../bytes/reader.ts";
import { ByteWriter } from "../../../bytes/writer.ts";

const HEADER_LENGTH = 4; // octets, without the generic header
/** Types below this are errors, RFC 7296 section 3.10.1. */
const FIRST_STATUS_TYPE = 16384;

/** RFC 7296 section 3.10.1, and where another is named. */
export const NotifyType = {
  unsupportedCriticalPayload: 1,
  invalidIkeSpi: 4,
  invalidMajorVersion: 5,
  invalidSyntax: 7,
  invalidMessageId: 9,
  invalidSpi: 11,
  noProposalChosen: 14,
  invalidKePayload: 17,
  authenticationFailed: 24,
  singlePairRequired: 34,
  noAdditionalSas: 35,
  internalAddressFailure: 36,
  failedCpRequired: 37,
  tsUnacceptable: 38,
  invalidSelectors: 39,
  temporaryFailure: 43,
  childSaNotFound: 44,
  initialContact: 16384,
  setWindowSize: 16385,
  natDetectionSourceIp: 16388,
  natDetectionDestinationIp: 16389,
  cookie: 16390,
  useTransportMode: 16391,
  rekeySa: 16393,
  espTfcPaddingNotSupported: 16394,
  /** RFC 4478 section 3: seconds after which the peer must authenticate again. */
  authLifetime: 16403,
  /** RFC 5739 section 5.3. */
  linkId: 16414,
  /** RFC 7383 section 2.3. */
  ikev2FragmentationSupported: 16430,
  /** RFC 7427 section 4. */
  signatureHashAlgorithms: 16431,
} as const;

export interface Notify {
  /** 0 when there is no SPI. */
  readonly protocol: number;
  readonly spi: Uint8Array;
  readonly type: number;
  readonly data: Uint8Array;
}

/** Throws `MalformedError` `truncated`. */
export function decodeNotify(body: Uint8Array): Notify {
  const reader = new ByteReader("ikev2", body);
  const protocol = reader.u8();
  const spiLength = reader.u8();
  const type = reader.u16();
  const spi = reader.octets(spiLength);
  return { protocol, spi, type, data: reader.octets(reader.remaining) };
}

export function encodeNotify({ protocol, spi, type, data }: Notify): Uint8Array {
  return new ByteWriter(HEADER_LENGTH + spi.length + data.length)
    .u8(protocol)
    .u8(spi.length)
    .u16(type)
    .octets(spi)
    .octets(data)
    .finish();
}

export function isErrorType(type: number): boolean {
  return type < FIRST_STATUS_TYPE;
}
