import fc from "fast-check";
import { describe, expect, it, test } from "vitest";
import { addToSum, finishSum, pseudoHeaderSum } from "../../../common/bytes/checksum.ts";
import {
  checksumOf,
  completeChecksum,
  networkWord,
  sumPseudoHeader,
  sumWords,
} from "../../../common/offload/checksum-words.ts";
import { hex } from "../../support/hex.ts";
import { patternedMemory, place, textAt } from "../../support/packets.ts";
import vectors from "../../vectors/offload.json" with { type: "json" };

/** The checksum by the plain implementation, which has RFC vectors of its own. */
const plain = (octets: Uint8Array, sum = 0) => finishSum(addToSum(sum, octets));
const complemented = (sum: number) => networkWord(~sum & 0xffff);

describe("the sum of words", () => {
  it("is RFC 1071 section 3's example", () => {
    const memory = patternedMemory(32);
    place(memory, 8, "0001 f203 f4f5 f6f7");
    expect(networkWord(sumWords(memory, 8, 8, 0))).toBe(0xddf2);
  });

  it("is the checksum of any octets at any even place", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), fc.nat(16), (octets, half) => {
        const memory = patternedMemory(256);
        const offset = 2 * half;
        place(memory, offset, octets);
        expect(complemented(sumWords(memory, offset, octets.length, 0))).toBe(plain(octets));
      }),
    );
  });

  it("continues a sum", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 64 }), fc.nat(0xfffff), (octets, sum) => {
        const memory = patternedMemory(128);
        place(memory, 4, octets);
        const start = networkWord((sum & 0xffff) + (sum >>> 16));
        const expected = plain(octets, start);
        expect(complemented(sumWords(memory, 4, octets.length, networkWord(start)))).toBe(expected);
      }),
    );
  });

  test.each([0, 1, 2, 3])(
    "does not lose carries of 64 KiB of ones at offset 4 and %d short",
    (n) => {
      const memory = patternedMemory(65_544);
      memory.octets.fill(0xff, 4, 4 + 65_536);
      const octets = new Uint8Array(65_536 - n).fill(0xff);
      expect(complemented(sumWords(memory, 4, octets.length, 0xffff))).toBe(plain(octets, 0xffff));
    },
  );

  it("reads nothing behind the last octet", () => {
    for (let length = 0; length < 40; length += 1) {
      const memory = patternedMemory(64);
      const before = sumWords(memory, 8, length, 0);
      memory.octets.fill(0, 8 + length);
      expect(sumWords(memory, 8, length, 0)).toBe(before);
    }
  });
});

describe("the sum of the pseudo-header", () => {
  it("is that of RFC 8200 section 8.1", () => {
    fc.assert(
      fc.property(
        fc.uint8Array({ minLength: 32, maxLength: 32 }),
        fc.nat(255),
        fc.nat(65_535),
        (addresses, nextHeader, length) => {
          const memory = patternedMemory(64);
          place(memory, 8 + 8, addresses);
          const expected = pseudoHeaderSum({
            source: addresses.slice(0, 16),
            destination: addresses.slice(16),
            length,
            nextHeader,
          });
          const sum = sumPseudoHeader(memory, 8, nextHeader, length);
          expect(complemented(sum)).toBe(finishSum(expected));
        },
      ),
    );
  });
});

it("never makes a checksum of zero, which UDP over IPv6 forbids", () => {
  expect(checksumOf(0xffff)).toBe(0xffff);
  expect(checksumOf(0x1234)).toBe(0xedcb);
});

describe("completing a checksum", () => {
  test.each(vectors.completion)("of $name gives scapy's", (vector) => {
    for (const offset of [12, 16, 18]) {
      const memory = patternedMemory(512);
      const length = place(memory, offset, vector.partial);
      const done = completeChecksum(memory, offset, length, vector.start, vector.checksumOffset);
      expect(done).toBe(true);
      expect(textAt(memory, offset, length)).toBe(vector.complete);
    }
  });

  const PACKET = 16;
  const LENGTH = 80;
  test.each([
    { name: "a start inside the IPv6 header", start: 38, field: 6 },
    { name: "an odd start", start: 41, field: 6 },
    { name: "an odd field", start: 40, field: 7 },
    { name: "a field at the end", start: 40, field: 40 },
    { name: "half a field at the end", start: 40, field: 39 },
    { name: "a field far outside", start: 65_534, field: 65_534 },
    { name: "a start behind the end", start: 82, field: 0 },
    { name: "a negative field", start: 60, field: -30 },
  ])("is refused for $name, and nothing changes", ({ start, field }) => {
    const memory = patternedMemory(256);
    const before = memory.octets.slice();
    expect(completeChecksum(memory, PACKET, LENGTH, start, field)).toBe(false);
    expect(memory.octets).toEqual(before);
  });

  it("is refused for a packet that is not all in memory", () => {
    const memory = patternedMemory(96);
    expect(completeChecksum(memory, 16, 81, 40, 6)).toBe(false);
    expect(completeChecksum(memory, 16, 80, 40, 6)).toBe(true);
    expect(completeChecksum(memory, -16, 80, 40, 6)).toBe(false);
  });

  it("touches nothing but the field, whatever the header says", () => {
    fc.assert(
      fc.property(fc.nat(200), fc.nat(200), fc.nat(120), (start, field, length) => {
        const memory = patternedMemory(160);
        const expected = memory.octets.slice();
        if (completeChecksum(memory, 16, length, start, field)) {
          const at = 16 + start + field;
          expected.set(memory.octets.subarray(at, at + 2), at);
          expect(at + 2).toBeLessThanOrEqual(16 + length);
          expect(at).toBeGreaterThanOrEqual(16 + 40);
        }
        expect(memory.octets).toEqual(expected);
      }),
    );
  });

  it("leaves a whole that sums to all ones", () => {
    const memory = patternedMemory(256);
    const [vector] = vectors.completion;
    const length = place(memory, 16, hex(vector?.partial ?? ""));
    completeChecksum(memory, 16, length, 40, 16);
    const pseudoHeader = sumPseudoHeader(memory, 16, 6, length - 40);
    expect(sumWords(memory, 56, length - 40, pseudoHeader)).toBe(0xffff);
  });
});
