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
    flags: fc.nat(255),
    gsoType: fc.nat(255),
    headerLength: fc.nat(65_535),
    gsoSize: fc.nat(65_535),
    checksumStart: fc.nat(65_535),
    checksumOffset: fc.nat(65_535),
  });
  const anyCase = fc.record({ header: anyHeader, packet: fc.uint8Array({ maxLength: 400 }) });
  /** Almost right: chance alone would hardly get past the first checks. */
  const nearCase = fc
    .record({
      packet: fc.uint8Array({ minLength: 40, maxLength: 400 }),
      kind: fc.constantFrom(
        { gsoType: 4, checksumOffset: 16, protocol: 6 },
        { gsoType: 0x84, checksumOffset: 16, protocol: 6 },
        { gsoType: 5, checksumOffset: 6, protocol: 17 },
      ),
      start: fc.constantFrom(40, 40, 48, 56),
      gsoSize: fc.oneof(fc.nat(20), fc.nat(600)),
      dataOffset: fc.constantFrom(0x50, 0x80, 0xf0, 0x40),
      flaw: fc.option(fc.tuple(fc.nat(70), fc.nat(255))),
    })
    .map(({ packet, kind, start, gsoSize, dataOffset, flaw }) => {
      const { gsoType, checksumOffset, protocol } = kind;
      const set = (at: number, value: number) => {
        if (at < packet.length) packet[at] = value;
      };
      packet[0] = 0x60;
      packet[4] = (packet.length - 40) >> 8;
      packet[5] = (packet.length - 40) & 0xff;
      packet[6] = start === 40 ? protocol : 60;
      if (start > 40) {
        set(40, protocol);
        set(41, (start - 48) >> 3);
      }
      set(start + 12, dataOffset);
      set(start + 13, 0x98);
      if (flaw !== null) set(...flaw);
      const header = { flags: 1, gsoType, headerLength: 0, gsoSize, checksumStart: start };
      return { packet, header: { ...header, checksumOffset } };
    });

  it("neither throw nor write outside the slots, and come to an end", () => {
    let begun = 0;
    fc.assert(
      fc.property(fc.oneof({ weight: 3, arbitrary: nearCase }, anyCase), ({ packet, header }) => {
        const { memory, length } = laidOut({
          header,
          packet: Buffer.from(packet).toString("hex"),
        });
        const before = memory.octets.slice();
        const segmenter = new Segmenter(memory);
        const lengths = new Int32Array(3);
        if (segmenter.begin(SUPER_PACKET, length)) begun += 1;
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
      }),
      { numRuns: 500 },
    );
    expect(begun).toBeGreaterThan(50);
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
