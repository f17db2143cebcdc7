/** IPv4 packets (RFC 791 section 3.1) and what kind of address an IPv4 address is (RFC 6890). */

import { internetChecksum } from "../bytes/checksum.ts";
import { ByteReader } from "../bytes/reader.ts";
import { ByteWriter } from "../bytes/writer.ts";
import { MalformedError } from "../errors.ts";
import { formatIpv4, IPV4_LENGTH, type Ipv4Address, ipv4Octets } from "./address.ts";

/** Octets of a header without options, which is what we send. */
export const IPV4_HEADER_LENGTH = 20;

const VERSION = 4;
const WORD = 4; // octets; the header length is counted in these
const DONT_FRAGMENT = 0x4000;
const MORE_FRAGMENTS = 0x2000;
const FRAGMENT_OFFSET = 0x1fff;
const CHECKSUM_OFFSET = 10; // octets
const MAXIMUM_PACKET = 0xffff; // octets

/** A packet's header fields, options apart, and what follows the header. */
export interface Ipv4Packet {
  /** Differentiated services and ECN, 8 bits. */
  readonly trafficClass: number;
  readonly identification: number;
  readonly dontFragment: boolean;
  readonly moreFragments: boolean;
  /** In units of 8 octets. */
  readonly fragmentOffset: number;
  readonly timeToLive: number;
  readonly protocol: number;
  readonly source: Ipv4Address;
  readonly destination: Ipv4Address;
  /** After decoding a view, not a copy. */
  readonly payload: Uint8Array;
}

/** The kinds of address a host on some network may have as its own. */
export type UnicastScope =
  | "public"
  /** 10/8, 172.16/12 and 192.168/16, RFC 1918. */
  | "private"
  /** 100.64/10, between a carrier's NAT and its customers, RFC 6598. */
  | "shared"
  /** 169.254/16, RFC 3927. */
  | "link-local";

export type Ipv4Kind =
  | UnicastScope
  /** 0/8, the unspecified address included. */
  | "this-network"
  /** 127/8 */
  | "loopback"
  /** 224/4 */
  | "multicast"
  /** 240/4, the limited broadcast address included. */
  | "reserved";

/**
 * Documentation ranges (RFC 5737) are public here: they are routed like any other in laboratories, and
 * nowhere else.
 */
export function classifyIpv4(address: Ipv4Address): Ipv4Kind {
  const [a = 0, b = 0] = ipv4Octets(address);
  if (a === 0) return "this-network";
  if (a === 127) return "loopback";
  if (a >= 240) return "reserved";
  if (a >= 224) return "multicast";
  if (a === 10 || (a === 172 && (b & 0xf0) === 16) || (a === 192 && b === 168)) return "private";
  if (a === 100 && (b & 0xc0) === 64) return "shared";
  if (a === 169 && b === 254) return "link-local";
  return "public";
}

/**
 * Reads one packet; options are passed over, octets beyond the total length ignored. The header's checksum is
 * a step of its own: `isIpv4ChecksumRight`. Throws `MalformedError` `version`, `header-length`,
 * `total-length` or `truncated`.
 */
export function decodeIpv4(octets: Uint8Array): Ipv4Packet {
  const reader = new ByteReader("ipv4", octets);
  const first = reader.u8();
  if (first >> 4 !== VERSION) throw malformed("version", `version is ${first >> 4}`);
  const headerLength = (first & 0xf) * WORD;
  if (headerLength < IPV4_HEADER_LENGTH) {
    throw malformed("header-length", `header of ${headerLength} octets`);
  }
  const trafficClass = reader.u8();
  const totalLength = reader.u16();
  if (totalLength < headerLength) {
    throw malformed("total-length", `total of ${totalLength} with a header of ${headerLength}`);
  }
  const identification = reader.u16();
  const fragmentation = reader.u16();
  const timeToLive = reader.u8();
  const protocol = reader.u8();
  reader.skip(2);
  const source = formatIpv4(reader.octets(IPV4_LENGTH));
  const destination = formatIpv4(reader.octets(IPV4_LENGTH));
  reader.skip(headerLength - IPV4_HEADER_LENGTH);
  return {
    trafficClass,
    identification,
    dontFragment: (fragmentation & DONT_FRAGMENT) !== 0,
    moreFragments: (fragmentation & MORE_FRAGMENTS) !== 0,
    fragmentOffset: fragmentation & FRAGMENT_OFFSET,
    timeToLive,
    protocol,
    source,
    destination,
    payload: reader.octets(totalLength - headerLength),
  };
}

/** The packet, without options, its header checksum filled in. Throws `RangeError` when it is too long. */
export function encodeIpv4(packet: Ipv4Packet): Uint8Array {
  const totalLength = IPV4_HEADER_LENGTH + packet.payload.length;
  if (totalLength > MAXIMUM_PACKET) throw new RangeError("the IPv4 payload is too long");
  const flags =
    (packet.dontFragment ? DONT_FRAGMENT : 0) | (packet.moreFragments ? MORE_FRAGMENTS : 0);
  const octets = new ByteWriter()
    .u8((VERSION << 4) | (IPV4_HEADER_LENGTH / WORD))
    .u8(packet.trafficClass)
    .u16(totalLength)
    .u16(packet.identification)
    .u16(flags | (packet.fragmentOffset & FRAGMENT_OFFSET))
    .u8(packet.timeToLive)
    .u8(packet.protocol)
    .zeros(2)
    .octets(ipv4Octets(packet.source))
    .octets(ipv4Octets(packet.destination))
    .octets(packet.payload)
    .finish();
  const checksum = internetChecksum(octets.subarray(0, IPV4_HEADER_LENGTH));
  new DataView(octets.buffer).setUint16(CHECKSUM_OFFSET, checksum);
  return octets;
}

/** Whether the header checksum of a packet that `decodeIpv4` can read is right. */
export function isIpv4ChecksumRight(octets: Uint8Array): boolean {
  const headerLength = ((octets[0] ?? 0) & 0xf) * WORD;
  return internetChecksum(octets.subarray(0, headerLength)) === 0;
}

function malformed(code: string, detail: string): MalformedError {
  return new MalformedError("ipv4", code, detail);
}
