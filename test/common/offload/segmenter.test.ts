import fc from "fast-check";
import { describe, expect, it, test } from "vitest";
import { heapPacketMemory, type PacketMemory } from "../../../common/bytes/packet-memory.ts";
import { Segmenter } from "../../../common/offload/segmenter.ts";
import { writeSuperPacketHeader } from "../../../common/offload/virtio-net-header.ts";
import { changedRange, patternedMemory, place, textAt } from "../../support/packets.ts";
import vectors from "../../vectors/offload.json" with { type: "json" };

const SUPER_PACKET = 16;
const FIRST = 8192;
const STRIDE = 1536;
const SLOTS = 8;
const MEMORY = FIRST + SLOTS * STRIDE;

type Vector = (typeof vectors.segmentation)[number];

function laidOut(vector: Pick<Vector, "header" | "packet">): {
  memory: PacketMemory;
  length: number;
} {
  const memory = patternedMemory(MEMORY);
  const length = place(memory, SUPER_PACKET, vector.packet);
  writeSuperPacketHeader(memory, SUPER_PACKET, vector.header);
  memory.octets[SUPER_PACKET - 10] = vector.header.flags;
  return { memory, length };
}

/** All segments, taken `slots` at a time. */
function segmentsOf(memory: PacketMemory, segmenter: Segmenter, slots: number): string[] {
  const lengths = new Int32Array(slots);
  const segments: string[] = [];
  for (;;) {
    const count = segmenter.fill(FIRST, STRIDE, slots, lengths);
    if (count === 0) return segments;
    for (let i = 0; i < count; i += 1) {
      segments.push(textAt(memory, FIRST + i * STRIDE, lengths[i] ?? 0));
    }
  }
}

const named = (name: string): Vector => {
  const vector = vectors.segmentation.find((one) => one.name === name);
  if (vector === undefined) throw new Error(`no vector ${name}`);
  return vector;
};
const ORDINARY = named("one full segment and a short one");

describe("a super-packet", () => {
  test.each(vectors.segmentation)("becomes scapy's segments: $name", (vector) => {
    const { memory, length } = laidOut(vector);
    const segmenter = new Segmenter(memory);
    expect(segmenter.begin(SUPER_PACKET, length)).toBe(true);
    expect(segmentsOf(memory, segmenter, SLOTS)).toEqual(vector.segments);
  });

  test.each(vectors.segmentation)("may be taken one segment at a time: $name", (vector) => {
    const { memory, length } = laidOut(vector);
    const segmenter = new Segmenter(memory);
    segmenter.begin(SUPER_PACKET, length);
    expect(segmentsOf(memory, segmenter, 1)).toEqual(vector.segments);
  });

  it("tells the length of its largest segment before any is written", () => {
    const { memory, length } = laidOut(named("segments of the usual size with time stamps"));
    const segmenter = new Segmenter(memory);
    segmenter.begin(SUPER_PACKET, length);
    expect(segmenter.segmentLength).toBe(40 + 32 + 1366);
  });

  it("is given up when another begins", () => {
    const { memory, length } = laidOut(ORDINARY);
    const segmenter = new Segmenter(memory);
    segmenter.begin(SUPER_PACKET, length);
    segmenter.fill(FIRST, STRIDE, 1, new Int32Array(1));
    segmenter.begin(SUPER_PACKET, length);
    expect(segmentsOf(memory, segmenter, SLOTS)).toEqual(ORDINARY.segments);
  });

  it("is not changed by being cut", () => {
    const { memory, length } = laidOut(ORDINARY);
    const before = memory.octets.slice(0, FIRST);
    const segmenter = new Segmenter(memory);
    segmenter.begin(SUPER_PACKET, length);
    segmentsOf(memory, segmenter, SLOTS);
    expect(memory.octets.slice(0, FIRST)).toEqual(before);
  });
});

describe("what is refused leaves nothing to fill", () => {
  const header = ORDINARY.header;
  const octetChanged = (at: number, value: number) => {
    const packet = Buffer.from(ORDINARY.packet, "hex");
    packet[at] = value;
    return packet.toString("hex");
  };
  test.each([
    { name: "an ordinary packet", header: { ...header, gsoType: 0 } },
    { name: "TCP over IPv4", header: { ...header, gsoType: 1 } },
    { name: "UDP fragmentation, the old kind", header: { ...header, gsoType: 3 } },
    { name: "UDP's type with TCP's packet", header: { ...header, gsoType: 5, checksumOffset: 6 } },
    { name: "the ECN bit beside UDP", header: { ...header, gsoType: 0x85 } },
    { name: "an unknown type", header: { ...header, gsoType: 6 } },
    { name: "a checksum that is said to be complete", header: { ...header, flags: 0 } },
    { name: "a segment size of zero", header: { ...header, gsoSize: 0 } },
    { name: "a checksum elsewhere in TCP", header: { ...header, checksumOffset: 6 } },
    { name: "TCP said to be inside the IPv6 header", header: { ...header, checksumStart: 32 } },
    { name: "TCP said to be where it is not", header: { ...header, checksumStart: 48 } },
    { name: "TCP said to be behind the end", header: { ...header, checksumStart: 65_535 } },
    { name: "version 4", packet: octetChanged(0, 0x45) },
    { name: "a payload length too large", packet: octetChanged(5, 0xff) },
    { name: "a payload length too small", packet: octetChanged(5, 0x14) },
    { name: "another next header", packet: octetChanged(6, 58) },
    { name: "a fragment header", packet: octetChanged(6, 44) },
    { name: "an extension header that is none", packet: octetChanged(6, 60) },
    { name: "a TCP header too short", packet: octetChanged(52, 0x40) },
    { name: "headers without a payload", packet: ORDINARY.packet.slice(0, 120) },
    { name: "a SYN", packet: octetChanged(53, 0x12) },
    { name: "a RST", packet: octetChanged(53, 0x14) },
    { name: "less than an IPv6 header", packet: ORDINARY.packet.slice(0, 78) },
    { name: "nothing", packet: "" },
  ])("$name", (changed) => {
    const { memory, length } = laidOut({ ...ORDINARY, ...changed });
    const before = memory.octets.slice();
    const segmenter = new Segmenter(memory);
    expect(segmenter.begin(SUPER_PACKET, length)).toBe(false);
    expect(segmenter.fill(FIRST, STRIDE, SLOTS, new Int32Array(SLOTS))).toBe(0);
    expect(memory.octets).toEqual(before);
  });

  it("a super-packet that is not all in memory, or has no room for its virtio header", () => {
    const { memory } = laidOut(ORDINARY);
    const segmenter = new Segmenter(memory);
    expect(segmenter.begin(MEMORY - 100, 210)).toBe(false);
    expect(segmenter.begin(8, 210)).toBe(false);
    expect(segmenter.begin(18, 210)).toBe(false);
  });

  it("segments larger than a slot", () => {
    const { memory, length } = laidOut(ORDINARY);
    const before = memory.octets.slice();
    const segmenter = new Segmenter(memory);
    expect(segmenter.begin(SUPER_PACKET, length)).toBe(true);
    expect(segmenter.fill(FIRST, 156, SLOTS, new Int32Array(SLOTS))).toBe(0);
    expect(memory.octets).toEqual(before);
  });
});

describe("any octets", () => {
  const anyHeader = fc.record({
    flags: fc.constantFrom(1, 1, 0, 255),
    gsoType: fc.constantFrom(4, 0x84, 5, 0, 1, 3, 255),
    headerLength: fc.nat(65_535),
    gsoSize: fc.oneof(fc.nat(200), fc.nat(65_535)),
    checksumStart: fc.oneof(fc.constantFrom(40, 48, 56), fc.nat(300)),
    checksumOffset: fc.constantFrom(16, 6, 0, 65_535),
  });
  /** A packet that gets past the first checks more often than chance would have it. */
  const anyPacket = fc
    .tuple(
      fc.uint8Array({ minLength: 40, maxLength: 400 }),
      fc.constantFrom(6, 17, 0, 43, 60, 44, 58),
      fc.constantFrom(6, 17, 60),
      fc.constantFrom(0x50, 0x80, 0xf0, 0x00),
    )
    .map(([octets, nextHeader, following, dataOffset]) => {
      octets[0] = 0x60;
      octets[4] = (octets.length - 40) >> 8;
      octets[5] = (octets.length - 40) & 0xff;
      octets[6] = nextHeader;
      if (octets.length > 53) {
        octets[40] = following;
        octets[41] = (octets[41] ?? 0) & 1;
        octets[52] = dataOffset;
        octets[53] = (octets[53] ?? 0) & 0xf9;
      }
      return octets;
    });

  it("neither throw nor write outside the slots, and come to an end", () => {
    fc.assert(
      fc.property(
        fc.oneof(anyPacket, fc.uint8Array({ maxLength: 400 })),
        anyHeader,
        (packet, header) => {
          const { memory, length } = laidOut({
            header,
            packet: Buffer.from(packet).toString("hex"),
          });
          const before = memory.octets.slice();
          const segmenter = new Segmenter(memory);
          const lengths = new Int32Array(3);
          segmenter.begin(SUPER_PACKET, length);
          let total = 0;
          for (;;) {
            const count = segmenter.fill(FIRST, 512, 3, lengths);
            if (count === 0) break;
            total += count;
            for (let i = 0; i < count; i += 1) expect(lengths[i]).toBeLessThanOrEqual(512);
          }
          expect(total).toBeLessThanOrEqual(length);
          const [from, to] = changedRange(before, memory.octets) ?? [FIRST, FIRST];
          expect(from).toBeGreaterThanOrEqual(FIRST);
          expect(to).toBeLessThanOrEqual(FIRST + 3 * 512);
        },
      ),
      { numRuns: 500 },
    );
  });

  it("stop at the end of memory instead of beyond it", () => {
    const memory = heapPacketMemory(2048);
    const length = place(memory, SUPER_PACKET, ORDINARY.packet);
    writeSuperPacketHeader(memory, SUPER_PACKET, ORDINARY.header);
    const segmenter = new Segmenter(memory);
    segmenter.begin(SUPER_PACKET, length);
    expect(segmenter.fill(2048 - 160, 160, 8, new Int32Array(8))).toBe(1);
  });
});
