import { describe, expect, it } from "vitest";
import {
  checksumOffset,
  checksumStart,
  clearVirtioNetHeader,
  GsoType,
  gsoSize,
  gsoType,
  needsChecksum,
  VIRTIO_NET_HEADER,
  writeSuperPacketHeader,
} from "../../../common/offload/virtio-net-header.ts";
import { patternedMemory, place, textAt } from "../../support/packets.ts";

// struct virtio_net_hdr, linux/virtio_net.h, little-endian: flags, gso_type, hdr_len, gso_size, csum_start, csum_offset
const WIRE = "01 04 4800 7805 2800 1000";
const PACKET = 16;

describe("the virtio header before a packet", () => {
  it("is read field by field", () => {
    const memory = patternedMemory(64);
    place(memory, PACKET - VIRTIO_NET_HEADER, WIRE);
    expect(needsChecksum(memory, PACKET)).toBe(true);
    expect(gsoType(memory, PACKET)).toBe(GsoType.tcpV6);
    expect(gsoSize(memory, PACKET)).toBe(1400);
    expect(checksumStart(memory, PACKET)).toBe(40);
    expect(checksumOffset(memory, PACKET)).toBe(16);
  });

  it("is written for a super-packet", () => {
    const memory = patternedMemory(64);
    writeSuperPacketHeader(memory, PACKET, {
      gsoType: GsoType.tcpV6,
      headerLength: 72,
      gsoSize: 1400,
      checksumStart: 40,
      checksumOffset: 16,
    });
    const written = textAt(memory, PACKET - VIRTIO_NET_HEADER, VIRTIO_NET_HEADER);
    expect(written).toBe(WIRE.replaceAll(" ", ""));
  });

  it("is ten zero octets for an ordinary packet, and nothing around them changes", () => {
    const memory = patternedMemory(64);
    const expected = memory.octets.slice().fill(0, PACKET - VIRTIO_NET_HEADER, PACKET);
    clearVirtioNetHeader(memory, PACKET);
    expect(memory.octets).toEqual(expected);
    expect(needsChecksum(memory, PACKET)).toBe(false);
    expect(gsoType(memory, PACKET)).toBe(GsoType.none);
  });
});
