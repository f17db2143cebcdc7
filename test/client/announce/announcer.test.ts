import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  Announcer,
  type AnnouncerEffect,
  type AnnouncerInput,
} from "../../../client/announce/announcer.ts";
import type { Ipv4Address } from "../../../common/ip/address.ts";
import { at, runUntil } from "../../support/timeline.ts";

const HOME = "192.0.2.7" as Ipv4Address;
const NEW = "192.0.2.8" as Ipv4Address;

const address = (address: Ipv4Address | undefined): AnnouncerInput => ({
  kind: "address",
  address,
});
const ANSWER: AnnouncerInput = { kind: "answer" };
const ANNOUNCE: AnnouncerInput = { kind: "announce" };
const HEARD: AnnouncerInput = { kind: "heard" };
const advertise = (address: Ipv4Address): AnnouncerEffect => ({ kind: "advertise", address });
const SOLICIT: AnnouncerEffect = { kind: "solicit" };

const timesOf = (fired: [number, AnnouncerEffect][], kind: AnnouncerEffect["kind"]) =>
  fired.filter(([, effect]) => effect.kind === kind).map(([time]) => time);

function announcing(options?: { livenessIntervalMs?: number }): Announcer {
  const announcer = new Announcer(options);
  announcer.handle(address(HOME), at(0));
  return announcer;
}

function confirmed(options?: { livenessIntervalMs?: number }): Announcer {
  const announcer = announcing(options);
  announcer.handle(ANSWER, at(20));
  return announcer;
}

describe("a new address", () => {
  it("is advertised and the server solicited at once, in this order", () => {
    expect(new Announcer().handle(address(HOME), at(5))).toEqual([advertise(HOME), SOLICIT]);
  });

  it("is advertised three times, a second apart", () => {
    expect(timesOf(runUntil(announcing(), 2999), "advertise")).toEqual([1000, 2000]);
  });

  it("is asked about again after 100, 200, 400 ms and so on", () => {
    expect(timesOf(runUntil(announcing(), 7000), "solicit")).toEqual([
      100, 300, 700, 1500, 3100, 6300,
    ]);
  });

  it("is asked about at least every 30 s, for ever", () => {
    const times = timesOf(runUntil(announcing(), 86_400_000), "solicit");
    const gaps = times.slice(1).map((time, i) => time - (times[i] ?? 0));
    expect(Math.max(...gaps)).toBe(30_000);
    expect(times.length).toBeGreaterThan(2800);
  });

  it("is advertised with each solicitation once three went unanswered, since the server may have been away", () => {
    expect(timesOf(runUntil(announcing(), 30_000), "advertise")).toEqual([
      1000, 2000, 3100, 6300, 12_700, 25_500,
    ]);
  });

  it("restarts everything when one is being announced", () => {
    const announcer = announcing();
    runUntil(announcer, 500);
    expect(announcer.handle(address(NEW), at(500))).toEqual([advertise(NEW), SOLICIT]);
    const fired = runUntil(announcer, 2600);
    expect(fired.filter(([, effect]) => effect.kind === "advertise")).toEqual([
      [1500, advertise(NEW)],
      [2500, advertise(NEW)],
    ]);
    expect(timesOf(fired, "solicit")).toEqual([600, 800, 1200, 2000]);
  });

  it("restarts everything when one was confirmed", () => {
    const announcer = confirmed();
    expect(announcer.handle(address(NEW), at(9000))).toEqual([advertise(NEW), SOLICIT]);
    expect(announcer.state.kind).toBe("announcing");
  });

  it("that is the present one starts nothing", () => {
    const announcer = announcing();
    expect(announcer.handle(address(HOME), at(50))).toEqual([]);
    expect(announcer.state).toMatchObject({ kind: "announcing", since: 0 });
  });
});

describe("an answer", () => {
  it("confirms the address, with the time since the change", () => {
    expect(announcing().handle(ANSWER, at(42.5))).toEqual([
      { kind: "confirmed", address: HOME, elapsedMs: 42.5 },
    ]);
  });

  it("stops the repeats but the closing one", () => {
    expect(runUntil(confirmed(), 60_019)).toEqual([[1_000, advertise(HOME)]]);
  });

  it("confirms once", () => {
    expect(confirmed().handle(ANSWER, at(30))).toEqual([]);
  });

  it("means nothing without an address", () => {
    const announcer = new Announcer();
    expect(announcer.handle(ANSWER, at(1))).toEqual([]);
    expect(announcer.state.kind).toBe("no-address");
  });

  it("confirms after the change, not after what went before it", () => {
    const announcer = confirmed();
    announcer.handle(address(NEW), at(1000));
    expect(announcer.handle(ANSWER, at(1007))).toEqual([
      { kind: "confirmed", address: NEW, elapsedMs: 7 },
    ]);
  });
});

describe("without an address", () => {
  it("nothing is sent, whatever was going on", () => {
    for (const announcer of [announcing(), confirmed()]) {
      expect(announcer.handle(address(undefined), at(50))).toEqual([]);
      expect(announcer.deadline).toBeUndefined();
    }
  });

  it("an order to announce does nothing", () => {
    expect(new Announcer().handle(ANNOUNCE, at(0))).toEqual([]);
  });

  it("the same address coming back is announced", () => {
    const announcer = confirmed();
    announcer.handle(address(undefined), at(1000));
    expect(announcer.handle(address(HOME), at(2000))).toEqual([advertise(HOME), SOLICIT]);
  });
});

describe("an order to announce", () => {
  it("starts afresh when confirmed", () => {
    const announcer = confirmed();
    expect(announcer.handle(ANNOUNCE, at(50))).toEqual([advertise(HOME), SOLICIT]);
    expect(announcer.handle(ANSWER, at(60))).toEqual([
      { kind: "confirmed", address: HOME, elapsedMs: 10 },
    ]);
  });

  it("begins the repeats anew when announcing, and makes the change no younger", () => {
    const announcer = announcing();
    runUntil(announcer, 40_000);
    expect(announcer.handle(ANNOUNCE, at(40_000))).toEqual([advertise(HOME), SOLICIT]);
    expect(announcer.deadline).toBe(40_100);
    expect(announcer.handle(ANSWER, at(40_010))).toEqual([
      { kind: "confirmed", address: HOME, elapsedMs: 40_010 },
    ]);
  });
});

describe("once confirmed", () => {
  it("after all three no closing one follows", () => {
    const announcer = announcing();
    runUntil(announcer, 2_000);
    announcer.handle(ANSWER, at(2_010));
    expect(runUntil(announcer, 60_000)).toEqual([]);
  });

  it("the server is solicited after a minute of silence, without an advertisement", () => {
    const announcer = confirmed();
    runUntil(announcer, 1_000);
    expect(runUntil(announcer, 60_050)).toEqual([[60_020, SOLICIT]]);
  });

  it("the solicitation's answer gives another minute", () => {
    const announcer = confirmed();
    runUntil(announcer, 60_020);
    announcer.handle(ANSWER, at(60_030));
    expect(announcer.deadline).toBe(120_030);
  });

  it("an authentic packet postpones the solicitation", () => {
    const announcer = confirmed();
    runUntil(announcer, 1_000);
    announcer.handle(HEARD, at(50_000));
    expect(announcer.deadline).toBe(110_000);
  });

  it("an authentic packet between retries counts as a sign of life", () => {
    const announcer = confirmed();
    runUntil(announcer, 60_400);
    announcer.handle(HEARD, at(60_400));
    expect(runUntil(announcer, 120_399)).toEqual([]);
  });

  it("three quick retries without an answer mean that the tunnel is lost, and it is announced as after a change", () => {
    const fired = runUntil(confirmed({ livenessIntervalMs: 10_000 }), 12_520);
    expect(timesOf(fired, "solicit")).toEqual([
      10_020, 10_120, 10_320, 10_720, 11_520, 11_620, 11_820, 12_220,
    ]);
    expect(fired.slice(5, 8)).toEqual([
      [11_520, { kind: "lost" }],
      [11_520, advertise(HOME)],
      [11_520, SOLICIT],
    ]);
    expect(fired.at(-1)).toEqual([12_520, advertise(HOME)]);
  });

  it("a tunnel that is cut is lost at once, and announced until the server answers again", () => {
    const announcer = confirmed();
    expect(announcer.handle({ kind: "cut" }, at(5_000))).toEqual([
      { kind: "lost" },
      advertise(HOME),
      SOLICIT,
    ]);
    expect(announcer.state.kind).toBe("announcing");
    expect(announcer.handle({ kind: "cut" }, at(5_001))).toEqual([]);
  });

  it("a lost tunnel is confirmed anew, with the time since it was found lost", () => {
    const announcer = confirmed({ livenessIntervalMs: 10_000 });
    runUntil(announcer, 11_520);
    expect(announcer.handle(ANSWER, at(11_560))).toEqual([
      { kind: "confirmed", address: HOME, elapsedMs: 40 },
    ]);
  });

  it("nothing more is ever sent when the liveness interval is 0", () => {
    const announcer = confirmed({ livenessIntervalMs: 0 });
    runUntil(announcer, 1_000);
    announcer.handle(HEARD, at(100));
    expect(announcer.deadline).toBeUndefined();
  });
});

describe("an authentic packet", () => {
  it("confirms nothing while announcing: it may have come to the old address", () => {
    const announcer = announcing();
    expect(announcer.handle(HEARD, at(10))).toEqual([]);
    expect(announcer.state.kind).toBe("announcing");
  });
});

describe("late calls", () => {
  it("send once what is due, not what was missed", () => {
    const announcer = announcing();
    expect(announcer.handleDeadline(at(3_600_000))).toEqual([advertise(HOME), SOLICIT]);
    expect(announcer.deadline).toBe(3_600_200);
  });

  it("that come too early do nothing", () => {
    expect(announcing().handleDeadline(at(99))).toEqual([]);
    expect(confirmed().handleDeadline(at(99))).toEqual([]);
  });
});

describe("state", () => {
  it("knows of nothing before the first input", () => {
    expect(new Announcer().state).toEqual({
      kind: "no-address",
      since: undefined,
      lastElapsedMs: undefined,
    });
  });

  it("says since when there is no address", () => {
    const announcer = confirmed();
    announcer.handle(address(undefined), at(100));
    announcer.handle(address(undefined), at(200));
    expect(announcer.state).toEqual({ kind: "no-address", since: 100, lastElapsedMs: 20 });
  });

  it("counts attempts while announcing", () => {
    const announcer = announcing();
    runUntil(announcer, 800);
    expect(announcer.state).toEqual({
      kind: "announcing",
      address: HOME,
      since: 0,
      attempts: 4,
      lastElapsedMs: undefined,
    });
  });

  it("is unanswered once the usual advertisements went in vain", () => {
    const announcer = announcing();
    runUntil(announcer, 3099);
    expect(announcer.state.kind).toBe("announcing");
    runUntil(announcer, 3100);
    expect(announcer.state).toMatchObject({ kind: "unanswered", since: 0, attempts: 6 });
  });

  it("tells of the confirmation", () => {
    expect(confirmed().state).toEqual({
      kind: "confirmed",
      address: HOME,
      since: 20,
      elapsedMs: 20,
      attempts: 1,
      lastElapsedMs: 20,
    });
  });
});

it("advertisements are never less than a second apart while the address stays", () => {
  const step = fc.record({
    wait: fc.integer({ min: 0, max: 90_000 }),
    input: fc.constantFrom(ANSWER, HEARD, address(HOME)),
  });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 30 }), (steps) => {
      const announcer = announcing();
      const advertised = [0];
      let now = 0;
      for (const { wait, input } of steps) {
        now += wait;
        advertised.push(...timesOf(runUntil(announcer, now), "advertise"));
        const effects = announcer.handle(input, at(now));
        expect(effects.filter(({ kind }) => kind === "advertise")).toEqual([]);
      }
      advertised.slice(1).forEach((time, i) => {
        expect(time - (advertised[i] ?? 0)).toBeGreaterThanOrEqual(1000);
      });
    }),
  );
});
