import fc from "fast-check";
import { describe, expect, it, test } from "vitest";
import type { PacketMemory } from "../../../common/bytes/packet-memory.ts";
import { networkWord, sumPseudoHeader } from "../../../common/offload/checksum-words.ts";
import { Coalescer, type CoalescerSink, MAX_PIECES } from "../../../common/offload/coalescer.ts";
import { Segmenter } from "../../../common/offload/segmenter.ts";
import {
  checksumOffset,
  checksumStart,
  GsoType,
  gsoSize,
  gsoType,
  needsChecksum,
  writeSuperPacketHeader,
} from "../../../common/offload/virtio-net-header.ts";
import { patternedMemory, place, textAt } from "../../support/packets.ts";
import vectors from "../../vectors/offload.json" with { type: "json" };

const FIRST = 32;
const STRIDE = 2048;
const ZERO_HEADER = "00".repeat(10);

interface Given {
  readonly packet: string;
  readonly header?: unknown;
}

/** Takes down what would be written to the interface, header by header. */
class Written implements CoalescerSink {
  readonly given: Given[] = [];
  readonly #memory: PacketMemory;

  constructor(memory: PacketMemory) {
    this.#memory = memory;
  }

  packet(offset: number, length: number): void {
    expect(textAt(this.#memory, offset - 10, 10)).toBe(ZERO_HEADER);
    this.given.push({ packet: textAt(this.#memory, offset, length) });
  }

  merged(count: number, offsets: Int32Array, lengths: Int32Array): void {
    const memory = this.#memory;
    const head = offsets[0] ?? 0;
    expect(needsChecksum(memory, head)).toBe(true);
    const pieces = Array.from({ length: count }, (_, i) =>
      textAt(memory, offsets[i] ?? 0, lengths[i] ?? 0),
    );
    const header = {
      flags: memory.octets[head - 10],
      gsoType: gsoType(memory, head),
      headerLength: memory.view.getUint16(head - 8, true),
      gsoSize: gsoSize(memory, head),
      checksumStart: checksumStart(memory, head),
      checksumOffset: checksumOffset(memory, head),
    };
    this.given.push({ packet: pieces.join(""), header });
  }
}

function coalesced(packets: readonly (string | Uint8Array)[]): Given[] {
  const memory = patternedMemory(FIRST + packets.length * STRIDE);
  const written = new Written(memory);
  const coalescer = new Coalescer(memory, written);
  packets.forEach((packet, i) => {
    const offset = FIRST + i * STRIDE;
    coalescer.add(offset, place(memory, offset, packet));
  });
  coalescer.flush();
  return written.given;
}

const named = (name: string) => {
  const vector = vectors.coalescing.find((one) => one.name === name);
  if (vector === undefined) throw new Error(`no vector ${name}`);
  return vector;
};
const THREE = named("segments in sequence").packets;

/** The packet of another flow: its source port changed, which the checksum is told of by the destination's. */
function ofFlow(flow: number, packet: string): string {
  const octets = Buffer.from(packet, "hex");
  octets.writeUInt16BE(octets.readUInt16BE(40) + flow, 40);
  octets.writeUInt16BE(octets.readUInt16BE(42) - flow, 42);
  return octets.toString("hex");
}

describe("segments that came out of the tunnel", () => {
  test.each(vectors.coalescing)("$name", ({ packets, given }) => {
    expect(coalesced(packets)).toEqual(given);
  });

  it("wait for their successor until the flush", () => {
    const memory = patternedMemory(FIRST + STRIDE);
    const written = new Written(memory);
    const coalescer = new Coalescer(memory, written);
    coalescer.add(FIRST, place(memory, FIRST, THREE[0] ?? ""));
    expect(written.given).toHaveLength(0);
    coalescer.flush();
    expect(written.given).toHaveLength(1);
    coalescer.flush();
    expect(written.given).toHaveLength(1);
  });

  it("are joined by flow when flows alternate", () => {
    const [joined] = coalesced(THREE);
    const packets = THREE.flatMap((packet) => [packet, ofFlow(1, packet), ofFlow(2, packet)]);
    const given = coalesced(packets);
    expect(given).toHaveLength(3);
    expect(given[0]).toEqual(joined);
  });

  it("come out whole and in order when there are more flows than can wait", () => {
    const flows = Array.from({ length: 20 }, (_, flow) => flow);
    const packets = THREE.flatMap((packet) => flows.map((flow) => ofFlow(flow, packet)));
    const given = coalesced(packets).map(({ packet }) => packet);
    expect([...given].sort()).toEqual([...packets].sort());
    for (const flow of flows) {
      const own = THREE.map((packet) => ofFlow(flow, packet));
      expect(given.filter((packet) => own.includes(packet))).toEqual(own);
    }
  });

  it("pass what hides behind an extension header only after all that waits", () => {
    const hidden = Buffer.from(THREE[1] ?? "", "hex");
    hidden[6] = 60;
    const given = coalesced([THREE[0] ?? "", hidden]);
    expect(given).toEqual([{ packet: THREE[0] }, { packet: hidden.toString("hex") }]);
  });

  it("pass singly when they are misplaced", () => {
    const memory = patternedMemory(4096);
    const written = new Written(memory);
    const coalescer = new Coalescer(memory, written);
    for (const offset of [32, 1026, 2049]) {
      coalescer.add(offset, place(memory, offset, THREE[0] ?? ""));
    }
    expect(written.given).toEqual([THREE[0], THREE[0], THREE[0]].map((packet) => ({ packet })));
  });
});

describe("what is cut into segments and joined again", () => {
  const SOURCE = 16;
  const SLOTS_AT = 65_600;

  /** Cuts a super-packet of `payload` octets and joins the segments. */
  function roundTrip(payload: number, size: number): { original: string; given: Given[] } {
    const slots = Math.ceil(payload / size);
    const memory = patternedMemory(SLOTS_AT + slots * STRIDE);
    place(memory, SOURCE, "60012345 0000 06 39 20010db8ffff00000000000000000009");
    place(memory, SOURCE + 24, "20010db8000100000000000000000007");
    place(memory, SOURCE + 40, "01bb9c40 fffff000 0000004d 5010 03e8 0000 0000");
    const length = 60 + payload;
    memory.words16[(SOURCE + 4) >> 1] = networkWord(length - 40);
    memory.words16[(SOURCE + 56) >> 1] = sumPseudoHeader(memory, SOURCE, 6, length - 40);
    writeSuperPacketHeader(memory, SOURCE, {
      gsoType: GsoType.tcpV6,
      headerLength: 60,
      gsoSize: size,
      checksumStart: 40,
      checksumOffset: 16,
    });
    const original = textAt(memory, SOURCE, length);
    const segmenter = new Segmenter(memory);
    const written = new Written(memory);
    const coalescer = new Coalescer(memory, written);
    const lengths = new Int32Array(slots);
    expect(segmenter.begin(SOURCE, length)).toBe(true);
    const count = segmenter.fill(SLOTS_AT, STRIDE, slots, lengths);
    for (let i = 0; i < count; i += 1) coalescer.add(SLOTS_AT + i * STRIDE, lengths[i] ?? 0);
    coalescer.flush();
    return { original, given: written.given };
  }

  it("is the original", () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 2, max: MAX_PIECES }),
        fc.integer({ min: 1, max: 1000 }),
        fc.nat(),
        (count, size, rest) => {
          const payload = (count - 1) * size + 1 + (rest % size);
          const { original, given } = roundTrip(payload, size);
          expect(given.map(({ packet }) => packet)).toEqual([original]);
        },
      ),
      { numRuns: 60 },
    );
  });

  it("is the original when it is as large as can be", () => {
    const { original, given } = roundTrip(65_535 - 60, 1420);
    expect(given.map(({ packet }) => packet)).toEqual([original]);
  });

  it("is never of more pieces than the most", () => {
    expect(roundTrip(100 * MAX_PIECES, 100).given).toHaveLength(1);
    expect(roundTrip(100 * MAX_PIECES + 1, 100).given).toHaveLength(2);
  });

  it("is never larger than an IP packet can be", () => {
    const { given } = roundTrip(65_535 - 40, 1420);
    expect(given.map(({ packet }) => packet.length / 2)).toEqual([60 + 46 * 1420, 60 + 175]);
  });
});

describe("any octets", () => {
  const anyPacket = fc
    .tuple(fc.uint8Array({ maxLength: 200 }), fc.constantFrom(6, 6, 17, 58, 0, 60), fc.nat(255))
    .map(([octets, nextHeader, dataOffset]) => {
      if (octets.length >= 40) {
        octets.set([0x60, 0, 0, 0, 0, octets.length - 40, nextHeader]);
        octets.fill(7, 8, 40);
      }
      if (octets.length > 53) octets.set([dataOffset & 0xf0, 0x10], 52);
      return octets;
    });
  const anyInput = fc.oneof(
    anyPacket,
    fc.uint8Array({ maxLength: 200 }),
    fc.constantFrom(...THREE).map((packet) => Uint8Array.from(Buffer.from(packet, "hex"))),
  );

  it("neither throw nor are lost, and nothing outside the packets and their virtio headers changes", () => {
    fc.assert(
      fc.property(fc.array(anyInput, { maxLength: 12 }), (packets) => {
        const memory = patternedMemory(FIRST + packets.length * 256);
        const taken: number[] = [];
        const coalescer = new Coalescer(memory, {
          packet: (offset) => taken.push(offset),
          merged: (count, offsets) => {
            for (let i = 0; i < count; i += 1) taken.push((offsets[i] ?? 0) & ~255);
          },
        });
        packets.forEach((packet, i) => {
          place(memory, FIRST + i * 256, packet);
        });
        const before = memory.octets.slice();
        packets.forEach((packet, i) => {
          coalescer.add(FIRST + i * 256, packet.length);
        });
        coalescer.flush();
        expect(taken).toHaveLength(packets.length);
        packets.forEach((packet, i) => {
          const offset = FIRST + i * 256;
          before.fill(0, offset - 10, offset + packet.length);
          memory.octets.fill(0, offset - 10, offset + packet.length);
        });
        expect(memory.octets).toEqual(before);
      }),
    );
  });
});
