/** IPv6 packets, RFC 8200 sections 3 and 4. */

import { ByteReader } from "../bytes/reader.ts";
import { ByteWriter } from "../bytes/writer.ts";
import { MalformedError } from "../errors.ts";
import { formatIpv6, IPV6_LENGTH, type Ipv6Address, ipv6Octets } from "./address.ts";

/** Protocol and next-header numbers (IANA "Assigned Internet Protocol Numbers"). */
export const IpProtocol = {
  hopByHopOptions: 0,
  tcp: 6,
  udp: 17,
  ipv6: 41,
  routing: 43,
  fragment: 44,
  esp: 50,
  authentication: 51,
  icmpv6: 58,
  noNextHeader: 59,
  destinationOptions: 60,
} as const;

export const IPV6_HEADER_LENGTH = 40; // octets

const VERSION = 6;
const MAXIMUM_PAYLOAD = 0xffff; // octets; jumbograms (RFC 2675) are not spoken here
const EXTENSION_UNIT = 8; // octets, RFC 8200 section 4.2
const AUTHENTICATION_UNIT = 4; // octets: the one header that counts otherwise, RFC 4302 section 2.2

/** A packet's header fields and what follows the header. */
export interface Ipv6Packet {
  /** 8 bits. */
  readonly trafficClass: number;
  /** 20 bits. */
  readonly flowLabel: number;
  readonly nextHeader: number;
  readonly hopLimit: number;
  readonly source: Ipv6Address;
  readonly destination: Ipv6Address;
  /** After decoding a view, not a copy. */
  readonly payload: Uint8Array;
}

/** What an IPv6 packet carries behind its extension headers. */
export interface UpperLayer {
  readonly protocol: number;
  readonly payload: Uint8Array;
  /** Number of extension headers passed over. */
  readonly skipped: number;
}

/**
 * Reads one packet. Octets beyond the payload length are ignored: ESP's traffic-flow padding (RFC 4303
 * section 2.7) puts them there. Throws `MalformedError` `version` or `truncated`.
 */
export function decodeIpv6(octets: Uint8Array): Ipv6Packet {
  const reader = new ByteReader("ipv6", octets);
  const first = reader.u32();
  if (first >>> 28 !== VERSION) {
    throw new MalformedError("ipv6", "version", `version is ${first >>> 28}, not ${VERSION}`);
  }
  const payloadLength = reader.u16();
  return {
    trafficClass: (first >>> 20) & 0xff,
    flowLabel: first & 0xfffff,
    nextHeader: reader.u8(),
    hopLimit: reader.u8(),
    source: formatIpv6(reader.octets(IPV6_LENGTH)),
    destination: formatIpv6(reader.octets(IPV6_LENGTH)),
    payload: reader.octets(payloadLength),
  };
}

/** Throws `RangeError` for a payload of more than 65,535 octets. */
export function encodeIpv6(packet: Ipv6Packet): Uint8Array {
  if (packet.payload.length > MAXIMUM_PAYLOAD) throw new RangeError("the IPv6 payload is too long");
  return new ByteWriter()
    .u32(((VERSION << 28) | (packet.trafficClass << 20) | packet.flowLabel) >>> 0)
    .u16(packet.payload.length)
    .u8(packet.nextHeader)
    .u8(packet.hopLimit)
    .octets(ipv6Octets(packet.source))
    .octets(ipv6Octets(packet.destination))
    .octets(packet.payload)
    .finish();
}

/**
 * Passes over the extension headers that leave the packet readable, RFC 8200 section 4. Stops at a fragment
 * header, whose payload is only a piece, and at anything that is not an extension header; the header it
 * stopped at is the `protocol`. Throws `MalformedError` `truncated`.
 */
export function skipExtensionHeaders(nextHeader: number, payload: Uint8Array): UpperLayer {
  const reader = new ByteReader("ipv6", payload);
  let protocol = nextHeader;
  let skipped = 0;
  while (isSkippable(protocol)) {
    const following = reader.u8();
    const length = reader.u8();
    // Both counts leave out the first 8 octets, so every turn of this loop consumes some.
    const size =
      protocol === IpProtocol.authentication
        ? (length + 2) * AUTHENTICATION_UNIT
        : (length + 1) * EXTENSION_UNIT;
    reader.skip(size - 2);
    protocol = following;
    skipped += 1;
  }
  return { protocol, payload: reader.octets(reader.remaining), skipped };
}

function isSkippable(protocol: number): boolean {
  return (
    protocol === IpProtocol.hopByHopOptions ||
    protocol === IpProtocol.routing ||
    protocol === IpProtocol.authentication ||
    protocol === IpProtocol.destinationOptions
  );
}
