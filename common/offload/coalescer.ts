/**
 * Joins TCP segments that came out of the tunnel one after the other into super-packets for the TUN interface, so
 * that the kernel's stack is walked once for many: what GRO (`tcp_gro_receive`) does for a network card.
 *
 * Only what the kernel can take apart again without loss is joined: segments of one flow, in sequence, that differ
 * in nothing but sequence number, payload and PSH, all of one size but the last. Each one's checksum is verified
 * first, since the super-packet gets a new one and would hide the damage. Everything else passes untouched, after
 * what waits of its flow: flows may overtake each other, packets of a flow never do.
 *
 * Nothing is copied: a super-packet is the list of its pieces, for writev(2).
 */

import type { PacketMemory } from "../bytes/packet-memory.ts";
import { IPV6_HEADER_LENGTH, IpProtocol } from "../ip/ipv6.ts";
import { networkWord, sumPseudoHeader, sumWords } from "./checksum-words.ts";
import { clearVirtioNetHeader, GsoType, writeSuperPacketHeader } from "./virtio-net-header.ts";

/** Segments in one super-packet; keeps one writev(2) well below IOV_MAX. */
export const MAX_PIECES = 64;
const MAX_SUPER_PACKET = 65_535; // octets
/** Flows that wait at once. Segments come in bursts of one flow, so a few are enough; a search reads them all. */
const MAX_FLOWS = 8;

// Offsets from the IPv6 header; TCP follows it directly (RFC 8200 section 3, RFC 9293 section 3.1).
const PAYLOAD_LENGTH = 4;
const NEXT_HEADER = 6;
const SOURCE_ADDRESS = 8;
const TCP_PORTS = 40;
const TCP_SEQUENCE = 44;
const TCP_ACKNOWLEDGMENT = 48;
const TCP_DATA_OFFSET = 52;
const TCP_FLAGS = 53;
const TCP_CHECKSUM = 56;
const TCP_URGENT = 58;
const TCP_OPTIONS = 60;
const ACK = 0x10;
const PSH = 0x08;
const ADDRESS_WORDS = 8; // both addresses, in 32-bit words
/** The word at TCP_DATA_OFFSET, as it lies in memory, without the PSH flag. */
const ALL_BUT_PSH = ~(PSH << 8);

/** Where the packets go. It must not call back into the coalescer. */
export interface CoalescerSink {
  /** One packet; its virtio header, in the octets before `offset`, is written. */
  packet(offset: number, length: number): void;
  /**
   * `count` pieces of one super-packet. Piece 0 begins with the IPv6 header, its virtio header written before it;
   * the others are payload only. The arrays are used again after the call.
   */
  merged(count: number, offsets: Int32Array, lengths: Int32Array): void;
}

/** Segments of one flow that wait for their successor. Free while `count` is 0. */
class WaitingFlow {
  count = 0;
  /** Where the first one's IPv6 header stands. */
  head = 0;
  headerLength = 0;
  /** Payload of every segment. */
  size = 0;
  /** Payload of all segments. */
  total = 0;
  /** Sequence number of the successor, as a signed number so that it stays a small integer. */
  next = 0;
  readonly offsets = new Int32Array(MAX_PIECES);
  readonly lengths = new Int32Array(MAX_PIECES);
}

/** Packets go in by `add`; those that wait come out by `flush`, before their memory is used again. */
export class Coalescer {
  readonly #memory: PacketMemory;
  readonly #sink: CoalescerSink;
  readonly #flows: readonly WaitingFlow[] = Array.from(
    { length: MAX_FLOWS },
    () => new WaitingFlow(),
  );
  /** Whose turn it is to make room for a new flow. */
  #evict = 0;
  /** One object for all super-packets, so that none is allocated. */
  readonly #header = {
    gsoType: GsoType.tcpV6,
    headerLength: 0,
    gsoSize: 0,
    checksumStart: TCP_PORTS,
    checksumOffset: TCP_CHECKSUM - TCP_PORTS,
  };

  constructor(memory: PacketMemory, sink: CoalescerSink) {
    this.#memory = memory;
    this.#sink = sink;
  }

  /**
   * The inner packet of `length` octets at `offset`, with room for a virtio header before it. It must stay there
   * until it is handed to the sink. Packets at an offset that is no multiple of four are never joined.
   */
  add(offset: number, length: number): void {
    const { octets } = this.#memory;
    const isWhole =
      (offset & 3) === 0 &&
      length >= IPV6_HEADER_LENGTH &&
      u16(octets, offset + PAYLOAD_LENGTH) + IPV6_HEADER_LENGTH === length;
    const nextHeader = isWhole ? octets[offset + NEXT_HEADER] : undefined;
    if (nextHeader !== IpProtocol.tcp || length < TCP_OPTIONS) {
      // Behind an extension header there may be anything, even a segment of a flow that waits.
      if (nextHeader !== IpProtocol.udp && nextHeader !== IpProtocol.icmpv6) this.flush();
      this.#passSingle(offset, length);
      return;
    }
    const flow = this.#flowOf(offset);
    const headerLength = TCP_PORTS + (((octets[offset + TCP_DATA_OFFSET] ?? 0) >> 4) << 2);
    const size = length - headerLength;
    if (!this.#isJoinable(offset, length, headerLength)) {
      if (flow !== undefined) this.#flushFlow(flow);
      this.#passSingle(offset, length);
      return;
    }
    const isPushed = ((octets[offset + TCP_FLAGS] ?? 0) & PSH) !== 0;
    if (flow !== undefined) {
      if (this.#continues(flow, offset, headerLength, size)) {
        this.#append(flow, offset + headerLength, size);
        if (isPushed) octets[flow.head + TCP_FLAGS] = ACK | PSH;
        if (isPushed || size < flow.size || flow.count === MAX_PIECES) this.#flushFlow(flow);
        return;
      }
      this.#flushFlow(flow);
    }
    if (isPushed) {
      this.#passSingle(offset, length);
      return;
    }
    this.#start(flow ?? this.#freeFlow(), offset, headerLength, size);
  }

  /** Hands over everything that waits. */
  flush(): void {
    const flows = this.#flows;
    for (let i = 0; i < MAX_FLOWS; i += 1) {
      const flow = flows[i];
      if (flow !== undefined && flow.count > 0) this.#flushFlow(flow);
    }
  }

  /** Whether the TCP segment is plain data with a right checksum. */
  #isJoinable(offset: number, length: number, headerLength: number): boolean {
    const { octets } = this.#memory;
    const isData =
      headerLength >= TCP_OPTIONS &&
      headerLength < length &&
      ((octets[offset + TCP_FLAGS] ?? 0) & ~PSH) === ACK &&
      // The reserved bits, one of them now AccECN's (RFC 9768).
      ((octets[offset + TCP_DATA_OFFSET] ?? 0) & 0x0f) === 0 &&
      (octets[offset] ?? 0) >> 4 === 6;
    if (!isData) return false;
    const upperLength = length - IPV6_HEADER_LENGTH;
    const pseudoHeader = sumPseudoHeader(this.#memory, offset, IpProtocol.tcp, upperLength);
    return sumWords(this.#memory, offset + TCP_PORTS, upperLength, pseudoHeader) === 0xffff;
  }

  /** The flow that waits with the same addresses and ports. */
  #flowOf(offset: number): WaitingFlow | undefined {
    const { words32 } = this.#memory;
    const flows = this.#flows;
    const ports = words32[(offset + TCP_PORTS) >> 2];
    const addresses = (offset + SOURCE_ADDRESS) >> 2;
    for (let f = 0; f < MAX_FLOWS; f += 1) {
      const flow = flows[f];
      if (flow === undefined || flow.count === 0) continue;
      if (words32[(flow.head + TCP_PORTS) >> 2] !== ports) continue;
      if (this.#areEqual((flow.head + SOURCE_ADDRESS) >> 2, addresses, ADDRESS_WORDS)) return flow;
    }
    return undefined;
  }

  /** Whether a joinable segment of the flow is the next piece of what waits. */
  #continues(flow: WaitingFlow, offset: number, headerLength: number, size: number): boolean {
    const { octets, words16, words32 } = this.#memory;
    const { head } = flow;
    const tcpWord = words32[(offset + TCP_DATA_OFFSET) >> 2] ?? 0;
    const headTcpWord = words32[(head + TCP_DATA_OFFSET) >> 2] ?? 0;
    return (
      i32(octets, offset + TCP_SEQUENCE) === flow.next &&
      size <= flow.size &&
      headerLength === flow.headerLength &&
      headerLength + flow.total + size <= MAX_SUPER_PACKET &&
      // Version, traffic class (so the ECN mark too) and flow label.
      words32[offset >> 2] === words32[head >> 2] &&
      // Next header and hop limit.
      words16[(offset + NEXT_HEADER) >> 1] === words16[(head + NEXT_HEADER) >> 1] &&
      words32[(offset + TCP_ACKNOWLEDGMENT) >> 2] === words32[(head + TCP_ACKNOWLEDGMENT) >> 2] &&
      // Data offset, flags and window.
      ((tcpWord ^ headTcpWord) & ALL_BUT_PSH) === 0 &&
      words16[(offset + TCP_URGENT) >> 1] === words16[(head + TCP_URGENT) >> 1] &&
      this.#areEqual(
        (offset + TCP_OPTIONS) >> 2,
        (head + TCP_OPTIONS) >> 2,
        (headerLength - TCP_OPTIONS) >> 2,
      )
    );
  }

  #areEqual(a: number, b: number, count: number): boolean {
    const { words32 } = this.#memory;
    for (let i = 0; i < count; i += 1) if (words32[a + i] !== words32[b + i]) return false;
    return true;
  }

  #freeFlow(): WaitingFlow {
    const flows = this.#flows;
    for (let i = 0; i < MAX_FLOWS; i += 1) {
      const flow = flows[i];
      if (flow !== undefined && flow.count === 0) return flow;
    }
    this.#evict = (this.#evict + 1) % MAX_FLOWS;
    const flow = flows[this.#evict] as WaitingFlow;
    this.#flushFlow(flow);
    return flow;
  }

  #start(flow: WaitingFlow, offset: number, headerLength: number, size: number): void {
    flow.count = 1;
    flow.head = offset;
    flow.headerLength = headerLength;
    flow.size = size;
    flow.total = size;
    flow.next = (i32(this.#memory.octets, offset + TCP_SEQUENCE) + size) | 0;
    flow.offsets[0] = offset;
    flow.lengths[0] = headerLength + size;
  }

  #append(flow: WaitingFlow, offset: number, size: number): void {
    flow.offsets[flow.count] = offset;
    flow.lengths[flow.count] = size;
    flow.count += 1;
    flow.total += size;
    flow.next = (flow.next + size) | 0;
  }

  #flushFlow(flow: WaitingFlow): void {
    const { count, head, headerLength } = flow;
    flow.count = 0;
    if (count === 1) {
      this.#passSingle(head, headerLength + flow.total);
      return;
    }
    const memory = this.#memory;
    const header = this.#header;
    header.headerLength = headerLength;
    header.gsoSize = flow.size;
    writeSuperPacketHeader(memory, head, header);
    const upperLength = headerLength - IPV6_HEADER_LENGTH + flow.total;
    memory.words16[(head + PAYLOAD_LENGTH) >> 1] = networkWord(upperLength);
    memory.words16[(head + TCP_CHECKSUM) >> 1] = sumPseudoHeader(
      memory,
      head,
      IpProtocol.tcp,
      upperLength,
    );
    this.#sink.merged(count, flow.offsets, flow.lengths);
  }

  #passSingle(offset: number, length: number): void {
    clearVirtioNetHeader(this.#memory, offset);
    this.#sink.packet(offset, length);
  }
}

function u16(octets: Uint8Array, offset: number): number {
  return ((octets[offset] ?? 0) << 8) | (octets[offset + 1] ?? 0);
}

function i32(octets: Uint8Array, offset: number): number {
  return (u16(octets, offset) << 16) | u16(octets, offset + 2);
}
