/** ICMPv6 messages, RFC 4443 section 2.1, and their checksum, section 2.3. */

import { addToSum, finishSum, pseudoHeaderSum } from "../bytes/checksum.ts";
import { ByteReader } from "../bytes/reader.ts";
import { ByteWriter } from "../bytes/writer.ts";
import { type Ipv6Address, ipv6Octets } from "./address.ts";
import { IpProtocol } from "./ipv6.ts";

/** Message types we speak or refuse by name: RFC 4443 section 2.1, RFC 4861 section 4. */
export const Icmpv6Type = {
  packetTooBig: 2,
  echoRequest: 128,
  echoReply: 129,
  routerSolicitation: 133,
  routerAdvertisement: 134,
  neighborSolicitation: 135,
  neighborAdvertisement: 136,
  redirect: 137,
} as const;

const CHECKSUM_OFFSET = 2; // octets, RFC 4443 section 2.1

/** A message taken apart no further than its common header. */
export interface Icmpv6Message {
  readonly type: number;
  readonly code: number;
  /** What follows the checksum; after decoding a view, not a copy. */
  readonly body: Uint8Array;
}

/** Reads the common header. The checksum is a step of its own: `isIcmpv6ChecksumRight`. */
export function decodeIcmpv6(octets: Uint8Array): Icmpv6Message {
  const reader = new ByteReader("icmpv6", octets);
  const type = reader.u8();
  const code = reader.u8();
  reader.skip(2);
  return { type, code, body: reader.octets(reader.remaining) };
}

/** The message with a checksum field of zero, as `withIcmpv6Checksum` and the kernel want it. */
export function encodeIcmpv6(message: Icmpv6Message): Uint8Array {
  const writer = new ByteWriter().u8(message.type).u8(message.code).zeros(2);
  return writer.octets(message.body).finish();
}

/** Whether the checksum of a whole ICMPv6 message is right for these addresses. */
export function isIcmpv6ChecksumRight(
  source: Ipv6Address,
  destination: Ipv6Address,
  icmp: Uint8Array,
): boolean {
  return checksumOf(source, destination, icmp) === 0;
}

/** A copy of the message, its checksum field filled in; what the field held before does not matter. */
export function withIcmpv6Checksum(
  source: Ipv6Address,
  destination: Ipv6Address,
  icmp: Uint8Array,
): Uint8Array {
  const message = icmp.slice();
  const view = new DataView(message.buffer);
  view.setUint16(CHECKSUM_OFFSET, 0);
  view.setUint16(CHECKSUM_OFFSET, checksumOf(source, destination, message));
  return message;
}

function checksumOf(source: Ipv6Address, destination: Ipv6Address, icmp: Uint8Array): number {
  const pseudoHeader = pseudoHeaderSum({
    source: ipv6Octets(source),
    destination: ipv6Octets(destination),
    length: icmp.length,
    nextHeader: IpProtocol.icmpv6,
  });
  return finishSum(addToSum(pseudoHeader, icmp));
}
