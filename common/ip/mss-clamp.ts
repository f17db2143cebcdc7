/**
 * Lowers the maximum segment size that a TCP handshake announces to what fits a tunnel, so that connections need
 * no path MTU discovery, which firewalls so often break. The option: RFC 9293 section 3.7.1; its value counts a
 * packet without IPv6 header, extension headers and TCP header.
 */

import type { PacketMemory } from "../bytes/packet-memory.ts";
import { IPV6_HEADER_LENGTH, IpProtocol } from "./ipv6.ts";

const NEXT_HEADER = 6; // offset in the IPv6 header
const TCP_MINIMUM = 20; // octets
const TCP_DATA_OFFSET = 12;
const TCP_FLAGS = 13;
const TCP_CHECKSUM = 16;
const SYN = 0x02;
const OPTION_END = 0;
const OPTION_NOP = 1;
const OPTION_MSS = 2;
const OPTION_MSS_LENGTH = 4; // octets

/**
 * Lowers the MSS option of a SYN, or SYN and ACK, whose TCP header directly follows its IPv6 header to `mtu` minus
 * both headers; all else is left alone, and a smaller value too. The checksum must be complete already: it is
 * updated, not made anew (RFC 1624), so a wrong one stays wrong.
 */
export function clampMss(memory: PacketMemory, offset: number, length: number, mtu: number): void {
  const { octets } = memory;
  const tcp = offset + IPV6_HEADER_LENGTH;
  if (length < IPV6_HEADER_LENGTH + TCP_MINIMUM || octets[offset + NEXT_HEADER] !== IpProtocol.tcp)
    return;
  if (((octets[tcp + TCP_FLAGS] ?? 0) & SYN) === 0 || (octets[offset] ?? 0) >> 4 !== 6) return;

  const headerLength = ((octets[tcp + TCP_DATA_OFFSET] ?? 0) >> 4) << 2;
  const end = Math.min(tcp + headerLength, offset + length);
  const largest = mtu - IPV6_HEADER_LENGTH - TCP_MINIMUM;
  let at = tcp + TCP_MINIMUM;
  while (at < end) {
    const kind = octets[at];
    if (kind === OPTION_END) return;
    if (kind === OPTION_NOP) {
      at += 1;
      continue;
    }
    if (at + 2 > end) return;
    const optionLength = octets[at + 1] ?? 0;
    // An option is at least its kind and length: less would never end this loop.
    if (optionLength < 2 || at + optionLength > end) return;
    if (kind === OPTION_MSS && optionLength === OPTION_MSS_LENGTH) {
      lowerTo(octets, { value: at + 2, tcp, largest });
    }
    at += optionLength;
  }
}

function lowerTo(octets: Uint8Array, where: { value: number; tcp: number; largest: number }): void {
  const { value, tcp, largest } = where;
  const before = u16(octets, value);
  if (before <= largest) return;
  setU16(octets, value, largest);
  // RFC 1624 equation 3, HC' = ~(~HC + ~m + m'). Where the value stands across two of the checksum's words, its
  // octets count the other way round, and so does the difference.
  const isTurned = ((value - tcp) & 1) !== 0;
  const removed = isTurned ? turned(before) : before;
  const added = isTurned ? turned(largest) : largest;
  const checksum = u16(octets, tcp + TCP_CHECKSUM);
  let sum = (~checksum & 0xffff) + (~removed & 0xffff) + added;
  sum = (sum & 0xffff) + (sum >>> 16);
  sum = (sum & 0xffff) + (sum >>> 16);
  setU16(octets, tcp + TCP_CHECKSUM, ~sum & 0xffff);
}

function turned(value: number): number {
  return ((value & 0xff) << 8) | (value >>> 8);
}

function u16(octets: Uint8Array, offset: number): number {
  return ((octets[offset] ?? 0) << 8) | (octets[offset + 1] ?? 0);
}

function setU16(octets: Uint8Array, offset: number, value: number): void {
  octets[offset] = value >>> 8;
  octets[offset + 1] = value;
}
