import fc from "fast-check";
import { describe, expect, it, test } from "vitest";
import { clampMss } from "../../../common/ip/mss-clamp.ts";
import { hex } from "../../support/hex.ts";
import { patternedMemory, place, textAt } from "../../support/packets.ts";
import vectors from "../../vectors/offload.json" with { type: "json" };

const PACKET = 16;

describe("a handshake's maximum segment size", () => {
  test.each(vectors.clamping)("is scapy's for $name", ({ mtu, before, after }) => {
    for (const offset of [PACKET, PACKET + 1, PACKET + 2]) {
      const memory = patternedMemory(256);
      const length = place(memory, offset, before);
      clampMss(memory, offset, length, mtu);
      expect(textAt(memory, offset, length)).toBe(after);
    }
  });

  it("leaves a wrong checksum wrong by as much", () => {
    const [vector] = vectors.clamping;
    const before = hex(vector?.before ?? "");
    const memory = patternedMemory(256);
    before[56] = (before[56] ?? 0) ^ 0x40;
    const after = hex(vector?.after ?? "");
    clampMss(memory, PACKET, place(memory, PACKET, before), vector?.mtu ?? 0);
    expect(textAt(memory, PACKET, after.length)).not.toBe(vector?.after);
    expect(textAt(memory, PACKET + 60, 4)).toBe("0204053c");
  });
});

describe("options that break their format end the search and change nothing", () => {
  const headers = [
    "60000000 0020 06 40 20010db8000100000000000000000007 20010db8ffff00000000000000000009",
    "9c4001bb 00000000 00000000 8002 ffff 1234 0000",
  ].join("");
  test.each([
    { name: "a length of zero", options: "03000000 020405a0 00000000" },
    { name: "a length of one", options: "03010000 020405a0 00000000" },
    { name: "a length beyond the header", options: "030d0000 020405a0 00000000" },
    { name: "a kind without its length", options: "01010101 01010101 01010102" },
    { name: "a value that is cut off", options: "01010101 01010101 01020405" },
    { name: "an MSS option of length 2", options: "0202ffff ffff0000 00000000" },
    { name: "an MSS option of length 6", options: "0206ffff ffff0000 00000000" },
  ])("$name", ({ options }) => {
    const memory = patternedMemory(256);
    const length = place(memory, PACKET, hex(headers, options));
    const before = memory.octets.slice();
    clampMss(memory, PACKET, length, 1280);
    expect(memory.octets).toEqual(before);
  });

  it("a TCP header that reaches beyond the packet", () => {
    const memory = patternedMemory(256);
    place(memory, PACKET, hex(headers, "01010101 01010101 020405a0"));
    const before = memory.octets.slice();
    clampMss(memory, PACKET, 70, 1280);
    clampMss(memory, PACKET, 59, 1280);
    clampMss(memory, PACKET, 0, 1280);
    expect(memory.octets).toEqual(before);
  });
});

it("changes nothing but the values and the checksum of any octets, and ends", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 120 }), fc.nat(255), (octets, dataOffset) => {
      if (octets.length > 53) {
        octets[0] = 0x60;
        octets[6] = 6;
        octets[52] = dataOffset;
        octets[53] = 0x02;
      }
      const memory = patternedMemory(192);
      place(memory, PACKET, octets);
      const expected = memory.octets.slice();
      clampMss(memory, PACKET, octets.length, 1280);
      for (const [from, to] of [
        [56, 58],
        [60, Math.max(60, octets.length)],
      ] as const) {
        expected.set(memory.octets.subarray(PACKET + from, PACKET + to), PACKET + from);
      }
      expect(memory.octets).toEqual(expected);
    }),
  );
});
