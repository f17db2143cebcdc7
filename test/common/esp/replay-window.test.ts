import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { MalformedError } from "../../../common/errors.ts";
import { ReplayWindow } from "../../../common/esp/replay-window.ts";

const HALF = 2 ** 32;

function recorded(size: number, ...sequences: number[]): ReplayWindow {
  const window = new ReplayWindow(size);
  for (const sequence of sequences) window.record(sequence);
  return window;
}

describe("a replay window", () => {
  it.each([0, -1, Number.NaN, 2 ** 53, Number.POSITIVE_INFINITY])(
    "never takes the number %d",
    (sequence) => {
      const window = new ReplayWindow();
      expect(window.check(sequence)).toBe("too-old");
      window.record(sequence);
      expect(window.top).toBe(0);
    },
  );

  it("takes each number once", () => {
    const window = new ReplayWindow();
    expect(window.check(1)).toBe("fresh");
    window.record(1);
    expect(window.check(1)).toBe("replayed");
    expect(window.check(2)).toBe("fresh");
  });

  it("records nothing by checking", () => {
    const window = new ReplayWindow();
    window.check(7);
    expect([window.top, window.check(7)]).toEqual([0, "fresh"]);
  });

  it("is exactly as wide as it says", () => {
    const window = recorded(1024, 5000);
    expect(window.check(5000 - 1023)).toBe("fresh");
    expect(window.check(5000 - 1024)).toBe("too-old");
  });

  it("lets a number that is too old leave no mark where a newer one stands", () => {
    const window = recorded(1024, 5000);
    window.record(5000 - 2048);
    expect(window.check(5000 - 2048 + 2048 - 32)).toBe("fresh");
    for (let sequence = 5000 - 1023; sequence < 5000; sequence++) {
      expect(window.check(sequence)).toBe("fresh");
    }
  });

  it.each([1, 31, 32, 33, 1023, 1024, 1025, 2047, 2048, 2049, HALF - 1, HALF, HALF + 1])(
    "forgets nothing it should know and remembers nothing it should not, %d numbers on",
    (jump) => {
      const window = recorded(1024, 10, 11, 1000, 1010);
      const top = 1010 + jump;
      window.record(top);
      const known = new Set([10, 11, 1000, 1010, top]);
      for (let sequence = Math.max(1, top - 1023); sequence <= top; sequence++) {
        expect([sequence, window.check(sequence)]).toEqual([
          sequence,
          known.has(sequence) ? "replayed" : "fresh",
        ]);
      }
    },
  );

  it.each([0, 31, 33, -32, 1.5, Number.NaN, 2 ** 21])("has no size of %d", (size) => {
    expect(() => new ReplayWindow(size)).toThrow(RangeError);
  });

  it("agrees with a set of all numbers ever seen", () => {
    const sequence = fc.oneof(
      fc.integer({ min: 0, max: 400 }),
      fc.integer({ min: HALF - 200, max: HALF + 200 }),
      fc.integer({ min: 0, max: Number.MAX_SAFE_INTEGER }),
    );
    fc.assert(
      fc.property(
        fc.constantFrom(32, 64, 96, 128, 1024),
        fc.array(sequence, { maxLength: 200 }),
        (size, sequences) => {
          const window = new ReplayWindow(size);
          const seen = new Set<number>();
          let top = 0;
          for (const number of sequences) {
            const wanted =
              number < 1 || number <= top - size
                ? "too-old"
                : seen.has(number)
                  ? "replayed"
                  : "fresh";
            expect(window.check(number)).toBe(wanted);
            window.record(number);
            if (wanted === "fresh") {
              seen.add(number);
              top = Math.max(top, number);
            }
            expect(window.top).toBe(top);
          }
        },
      ),
    );
  });
});

describe("the high half of an extended sequence number (RFC 4303 appendix A2.2)", () => {
  it.each([
    { top: 0, low: 1, number: 1, why: "the first packet" },
    { top: 0, low: HALF - 1, number: HALF - 1, why: "below 2^32 there is nothing to be above" },
    { top: 5, low: HALF - 3, number: HALF - 3, why: "nor when the window would reach below 0" },
    { top: 5000, low: 4000, number: 4000, why: "in the window" },
    { top: 5000, low: 5000 - 1023, number: 5000 - 1023, why: "the window's bottom" },
    { top: 5000, low: 5000 - 1024, number: HALF + 5000 - 1024, why: "below it: a lap later" },
    { top: 5000, low: HALF - 1, number: HALF - 1, why: "far above" },
    { top: HALF - 1, low: 0, number: HALF, why: "over the edge" },
    { top: HALF - 1, low: 900, number: HALF + 900, why: "well over the edge" },
    { top: HALF + 100, low: 99, number: HALF + 99, why: "window over two laps, upper part" },
    { top: HALF + 100, low: HALF - 1, number: HALF - 1, why: "window over two laps, lower part" },
    { top: HALF + 100, low: HALF - 923, number: HALF - 923, why: "its bottom: 2^32 + 100 - 1023" },
    { top: HALF + 100, low: HALF - 924, number: 2 * HALF - 924, why: "below it: a lap later" },
    { top: HALF + 1023, low: 0, number: HALF, why: "the window's bottom is a lap's start" },
    { top: HALF + 1022, low: HALF - 1, number: HALF - 1, why: "it is one below that" },
    { top: 7 * HALF + 2000, low: 5, number: 8 * HALF + 5, why: "many laps" },
  ])("top $top, low $low: $number ($why)", ({ top, low, number }) => {
    const window = new ReplayWindow();
    window.record(top);
    expect(window.infer(low)).toBe(number);
  });

  it("finds every number of the window, and 2^32 less the window above it", () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 2 ** 52 }),
        fc.integer({ min: -1023, max: HALF - 1024 }),
        (top, distance) => {
          fc.pre(top + distance >= 1);
          const window = recorded(1024, top);
          expect(window.infer((top + distance) % HALF)).toBe(top + distance);
        },
      ),
    );
  });
});

describe("a snapshot", () => {
  const size = 1024;
  const take = (window: ReplayWindow) => {
    const snapshot = new Uint8Array(ReplayWindow.snapshotLength(window.size));
    window.snapshot(snapshot);
    return snapshot;
  };

  it("begins with the top, big-endian", () => {
    const snapshot = take(recorded(size, 3 * HALF + 0x01020304));
    expect([...snapshot.subarray(0, 8)]).toEqual([0, 0, 0, 3, 1, 2, 3, 4]);
  });

  it("makes a window that knows the same", () => {
    const before = recorded(size, HALF - 700, HALF - 3, HALF - 1, HALF + 5);
    const after = new ReplayWindow(size);
    after.record(17);
    after.restore(take(before));
    expect(after.top).toBe(before.top);
    for (let sequence = HALF - 1100; sequence < HALF + 100; sequence++) {
      expect(after.check(sequence)).toBe(before.check(sequence));
    }
  });

  it("has the length it says and no other", () => {
    expect(() => new ReplayWindow(64).snapshot(new Uint8Array(7))).toThrow(RangeError);
  });

  it.each([
    { name: "cut short", snapshot: new Uint8Array(9), code: "snapshot-length" },
    {
      name: "of another size",
      snapshot: take(new ReplayWindow(4096)),
      code: "snapshot-length",
    },
    {
      name: "with a top beyond 2^53",
      snapshot: take(new ReplayWindow(size)).fill(0xff, 0, 8),
      code: "snapshot-top",
    },
  ])("is refused when $name", ({ snapshot, code }) => {
    const window = recorded(size, 9);
    expect(() => window.restore(snapshot)).toThrow(
      expect.objectContaining({ name: "MalformedError", code }),
    );
    expect(window.top).toBe(9);
  });

  it("of any octets is taken or refused as malformed", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 40 }), (octets) => {
        const window = new ReplayWindow(64);
        try {
          window.restore(octets);
          expect(window.check(window.top + 1)).toBe("fresh");
        } catch (error) {
          expect(error).toBeInstanceOf(MalformedError);
        }
      }),
    );
  });
});
