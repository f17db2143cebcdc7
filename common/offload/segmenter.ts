/**
 * Cuts the super-packets that the kernel hands to a TUN interface into segments that fit the tunnel: what
 * `tcp_gso_segment` and `__udp_gso_segment` do in the kernel, for the types of `GsoType` over IPv6.
 *
 * Each segment gets the super-packet's headers, extension headers included, with its own payload length, sequence
 * number and checksum. What ends something (FIN, PSH) is said by the last one only, what answers something once
 * (CWR, RFC 3168 section 6.1.2) by the first only.
 */

import type { PacketMemory } from "../bytes/packet-memory.ts";
import { IPV6_HEADER_LENGTH, IpProtocol } from "../ip/ipv6.ts";
import { checksumOf, networkWord, sumWords } from "./checksum-words.ts";
import {
  checksumOffset,
  checksumStart,
  GsoType,
  gsoSize,
  gsoType,
  needsChecksum,
  VIRTIO_NET_HEADER,
} from "./virtio-net-header.ts";

const PAYLOAD_LENGTH = 4; // offset in the IPv6 header
const NEXT_HEADER = 6; // offset in the IPv6 header
const EXTENSION_UNIT = 8; // octets, RFC 8200 section 4.2

// Offsets in the TCP header, RFC 9293 section 3.1.
const TCP_SEQUENCE = 4;
const TCP_DATA_OFFSET = 12;
const TCP_FLAGS = 13;
const TCP_CHECKSUM = 16;
const TCP_MINIMUM = 20; // octets
const FIN = 0x01;
const SYN = 0x02;
const RST = 0x04;
const PSH = 0x08;
const CWR = 0x80;

// Offsets in the UDP header, RFC 768.
const UDP_LENGTH = 4;
const UDP_CHECKSUM = 6;
const UDP_HEADER = 8; // octets

/** One super-packet at a time: `begin` it, then `fill` slots until that returns 0. */
export class Segmenter {
  readonly #memory: PacketMemory;
  /** Where the super-packet's IPv6 header stands. */
  #source = 0;
  #isTcp = true;
  /** Octets before the TCP or UDP header. */
  #upperLayer = 0;
  /** Octets of all headers. */
  #headerLength = 0;
  #size = 0;
  /** Payload not yet given out: from here to `#end`. */
  #next = 0;
  #end = 0;
  #isFirst = true;
  /** Sequence number of the octet at `#next`, as a signed number so that it stays a small integer. */
  #sequence = 0;
  #flags = 0;
  /** Sum of the pseudo-header without its length. */
  #pseudoHeader = 0;

  constructor(memory: PacketMemory) {
    this.#memory = memory;
  }

  /** Octets of the largest segment of the super-packet that was begun, its headers included. */
  get segmentLength(): number {
    return this.#headerLength + this.#size;
  }

  /**
   * Takes up the super-packet of `length` octets whose IPv6 header is at `offset`, a multiple of four, behind its
   * virtio header. It must stay there until `fill` has returned 0. False when it is malformed or of a kind that was
   * not offered to the kernel; then there is nothing to fill.
   */
  begin(offset: number, length: number): boolean {
    const memory = this.#memory;
    const { octets } = memory;
    this.#next = 0;
    this.#end = 0;
    const placed =
      (offset & 3) === 0 && offset >= VIRTIO_NET_HEADER && offset + length <= octets.length;
    if (!placed || length < IPV6_HEADER_LENGTH || (octets[offset] ?? 0) >> 4 !== 6) return false;

    const payloadLength = u16(octets, offset + PAYLOAD_LENGTH);
    if (IPV6_HEADER_LENGTH + payloadLength !== length) return false;

    const type = gsoType(memory, offset);
    const isTcp = (type & ~GsoType.ecn) === GsoType.tcpV6;
    if ((!isTcp && type !== GsoType.udpL4) || !needsChecksum(memory, offset)) return false;

    const start = checksumStart(memory, offset);
    const field = isTcp ? TCP_CHECKSUM : UDP_CHECKSUM;
    const protocol = isTcp ? IpProtocol.tcp : IpProtocol.udp;
    if (checksumOffset(memory, offset) !== field) return false;
    if (start + (isTcp ? TCP_MINIMUM : UDP_HEADER) > length) return false;
    if (!this.#leadsTo(offset, start, protocol)) return false;

    const upper = offset + start;
    const flags = isTcp ? (octets[upper + TCP_FLAGS] ?? 0) : 0;
    const upperHeader = isTcp ? ((octets[upper + TCP_DATA_OFFSET] ?? 0) >> 4) << 2 : UDP_HEADER;
    // The virtio header's hdr_len is a hint: for a forwarded packet it may span the whole first segment. The
    // upper layer's own length counts.
    const headerLength = start + upperHeader;
    const size = gsoSize(memory, offset);
    // A segment that opens or resets a connection cannot be sent several times over.
    if ((isTcp && upperHeader < TCP_MINIMUM) || (flags & (SYN | RST)) !== 0) return false;
    if (headerLength >= length || size === 0) return false;

    this.#source = offset;
    this.#isTcp = isTcp;
    this.#upperLayer = start;
    this.#headerLength = headerLength;
    this.#size = size;
    this.#next = offset + headerLength;
    this.#end = offset + length;
    this.#isFirst = true;
    this.#flags = flags;
    this.#sequence = isTcp ? i32(octets, upper + TCP_SEQUENCE) : 0;
    // The field holds the pseudo-header's sum, with the final destination if there is a routing header, and with
    // the super-packet's length, which is taken out again: in one's complement by adding its complement.
    const superLength = networkWord(length - start);
    this.#pseudoHeader = (memory.words16[(upper + field) >> 1] ?? 0) + (~superLength & 0xffff);
    return true;
  }

  /**
   * Writes the next segments, that of slot i at `first + i * stride`, both multiples of four, and its length into
   * `lengths[i]`. Returns how many there are, 0 when all of the super-packet was given out. A segment never reaches
   * beyond `stride` octets; a super-packet whose segments would is given up.
   */
  fill(first: number, stride: number, slots: number, lengths: Int32Array): number {
    if (((first | stride) & 3) !== 0 || first < 0 || this.segmentLength > stride) return 0;
    const memory = this.#memory;
    const { octets, words32 } = memory;
    const headerLength = this.#headerLength;
    const headerWords = headerLength >> 2;
    const source = this.#source >> 2;
    const limit = Math.min(slots, lengths.length);
    let count = 0;
    let slot = first;
    while (count < limit && this.#next < this.#end) {
      const size = Math.min(this.#size, this.#end - this.#next);
      const length = headerLength + size;
      if (slot + length > octets.length) break;
      const target = slot >> 2;
      for (let i = 0; i < headerWords; i += 1) words32[target + i] = words32[source + i] ?? 0;
      octets.copyWithin(slot + headerLength, this.#next, this.#next + size);
      this.#next += size;
      this.#finish(slot, length, size);
      lengths[count] = length;
      count += 1;
      slot += stride;
    }
    return count;
  }

  /** Makes a copy of the headers, payload behind them, into those of its own segment. */
  #finish(slot: number, length: number, size: number): void {
    const memory = this.#memory;
    const { octets, words16 } = memory;
    const upper = slot + this.#upperLayer;
    const upperLength = length - this.#upperLayer;
    words16[(slot + PAYLOAD_LENGTH) >> 1] = networkWord(length - IPV6_HEADER_LENGTH);
    if (this.#isTcp) {
      let flags = this.#flags;
      if (this.#next < this.#end) flags &= ~(FIN | PSH);
      if (!this.#isFirst) flags &= ~CWR;
      octets[upper + TCP_FLAGS] = flags;
      words16[(upper + TCP_SEQUENCE) >> 1] = networkWord(this.#sequence >>> 16);
      words16[(upper + TCP_SEQUENCE + 2) >> 1] = networkWord(this.#sequence & 0xffff);
      this.#sequence = (this.#sequence + size) | 0;
      this.#isFirst = false;
    } else {
      words16[(upper + UDP_LENGTH) >> 1] = networkWord(upperLength);
    }
    const field = (upper + (this.#isTcp ? TCP_CHECKSUM : UDP_CHECKSUM)) >> 1;
    words16[field] = 0;
    const sum = sumWords(memory, upper, upperLength, this.#pseudoHeader + networkWord(upperLength));
    words16[field] = checksumOf(sum);
  }

  /** Whether the chain of extension headers ends, `start` octets into the packet, in `protocol`. */
  #leadsTo(offset: number, start: number, protocol: number): boolean {
    const { octets } = this.#memory;
    let at = IPV6_HEADER_LENGTH;
    let nextHeader = octets[offset + NEXT_HEADER] ?? 0;
    // A fragment or an authenticated packet cannot be cut, so only the plain ones are passed over.
    while (
      at < start &&
      (nextHeader === IpProtocol.hopByHopOptions ||
        nextHeader === IpProtocol.routing ||
        nextHeader === IpProtocol.destinationOptions)
    ) {
      nextHeader = octets[offset + at] ?? 0;
      at += EXTENSION_UNIT * ((octets[offset + at + 1] ?? 0) + 1);
    }
    return at === start && nextHeader === protocol;
  }
}

function u16(octets: Uint8Array, offset: number): number {
  return ((octets[offset] ?? 0) << 8) | (octets[offset + 1] ?? 0);
}

function i32(octets: Uint8Array, offset: number): number {
  return (u16(octets, offset) << 16) | u16(octets, offset + 2);
}
