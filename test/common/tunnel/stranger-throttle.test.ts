import { describe, expect, it } from "vitest";
import type { Instant } from "../../../common/time.ts";
import { StrangerThrottle } from "../../../common/tunnel/stranger-throttle.ts";

const WINDOW = 200; // milliseconds
const at = (ms: number) => ms as Instant;

/** So many a second knock; the share of them arrives. Returns how many are admitted, and the share in the end. */
function knock(throttle: StrangerThrottle, rate: number, from: number, windows: number) {
  let admitted = 0;
  for (let window = 0; window < windows; window++) {
    const start = from + window * WINDOW;
    const arriving = Math.round((rate * throttle.share * WINDOW) / 1000);
    for (let i = 0; i < arriving; i++) {
      if (throttle.admit(at(start + (i * WINDOW) / arriving))) admitted += 1;
    }
    throttle.review(at(start + WINDOW));
  }
  return { admitted, share: throttle.share };
}

describe("strangers", () => {
  it("within the rate all come through", () => {
    const throttle = new StrangerThrottle({ rate: 1_000, burst: 1_000 });
    expect(knock(throttle, 900, 0, 50)).toEqual({ admitted: 9_000, share: 1 });
  });

  it("beyond it are refused, and soon most do not even reach us", () => {
    const throttle = new StrangerThrottle({ rate: 1_000, burst: 1_000 });
    const { admitted, share } = knock(throttle, 100_000, 0, 50);
    expect(admitted).toBeLessThanOrEqual(1_000 + 10 * 1_000);
    expect(admitted).toBeGreaterThan(5_000);
    expect(share).toBeCloseTo(0.01, 2);
  });

  it("have their full share back a second after the crowd has gone", () => {
    const throttle = new StrangerThrottle({ rate: 1_000, burst: 1_000 });
    knock(throttle, 100_000, 0, 10);
    expect(knock(throttle, 0, 10 * WINDOW, 4).share).toBe(1);
    expect(throttle.deadline).toBeUndefined();
  });

  it("never all stay out, however many there are", () => {
    const throttle = new StrangerThrottle({ rate: 1, burst: 1 });
    expect(knock(throttle, 1_000_000, 0, 5).share).toBeGreaterThan(0);
  });

  it("leave nothing to do while none comes", () => {
    const throttle = new StrangerThrottle({ rate: 1, burst: 1 });
    expect(throttle.deadline).toBeUndefined();
    expect(throttle.review(at(1_000))).toBe(false);
  });
});
