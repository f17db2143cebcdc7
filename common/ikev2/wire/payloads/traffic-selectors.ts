/** The Traffic Selector payloads TSi and TSr, RFC 7296 section 3.13. */

import { ByteReader } from "../../../bytes/reader.ts";
import { ByteWriter } from "../../../bytes/writer.ts";
import { MalformedError } from "../../../errors.ts";

const TS_IPV4_ADDR_RANGE = 7;
const TS_IPV6_ADDR_RANGE = 8;
const RESERVED = 3; // octets
const SELECTOR_HEADER_LENGTH = 4; // octets: type, protocol, length
const PORTS_LENGTH = 4; // octets
const IPV4_LENGTH = 4; // octets
const IPV6_LENGTH = 16; // octets

/** A range of addresses of one family, both ends included. */
export interface TrafficSelector {
  /** IP protocol; 0 is any. */
  readonly protocol: number;
  readonly startPort: number;
  readonly endPort: number;
  /** 4 octets of IPv4 or 16 of IPv6, as `end`. */
  readonly start: Uint8Array;
  readonly end: Uint8Array;
}

/**
 * Selectors of types we do not know are left out (section 3.13.1). Throws `MalformedError` `truncated`,
 * `selector-length` or `trailing-octets`.
 */
export function decodeTrafficSelectors(body: Uint8Array): TrafficSelector[] {
  const reader = new ByteReader("ikev2", body);
  const count = reader.u8();
  reader.skip(RESERVED);
  const selectors: TrafficSelector[] = [];
  for (let index = 0; index < count; index++) {
    const type = reader.u8();
    const protocol = reader.u8();
    const length = reader.u16();
    if (length < SELECTOR_HEADER_LENGTH) throw badLength(type, length);
    const rest = new ByteReader("ikev2", reader.octets(length - SELECTOR_HEADER_LENGTH));
    const octets = addressLength(type);
    if (octets === undefined) continue;
    if (rest.remaining !== PORTS_LENGTH + 2 * octets) throw badLength(type, length);
    selectors.push({
      protocol,
      startPort: rest.u16(),
      endPort: rest.u16(),
      start: rest.octets(octets),
      end: rest.octets(octets),
    });
  }
  if (reader.remaining > 0) {
    throw new MalformedError("ikev2", "trailing-octets", "after the last traffic selector");
  }
  return selectors;
}

export function encodeTrafficSelectors(selectors: readonly TrafficSelector[]): Uint8Array {
  const writer = new ByteWriter().u8(selectors.length).zeros(RESERVED);
  for (const { protocol, startPort, endPort, start, end } of selectors) {
    writer
      .u8(start.length === IPV6_LENGTH ? TS_IPV6_ADDR_RANGE : TS_IPV4_ADDR_RANGE)
      .u8(protocol)
      .u16(SELECTOR_HEADER_LENGTH + PORTS_LENGTH + start.length + end.length)
      .u16(startPort)
      .u16(endPort)
      .octets(start)
      .octets(end);
  }
  return writer.finish();
}

function addressLength(type: number): number | undefined {
  if (type === TS_IPV6_ADDR_RANGE) return IPV6_LENGTH;
  return type === TS_IPV4_ADDR_RANGE ? IPV4_LENGTH : undefined;
}

function badLength(type: number, length: number): MalformedError {
  return new MalformedError("ikev2", "selector-length", `selector ${type} of ${length} octets`);
}
