/**
 * The sockets that carry ESP: IPv4 protocol 50, and UDP port 4500 (RFC 3948) with the kernel's segmentation
 * and aggregation of datagrams (UDP_SEGMENT, UDP_GRO).
 *
 * Datagrams leave with a UDP checksum although RFC 3948 section 2.1 prefers zero: UDP_SEGMENT needs it, the
 * hardware or the kernel's copy loop makes it, and some middleboxes drop datagrams without one.
 */

import { formatIpv4, type Ipv4Address, ipv4Octets } from "../../ip/address.ts";
import { type Encapsulation, type Endpoint, UDP_ENCAPSULATION_PORT } from "../../tunnel/tunnel.ts";
import { DatagramBuffer } from "./datagram-socket.ts";
import { type EspFilterPlan, type IkeShares, protocolFilter, udpFilter } from "./esp-filter.ts";
import { openIpv4Socket, SOCKADDR_IN_LENGTH } from "./ipv4-socket.ts";
import { checked, Errno, errno, libcCalls, PERMISSION_HINTS } from "./libc.ts";
import { MessageVector, SegmentedMessage } from "./message-vector.ts";
import { PROGRAM_LENGTH } from "./packet-filter.ts";
import { Slab } from "./slab.ts";
import {
  AF_INET,
  IPPROTO_UDP,
  MSG_DONTWAIT,
  SO_ATTACH_FILTER,
  SOL_SOCKET,
} from "./socket-numbers.ts";
import { setInteger } from "./socket-options.ts";

const IPPROTO_ESP = 50;
const SOL_IP = 0;
const IP_MTU_DISCOVER = 10;
const IP_PMTUDISC_DONT = 0;
const IP_PMTUDISC_DO = 2;
const UDP_GRO = 104;
const BUFFER_LENGTH = 7 << 20; // octets; a scheduling pause of 30 ms at 2 Gbit/s

const UDP_SEGMENT = 103;
/** The kernel takes at most 64 segments (128 since Linux 6.9), and 65,507 octets of UDP. */
const MAX_SEGMENTS = 60;
const MAX_SEGMENTED_LENGTH = 65_000;
const AGGREGATES = 8;
const AGGREGATE_LENGTH = 65_536;
const IPV4_HEADER_MIN = 20;
/** Four zero octets where ESP has its SPI: RFC 3948 section 2.2. */
const NON_ESP_MARKER = 0;
/** Octets behind a received packet that decryption and checksums may use. */
const RECEIVE_MARGIN = 64;

/** Packets of one tunnel on their way out, in slots of equal stride. */
export interface OutboundBatch {
  readonly memory: Slab;
  /** Offset of the first slot's ESP packet, and the distance to the next one's. */
  readonly first: number;
  readonly stride: number;
  /** How many slots there are. */
  readonly slots: number;
}

/** Where ESP goes, as the words of a `struct sockaddr_in` in memory, so that a change is two assignments. */
export interface Destination {
  familyAndPort: number;
  address: number;
}

/** What came of a batch. */
export interface SendOutcome {
  failed: number;
  /** A packet did not fit the path and went out in fragments: the tunnel's MTU is too large. */
  exceededPathMtu: boolean;
}

/** Called for each ESP packet: where it lies in `EspSocket.received`, and its length in octets. */
export type PacketListener = (offset: number, length: number) => void;

/** A non-blocking socket that sends and receives ESP in batches. */
export class EspSocket {
  readonly fd: number;
  readonly encapsulation: Encapsulation;
  /** Received packets, valid during `receive` only. */
  readonly received: Slab;
  /** Outer source of the packet that `receive` is handing over, as it lies in memory. */
  sourceFamilyAndPort = 0;
  sourceAddress = 0;
  /** How often there was nothing left to read. */
  drains = 0;
  /** Hears of what is behind a non-ESP marker: its octets, marker included, and whence they came. */
  onNotEsp: ((datagram: Uint8Array, source: Endpoint) => void) | undefined;
  /** Hears of each keepalive, which says nothing: of too many. */
  onKeepalive: (() => void) | undefined;
  /** Asked before that, where the datagram lies in `received`: false, and nobody hears of it. */
  admitNotEsp: ((offset: number, length: number) => boolean) | undefined;

  readonly #batch: OutboundBatch;
  readonly #sending: MessageVector;
  readonly #receiving: MessageVector;
  readonly #receiveStride: number;
  readonly #datagram = new DatagramBuffer();
  readonly #segmented = new SegmentedMessage(IPPROTO_UDP, UDP_SEGMENT);
  readonly #outcome: SendOutcome = { failed: 0, exceededPathMtu: false };
  #ikeShares: IkeShares = { unknown: 1, rest: 1 };
  #plan: EspFilterPlan = { guarded: [], strays: undefined };

  /**
   * @param local our address, or undefined to let the route to the peer choose it at each packet
   * @param batch where `send` finds its packets
   */
  constructor(encapsulation: Encapsulation, local: Ipv4Address | undefined, batch: OutboundBatch) {
    this.encapsulation = encapsulation;
    this.fd = openSocket(encapsulation, local);
    if (encapsulation === "udp") this.#attachFilter();
    this.#batch = batch;
    this.#sending = new MessageVector(batch.slots, (index) => ({
      address: batch.memory.address(batch.first + index * batch.stride, 0),
      length: 0,
    }));
    // UDP comes aggregated, 64 KiB at a time; protocol 50 packet by packet.
    const messages = encapsulation === "udp" ? AGGREGATES : batch.slots;
    const capacity = encapsulation === "udp" ? AGGREGATE_LENGTH : batch.stride - RECEIVE_MARGIN;
    this.#receiveStride = capacity + RECEIVE_MARGIN;
    this.received = new Slab(messages * this.#receiveStride);
    this.#receiving = new MessageVector(messages, (index) => ({
      address: this.received.address(index * this.#receiveStride, capacity),
      length: capacity,
    }));
  }

  /**
   * Sends the packets in slots 0 to `count` - 1, whose lengths `lengths` holds. What the socket cannot take now
   * is dropped and counted, as a full link would. The outcome is overwritten by the next call.
   */
  send(count: number, lengths: Int32Array, destination: Readonly<Destination>): SendOutcome {
    const outcome = this.#outcome;
    outcome.failed = 0;
    outcome.exceededPathMtu = false;
    for (let index = 0; index < count; index++) this.#sending.setLength(index, lengths[index] ?? 0);
    this.#sending.setDestination(count, destination.familyAndPort, destination.address);
    if (this.encapsulation === "udp" && count > 1) this.#sendSegmented(count, destination);
    else this.#sendEach(0, count);
    return outcome;
  }

  /** Receives what is there, one batch; returns how many messages, 0 if none. */
  receive(listener: PacketListener): number {
    const udp = this.encapsulation === "udp";
    const vector = this.#receiving;
    vector.prepareToReceive(udp);
    const count = libcCalls.recvmmsg(this.fd, vector.address(0), vector.count, MSG_DONTWAIT, 0);
    for (let index = 0; index < count; index++) {
      this.sourceFamilyAndPort = vector.sourceFamilyAndPort(index);
      this.sourceAddress = vector.sourceAddress(index);
      const offset = index * this.#receiveStride;
      const length = vector.receivedLength(index);
      if (!udp) this.#unwrapIpv4(offset, length, listener);
      else
        this.#split(offset, length, vector.receivedControl(index, IPPROTO_UDP, UDP_GRO), listener);
    }
    if (count < vector.count) this.drains += 1;
    return Math.max(count, 0);
  }

  /** RFC 3948 section 2.3: one octet 0xff keeps a NAT's mapping alive. The peer ignores it. */
  sendKeepalive(destination: Readonly<Destination>): void {
    const { memory, first } = this.#batch;
    memory.octets[first] = 0xff;
    this.#sending.setLength(0, 1);
    this.#sending.setDestination(1, destination.familyAndPort, destination.address);
    libcCalls.sendmmsg(this.fd, this.#sending.address(0), 1, 0);
  }

  /** Sends one datagram that is no ESP; routers may fragment it. What cannot go is dropped. */
  sendDatagram(datagram: Uint8Array, remote: Endpoint): void {
    const isSent = this.#datagram.send(this.fd, datagram, remote);
    if (isSent || errno() !== Errno.messageTooLong) return;
    setFragmentation(this.fd, "allowed");
    this.#datagram.send(this.fd, datagram, remote);
    setFragmentation(this.fd, "forbidden");
  }

  /** Has the kernel drop the rest of what comes as IKE in UDP. */
  shareIke(shares: IkeShares): void {
    this.#ikeShares = shares;
    this.#attachFilter();
  }

  /** Has the kernel drop a part of what bears some SPIs. */
  guard(plan: EspFilterPlan): void {
    this.#plan = plan;
    this.#attachFilter();
  }

  close(): void {
    libcCalls.close(this.fd);
  }

  /** Where it is refused we see what comes ourselves, which is a matter of speed only. */
  #attachFilter(): void {
    const program =
      this.encapsulation === "udp"
        ? udpFilter(this.#ikeShares, this.#plan)
        : protocolFilter(this.#plan);
    const address = program.address(0, PROGRAM_LENGTH);
    libcCalls.setsockopt(this.fd, SOL_SOCKET, SO_ATTACH_FILTER, address, PROGRAM_LENGTH);
  }

  #handOver(offset: number, length: number): void {
    if (this.onNotEsp === undefined || this.admitNotEsp?.(offset, length) === false) return;
    const source = endpointOf(this.sourceFamilyAndPort, this.sourceAddress);
    this.onNotEsp(this.received.octets.slice(offset, offset + length), source);
  }

  /** A raw socket hands over the IPv4 header too. */
  #unwrapIpv4(offset: number, length: number, listener: PacketListener): void {
    const header = ((this.received.octets[offset] ?? 0) & 0x0f) << 2;
    if (length < IPV4_HEADER_MIN || header < IPV4_HEADER_MIN || header >= length) return;
    listener(offset + header, length - header);
  }

  /** Takes an aggregate apart again and sorts out what is no ESP. */
  #split(
    offset: number,
    length: number,
    segment: number | undefined,
    listener: PacketListener,
  ): void {
    const { octets, view } = this.received;
    const step = segment === undefined || segment <= 0 ? length : segment;
    for (let from = 0; from < length; from += step) {
      const size = Math.min(step, length - from);
      const at = offset + from;
      if (size === 1 && octets[at] === 0xff) this.onKeepalive?.();
      else if (size >= 4 && view.getUint32(at) === NON_ESP_MARKER) this.#handOver(at, size);
      else listener(at, size);
    }
  }

  /** One sendmsg for each run of packets of equal size; only the last of a run may be shorter. */
  #sendSegmented(count: number, destination: Readonly<Destination>): void {
    const vector = this.#sending;
    for (let first = 0; first < count; ) {
      const segment = vector.length(first);
      let next = first;
      let total = 0;
      while (next < count && next - first < MAX_SEGMENTS) {
        const length = vector.length(next);
        if (length > segment || total + length > MAX_SEGMENTED_LENGTH) break;
        total += length;
        next += 1;
        if (length < segment) break;
      }
      if (next - first === 1 || !this.#sendRun(first, next, segment, destination)) {
        this.#sendEach(first, next);
      }
      first = next;
    }
  }

  #sendRun(first: number, next: number, segment: number, to: Readonly<Destination>): boolean {
    const message = this.#segmented.prepare({
      iovecs: this.#sending.iovecAddress(first),
      count: next - first,
      segment,
      familyAndPort: to.familyAndPort,
      address: to.address,
    });
    if (libcCalls.sendmsg(this.fd, message, 0) >= 0) return true;
    const error = errno();
    // Too large for the path's MTU, or a kernel without UDP_SEGMENT: one by one says which.
    if (error === Errno.invalid || error === Errno.messageTooLong || error === Errno.io)
      return false;
    this.#outcome.failed += next - first;
    return true;
  }

  #sendEach(first: number, next: number): void {
    const vector = this.#sending;
    for (let index = first; index < next; ) {
      const sent = libcCalls.sendmmsg(this.fd, vector.address(index), next - index, 0);
      if (sent > 0) {
        index += sent;
        continue;
      }
      if (errno() !== Errno.messageTooLong || !this.#sendFragmented(index))
        this.#outcome.failed += 1;
      index += 1;
    }
  }

  /** The path is narrower than the tunnel's MTU says: rather fragments than a black hole. */
  #sendFragmented(index: number): boolean {
    this.#outcome.exceededPathMtu = true;
    setFragmentation(this.fd, "allowed");
    const sent = libcCalls.sendmmsg(this.fd, this.#sending.address(index), 1, 0);
    setFragmentation(this.fd, "forbidden");
    return sent === 1;
  }
}

/** Writes `address` and `port` into `destination`. */
export function setDestination(destination: Destination, address: Ipv4Address, port: number): void {
  const octets = new Uint8Array(SOCKADDR_IN_LENGTH);
  const view = new DataView(octets.buffer);
  view.setUint16(0, AF_INET, true);
  view.setUint16(2, port);
  octets.set(ipv4Octets(address), 4);
  destination.familyAndPort = view.getUint32(0, true);
  destination.address = view.getUint32(4, true);
}

/** A `sockaddr_in`'s first words as an endpoint. */
export function endpointOf(familyAndPort: number, address: number): Endpoint {
  const octets = new Uint8Array(8);
  const view = new DataView(octets.buffer);
  view.setUint32(0, familyAndPort, true);
  view.setUint32(4, address, true);
  return { address: formatIpv4(octets.subarray(4)), port: view.getUint16(2) };
}

/** Outer packets are sent with "don't fragment". */
function openSocket(encapsulation: Encapsulation, local: Ipv4Address | undefined): number {
  const udp = encapsulation === "udp";
  const operation = udp
    ? `open UDP port ${UDP_ENCAPSULATION_PORT}${local === undefined ? "" : ` on ${local}`}`
    : `open IPv4 protocol ${IPPROTO_ESP} (ESP)${local === undefined ? "" : ` on ${local}`}`;
  const hints = {
    ...PERMISSION_HINTS,
    EADDRINUSE:
      "another program has it: hometun running already, or an IPsec daemon such as strongSwan",
    EADDRNOTAVAIL: "this machine does not have that address",
  };
  return openIpv4Socket({
    kind: udp ? "udp" : { protocol: IPPROTO_ESP },
    ...(udp ? { port: UDP_ENCAPSULATION_PORT } : {}),
    address: local,
    receiveBuffer: BUFFER_LENGTH,
    sendBuffer: BUFFER_LENGTH,
    prepare: (fd) => {
      setFragmentation(fd, "forbidden");
      // Aggregation is a matter of speed only; a kernel without it (before 5.0) is served all the same.
      if (udp) setInteger(fd, IPPROTO_UDP, UDP_GRO, 1);
    },
    operation,
    hints,
  });
}

/** Whether routers (and this machine) may fragment what the socket sends from now on. */
function setFragmentation(fd: number, fragmentation: "forbidden" | "allowed"): void {
  const value = fragmentation === "forbidden" ? IP_PMTUDISC_DO : IP_PMTUDISC_DONT;
  checked(setInteger(fd, SOL_IP, IP_MTU_DISCOVER, value), "set path MTU discovery");
}
