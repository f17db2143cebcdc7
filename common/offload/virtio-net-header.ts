/**
 * The header that a TUN interface with `IFF_VNET_HDR` puts before each packet: `struct virtio_net_hdr` of
 * linux/virtio_net.h, VIRTIO 1.2 section 5.1.6, ten octets, little-endian. It says which work on TCP and UDP the
 * giver left to the taker: a checksum to complete, a super-packet to cut into segments.
 *
 * A packet is named by the offset of its IPv6 header; its virtio header stands in the ten octets before. Fields
 * are read octet by octet, since those ten octets make one of the two start at an odd place.
 */

import type { PacketMemory } from "../bytes/packet-memory.ts";

/** Octets. */
export const VIRTIO_NET_HEADER = 10;

/** The checksum field holds the sum of the pseudo-header only: see `completeChecksum`. */
export const NEEDS_CHECKSUM = 1; // VIRTIO_NET_HDR_F_NEEDS_CSUM

/** VIRTIO_NET_HDR_GSO_...: what the packet has to be cut into. */
export const GsoType = {
  none: 0,
  tcpV6: 4,
  /** One UDP header before many datagrams' octets; Linux 6.2 and later. */
  udpL4: 5,
  /** A bit beside the type: the first segment carries CWR (RFC 3168 section 6.1.2). */
  ecn: 0x80,
} as const;

const FLAGS = 10;
const GSO_TYPE = 9;
const HEADER_LENGTH = 8;
const GSO_SIZE = 6;
const CHECKSUM_START = 4;
const CHECKSUM_OFFSET = 2;

export function needsChecksum(memory: PacketMemory, packetOffset: number): boolean {
  return ((memory.octets[packetOffset - FLAGS] ?? 0) & NEEDS_CHECKSUM) !== 0;
}

export function gsoType(memory: PacketMemory, packetOffset: number): number {
  return memory.octets[packetOffset - GSO_TYPE] ?? 0;
}

/** Octets of payload in every segment but the last. */
export function gsoSize(memory: PacketMemory, packetOffset: number): number {
  return u16(memory.octets, packetOffset - GSO_SIZE);
}

/** From the IPv6 header to the first octet that the checksum covers. */
export function checksumStart(memory: PacketMemory, packetOffset: number): number {
  return u16(memory.octets, packetOffset - CHECKSUM_START);
}

/** From there to the checksum field. */
export function checksumOffset(memory: PacketMemory, packetOffset: number): number {
  return u16(memory.octets, packetOffset - CHECKSUM_OFFSET);
}

/** "An ordinary packet, all its checksums made." */
export function clearVirtioNetHeader(memory: PacketMemory, packetOffset: number): void {
  const { octets } = memory;
  octets[packetOffset - 10] = 0;
  octets[packetOffset - 9] = 0;
  octets[packetOffset - 8] = 0;
  octets[packetOffset - 7] = 0;
  octets[packetOffset - 6] = 0;
  octets[packetOffset - 5] = 0;
  octets[packetOffset - 4] = 0;
  octets[packetOffset - 3] = 0;
  octets[packetOffset - 2] = 0;
  octets[packetOffset - 1] = 0;
}

/** What a super-packet's header says; all in octets. */
export interface SuperPacketHeader {
  /** One of `GsoType`. */
  readonly gsoType: number;
  /** IPv6 and upper-layer headers together. */
  readonly headerLength: number;
  readonly gsoSize: number;
  readonly checksumStart: number;
  readonly checksumOffset: number;
}

/** Writes the header of a super-packet, whose checksum always remains to be completed. */
export function writeSuperPacketHeader(
  memory: PacketMemory,
  packetOffset: number,
  header: SuperPacketHeader,
): void {
  const { octets } = memory;
  octets[packetOffset - FLAGS] = NEEDS_CHECKSUM;
  octets[packetOffset - GSO_TYPE] = header.gsoType;
  setU16(octets, packetOffset - HEADER_LENGTH, header.headerLength);
  setU16(octets, packetOffset - GSO_SIZE, header.gsoSize);
  setU16(octets, packetOffset - CHECKSUM_START, header.checksumStart);
  setU16(octets, packetOffset - CHECKSUM_OFFSET, header.checksumOffset);
}

function u16(octets: Uint8Array, offset: number): number {
  return (octets[offset] ?? 0) | ((octets[offset + 1] ?? 0) << 8);
}

function setU16(octets: Uint8Array, offset: number, value: number): void {
  octets[offset] = value;
  octets[offset + 1] = value >>> 8;
}
