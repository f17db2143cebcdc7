import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { ReplayWindow } from "../../../common/esp/replay-window.ts";
import {
  MAX_EXTENDED_SEQUENCE,
  MAX_SEQUENCE,
  OutboundSa,
  refusalOf,
} from "../../../common/esp/security-association.ts";
import { COMBINATIONS, innerPacket, keysOf, Pair, TRANSFORMS } from "./transforms.ts";

const HALF = 2 ** 32;

describe.each(COMBINATIONS)("$name", ({ open, keys }) => {
  const pair = (options: { next?: number; limit?: number; window?: ReplayWindow } = {}) =>
    new Pair({ open, keys, ...options });

  it("gives back what was sealed, of every length", () => {
    const ends = pair();
    for (let length = 40; length < 100; length++) {
      const inner = innerPacket(length);
      const esp = ends.seal(inner);
      expect(esp.length).toBe(ends.outbound.sealedLength(length));
      ends.memory.octets.fill(0xee);
      expect(ends.open(esp)).toBe(length);
      expect(ends.inner(length)).toEqual(inner);
    }
    ends.close();
  });

  it("works wherever the packet stands in the memory, its very end included", () => {
    const ends = pair();
    const inner = innerPacket(61);
    const { memory } = ends;
    const total = ends.outbound.sealedLength(inner.length);
    for (const offset of [0, 1, 2, 3, 10, 2048, memory.octets.length - total]) {
      memory.octets.fill(0xee);
      memory.octets.set(inner, offset + ends.outbound.innerOffset);
      expect(ends.outbound.seal(memory, offset, inner.length)).toBe(total);
      const outside = memory.octets.slice();
      outside.fill(0xee, offset, offset + total);
      expect(outside.every((octet) => octet === 0xee)).toBe(true);
      expect(ends.inbound.open(memory, offset, total)).toBe(inner.length);
      const start = offset + ends.inbound.innerOffset;
      expect(memory.octets.slice(start, start + inner.length)).toEqual(inner);
    }
    ends.close();
  });

  it("refuses every packet with one bit changed, and the window does not move", () => {
    const ends = pair();
    const esp = ends.seal(innerPacket(44));
    for (const i of esp.keys()) {
      const forged = esp.slice();
      forged[i] = (forged[i] ?? 0) ^ (1 << (i & 7));
      expect(ends.open(forged)).toBeLessThan(0);
      expect(ends.inbound.window.top).toBe(0);
    }
    expect(ends.open(esp)).toBe(44);
    ends.close();
  });

  it("leaves nothing of a forged packet's plaintext", () => {
    const ends = pair();
    const inner = innerPacket(400);
    const forged = ends.seal(inner);
    forged[forged.length - 1] = (forged[forged.length - 1] ?? 0) ^ 1;
    expect(refusalOf(ends.open(forged))).toBe("not-authentic");
    const start = ends.inbound.innerOffset;
    const left = ends.memory.octets.slice(start + 50, start + 350);
    expect(Buffer.from(left).includes(Buffer.from(inner.slice(100, 108)))).toBe(false);
    ends.close();
  });

  it("takes packets in any order, each once", () => {
    const ends = pair();
    const sealed = [1, 2, 3, 4].map((id) => ends.seal(innerPacket(40 + id)));
    const order = [2, 0, 3, 1, 2, 0];
    const outcomes = order.map((i) => ends.open(sealed[i] ?? new Uint8Array()));
    expect(outcomes.map((code) => (code < 0 ? refusalOf(code) : code))).toEqual([
      43,
      41,
      44,
      42,
      "replayed",
      "replayed",
    ]);
    ends.close();
  });

  it("refuses packets older than the window", () => {
    const ends = pair({ window: new ReplayWindow(32) });
    const old = ends.seal(innerPacket(40));
    for (let i = 0; i < 32; i++) expect(ends.open(ends.seal(innerPacket(40)))).toBe(40);
    // With ESN such a number reads as one of the next lap (RFC 4303 appendix A2.2); the ICV covers the lap.
    expect(refusalOf(ends.open(old))).toBe(
      keys.extendedSequenceNumbers ? "not-authentic" : "too-old",
    );
    ends.close();
  });

  it("drops dummies, which count as received", () => {
    const ends = pair();
    const dummy = ends.seal(new Uint8Array(100), 59);
    expect(refusalOf(ends.open(dummy))).toBe("dummy");
    expect(ends.inbound.window.top).toBe(1);
    expect(refusalOf(ends.open(dummy))).toBe("replayed");
    ends.close();
  });

  it.each([
    {
      name: "IPv4 inside",
      inner: innerPacket(40),
      nextHeader: 4,
      reason: "unexpected-next-header",
    },
    { name: "nothing inside", inner: new Uint8Array(), reason: "inner-malformed" },
    {
      name: "less than a header inside",
      inner: innerPacket(40).slice(0, 39),
      reason: "inner-malformed",
    },
    {
      name: "version 4 inside",
      inner: innerPacket(60).fill(0x45, 0, 1),
      reason: "inner-malformed",
    },
    {
      name: "an inner length beyond the plaintext",
      inner: innerPacket(61).slice(0, 60),
      reason: "inner-malformed",
    },
  ])("refuses $name", ({ inner, nextHeader, reason }) => {
    const ends = pair();
    expect(refusalOf(ends.open(ends.seal(inner, nextHeader)))).toBe(reason);
    expect(ends.inbound.window.top).toBe(1);
    ends.close();
  });

  it("cuts TFC padding where the inner packet ends", () => {
    const ends = pair();
    const inner = new Uint8Array(300);
    inner.set(innerPacket(77));
    expect(ends.open(ends.seal(inner))).toBe(77);
    ends.close();
  });

  it("takes no octets for a packet", () => {
    const ends = pair();
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (octets) => {
        expect(ends.open(octets)).toBeLessThan(0);
      }),
    );
    expect(ends.inbound.window.top).toBe(0);
    ends.close();
  });

  it("calls any range that is not in the memory malformed", () => {
    const ends = pair();
    const esp = ends.seal(innerPacket(1000));
    const edge = fc.oneof(
      fc.integer({ min: -200, max: 4400 }),
      fc.constantFrom(Number.NaN, Number.POSITIVE_INFINITY, -1, 2 ** 31, 2 ** 32, 2 ** 53, 0.5),
    );
    fc.assert(
      fc.property(edge, edge, (offset, length) => {
        fc.pre(!(offset === 0 && length === esp.length));
        ends.memory.octets.set(esp);
        expect(ends.inbound.open(ends.memory, offset, length)).toBeLessThan(0);
      }),
      { numRuns: 300 },
    );
    ends.close();
  });

  it("does not seal beyond the memory, and uses no number for it", () => {
    const ends = pair();
    const { memory } = ends;
    for (const [offset, length] of [
      [4000, 100],
      [-1, 40],
      [0, -1],
      [0, 4096],
      [Number.NaN, 40],
      [0, Number.NaN],
      [0, Number.POSITIVE_INFINITY],
    ] as const) {
      expect(() => ends.outbound.seal(memory, offset, length)).toThrow(RangeError);
    }
    expect(ends.outbound.next).toBe(1);
    ends.close();
  });

  it("stops at its limit with nothing written, and goes on when that is raised", () => {
    const ends = pair({ next: 5, limit: 6 });
    expect(ends.seal(innerPacket(40)).length).toBeGreaterThan(0);
    ends.memory.octets.fill(0xee);
    expect(ends.outbound.seal(ends.memory, 0, 40)).toBe(0);
    expect(ends.memory.octets.every((octet) => octet === 0xee)).toBe(true);
    expect(ends.outbound.next).toBe(6);
    ends.outbound.limit = 7;
    expect(ends.open(ends.seal(innerPacket(40)))).toBe(40);
    expect(ends.inbound.window.top).toBe(6);
    ends.close();
  });

  it("never goes beyond the last number", () => {
    const last = keys.extendedSequenceNumbers ? MAX_EXTENDED_SEQUENCE : MAX_SEQUENCE;
    const window = new ReplayWindow();
    window.record(last - 10);
    const ends = pair({ next: last, window });
    const esp = ends.seal(innerPacket(40));
    expect(ends.open(esp)).toBe(40);
    expect(window.top).toBe(last);
    expect(ends.seal(innerPacket(40)).length).toBe(0);
    expect(refusalOf(ends.open(esp))).toBe("replayed");
    ends.close();
  });

  it("cannot be used once closed", () => {
    const ends = pair();
    const esp = ends.seal(innerPacket(40));
    ends.close();
    expect(() => ends.seal(innerPacket(40))).toThrow("closed");
    expect(() => ends.open(esp)).toThrow("closed");
    expect(() => ends.close()).not.toThrow();
  });
});

describe.each(COMBINATIONS.filter(({ keys }) => keys.extendedSequenceNumbers))(
  "$name across 2^32",
  ({ open, keys }) => {
    it("loses nothing, even out of order", () => {
      const window = new ReplayWindow();
      window.record(HALF - 40);
      const ends = new Pair({ open, keys, next: HALF - 20, window });
      const sealed = Array.from({ length: 40 }, () => ends.seal(innerPacket(40)));
      for (const esp of sealed.filter((_, i) => i % 2 === 1)) expect(ends.open(esp)).toBe(40);
      for (const esp of sealed.filter((_, i) => i % 2 === 0)) expect(ends.open(esp)).toBe(40);
      for (const esp of sealed) expect(refusalOf(ends.open(esp))).toBe("replayed");
      expect(window.top).toBe(HALF + 19);
      ends.close();
    });

    it("does not take a packet of the lap before for one of this", () => {
      const window = new ReplayWindow();
      const ends = new Pair({ open, keys, next: 3000, window });
      const esp = ends.seal(innerPacket(40));
      window.record(HALF + 2000);
      expect(refusalOf(ends.open(esp))).toBe("not-authentic");
      expect(window.top).toBe(HALF + 2000);
      ends.close();
    });
  },
);

describe.each(TRANSFORMS)("by $name", ({ open }) => {
  it.each([0, -1, 1.5, Number.NaN, 2 ** 53])("no SA begins with the number %d", (next) => {
    const keys = keysOf("aes-gcm-128", true);
    const transform = open(keys, "outbound");
    expect(() => new OutboundSa({ keys, transform, next, limit: 10 })).toThrow(RangeError);
    transform.close();
  });

  it("CBC never sends the same packet the same way twice", () => {
    const keys = keysOf("aes-cbc-256-hmac-sha2-256-128", false);
    const ivs = new Set<string>();
    for (let sa = 0; sa < 3; sa++) {
      const ends = new Pair({ open, keys });
      for (let i = 0; i < 50; i++) {
        ivs.add(Buffer.from(ends.seal(innerPacket(40)).slice(8, 24)).toString("hex"));
      }
      ends.close();
    }
    expect(ivs.size).toBe(150);
  });
});
