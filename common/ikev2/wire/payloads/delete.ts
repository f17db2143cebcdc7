/** The Delete payload, RFC 7296 section 3.11. */

import { ByteReader } from "../../../bytes/reader.ts";
import { ByteWriter } from "../../../bytes/writer.ts";
import { MalformedError } from "../../../errors.ts";
import { ProtocolId } from "./security-association.ts";

const ESP_SPI_LENGTH = 4; // octets

/** Either the IKE SA that carries it, or Child SAs by the SPIs of the sender's inbound side. */
export interface Delete {
  readonly protocol: number;
  /** Empty for an IKE SA. */
  readonly spis: readonly number[];
}

/** Throws `MalformedError` `truncated`, `delete-spi-length` or `trailing-octets`. */
export function decodeDelete(body: Uint8Array): Delete {
  const reader = new ByteReader("ikev2", body);
  const protocol = reader.u8();
  const spiLength = reader.u8();
  const count = reader.u16();
  const wanted = protocol === ProtocolId.ike ? 0 : ESP_SPI_LENGTH;
  if (spiLength !== wanted || (wanted === 0 && count !== 0)) {
    throw new MalformedError("ikev2", "delete-spi-length", `SPIs of ${spiLength} octets`);
  }
  const spis = Array.from({ length: count }, () => reader.u32());
  if (reader.remaining > 0) {
    throw new MalformedError("ikev2", "trailing-octets", `${reader.remaining} after the SPIs`);
  }
  return { protocol, spis };
}

export function encodeDelete({ protocol, spis }: Delete): Uint8Array {
  const writer = new ByteWriter()
    .u8(protocol)
    .u8(protocol === ProtocolId.ike ? 0 : ESP_SPI_LENGTH)
    .u16(spis.length);
  for (const spi of spis) writer.u32(spi);
  return writer.finish();
}
