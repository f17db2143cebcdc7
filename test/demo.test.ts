/** How the demonstration measures; that it runs is test/netns/demo.test.ts's. */

import { describe, expect, it } from "vitest";
import { longestOutage, longestPause, type Probe } from "../demo/outage.ts";

/** A request every 5 ms, answered after as many milliseconds as `delays` says, or never. */
function ping(...delays: (number | undefined)[]): Probe[] {
  return delays.map((delay, i) => ({
    sentAt: 5 * i,
    answeredAt: delay === undefined ? undefined : 5 * i + delay,
  }));
}

describe("the outage of a ping", () => {
  it("lasts from the first lost request to the next answered one", () => {
    const probes = ping(1, 1, undefined, undefined, 1);
    expect(longestOutage(probes, 0)).toEqual({ lost: 2, ms: 10, endedAt: 20 });
  });

  it("counts an answer that came too late as none", () => {
    expect(longestOutage(ping(1, 101, 100), 0)).toEqual({ lost: 1, ms: 5, endedAt: 10 });
  });

  it("is the longest of several", () => {
    const probes = ping(undefined, 1, undefined, undefined, undefined, 1, undefined, 1);
    expect(longestOutage(probes, 0)).toEqual({ lost: 3, ms: 15, endedAt: 25 });
  });

  it("leaves out what was sent before the change", () => {
    expect(longestOutage(ping(undefined, undefined, 1, 1), 10).lost).toBe(0);
  });

  it("is none where all was answered", () => {
    expect(longestOutage(ping(1, 2, 3), 0)).toEqual({ lost: 0, ms: 0, endedAt: undefined });
  });
});

describe("the pause of a download", () => {
  it("is the longest time without arrivals that ended after the change", () => {
    expect(longestPause([0, 500, 510, 530, 540], 505)).toBe(20);
  });

  it("may have begun before the change", () => {
    expect(longestPause([0, 100, 110], 50)).toBe(100);
  });
});
