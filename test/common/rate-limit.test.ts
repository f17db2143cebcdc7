import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { TokenBucket } from "../../common/rate-limit.ts";
import { at } from "../support/timeline.ts";

const takeMany = (bucket: TokenBucket, count: number, now: number) =>
  Array.from({ length: count }, () => bucket.take(at(now))).filter(Boolean).length;

describe("TokenBucket", () => {
  it("lets a burst pass at once and no more", () => {
    expect(takeMany(new TokenBucket({ rate: 10, burst: 20 }), 100, 5)).toBe(20);
  });

  it("gives one token back each 1/rate seconds", () => {
    const bucket = new TokenBucket({ rate: 10, burst: 2 });
    takeMany(bucket, 2, 0);
    expect(bucket.take(at(99))).toBe(false);
    expect(bucket.take(at(100))).toBe(true);
    expect(bucket.take(at(101))).toBe(false);
  });

  it("holds no more than a burst, however long nothing happened", () => {
    const bucket = new TokenBucket({ rate: 10, burst: 3 });
    takeMany(bucket, 3, 0);
    expect(takeMany(bucket, 10, 1e9)).toBe(3);
  });

  it("takes nothing for what it refuses", () => {
    const bucket = new TokenBucket({ rate: 1, burst: 1 });
    takeMany(bucket, 50, 0);
    expect(bucket.take(at(1000))).toBe(true);
  });

  it("loses no token to rounding", () => {
    expect(takeMany(new TokenBucket({ rate: 3, burst: 7 }), 10, 0.1)).toBe(7);
    expect(takeMany(new TokenBucket({ rate: 7, burst: 50 }), 60, 1e8 + 0.3)).toBe(50);
  });

  it.each([
    { rate: 0, burst: 1 },
    { rate: -1, burst: 1 },
    { rate: 1, burst: 0 },
    { rate: Number.NaN, burst: 1 },
  ])("refuses a limit that lets nothing pass: $rate a second, burst $burst", (limit) => {
    expect(() => new TokenBucket(limit)).toThrow(RangeError);
  });

  it("never lets more pass in any span than burst + rate × span", () => {
    const gaps = fc.array(fc.double({ min: 0, max: 400, noNaN: true }), { maxLength: 100 });
    fc.assert(
      fc.property(gaps, (gaps) => {
        const bucket = new TokenBucket({ rate: 10, burst: 5 });
        let now = 0;
        const passed: number[] = [];
        for (const gap of gaps) {
          now += gap;
          if (bucket.take(at(now))) passed.push(now);
        }
        passed.forEach((start, i) => {
          passed.slice(i).forEach((end, extra) => {
            expect(extra + 1).toBeLessThanOrEqual(5 + (end - start) / 100 + 1e-3);
          });
        });
      }),
    );
  });
});
