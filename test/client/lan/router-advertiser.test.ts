import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  RouterAdvertiser,
  type RouterAdvertiserEffect,
  type RouterAdvertiserInput,
} from "../../../client/lan/router-advertiser.ts";
import { formatIpv6Prefix, parseIpv6, parseIpv6Prefix } from "../../../common/ip/address.ts";
import type { RouterAdvertisement } from "../../../common/nd/router-advertisement.ts";
import {
  readMtu,
  readPrefixInformation,
  readRecursiveDnsServers,
} from "../../../common/nd/router-option.ts";
import { at, runUntil } from "../../support/timeline.ts";

const LAN = parseIpv6Prefix("2001:db8:a:1::/64");
const OTHER = parseIpv6Prefix("2001:db8:b:1::/64");
const DNS = parseIpv6("2001:db8::53");
const HOST = parseIpv6("fe80::7");
const NOBODY = parseIpv6("::");
const MINUTE = 60_000;
const DEAD_AFTER = 30 * MINUTE;

const up: RouterAdvertiserInput = { kind: "tunnel", up: true };
const down: RouterAdvertiserInput = { kind: "tunnel", up: false };
const usable: RouterAdvertiserInput = {
  kind: "link",
  usable: true,
  linkLayerAddress: Uint8Array.of(2, 0, 0x5e, 0, 0x53, 1),
};
const unusable: RouterAdvertiserInput = { kind: "link", usable: false };
const solicitedBy = (source = HOST): RouterAdvertiserInput => ({ kind: "solicited", source });

const open = (options: Partial<ConstructorParameters<typeof RouterAdvertiser>[0]> = {}) =>
  new RouterAdvertiser({
    random: () => 0.5,
    prefixes: [LAN],
    dns: [DNS],
    mtu: 1400,
    deadAfterMs: DEAD_AFTER,
    ...options,
  });

/** Link and tunnel are up since the beginning. */
const advertising = (options = {}) => {
  const advertiser = open(options);
  advertiser.handle(usable, at(0));
  advertiser.handle(up, at(0));
  return advertiser;
};

interface Said {
  readonly at: number;
  readonly to: string;
  readonly router: number;
  readonly prefixes: Readonly<Record<string, readonly [preferred: number, valid: number]>>;
  readonly dns: number | undefined;
}

const saidIn = (fired: [number, RouterAdvertiserEffect][]): Said[] =>
  fired.flatMap(([time, effect]) =>
    effect.kind === "send" ? [said(time, effect.destination, effect.advertisement)] : [],
  );

function said(time: number, to: string, { routerLifetime, options }: RouterAdvertisement): Said {
  const prefixes = options.flatMap((option) => readPrefixInformation(option) ?? []);
  return {
    at: time,
    to,
    router: routerLifetime,
    prefixes: Object.fromEntries(
      prefixes.map(({ prefix, preferredLifetime, validLifetime }) => [
        formatIpv6Prefix(prefix),
        [preferredLifetime, validLifetime],
      ]),
    ),
    dns: options.map(readRecursiveDnsServers).find((found) => found !== undefined)?.lifetime,
  };
}

const ALIVE = { router: 1800, prefixes: { "2001:db8:a:1::/64": [2700, 5400] }, dns: 1800 };
const WITHDRAWN = { router: 0, prefixes: { "2001:db8:a:1::/64": [0, 0] }, dns: 0 };

const timesUntil = (advertiser: RouterAdvertiser, until: number) =>
  saidIn(runUntil(advertiser, until)).map((each) => each.at);

describe("a router advertiser", () => {
  it("says nothing before the tunnel is up for the first time, not even when asked", () => {
    const advertiser = open();
    advertiser.handle(usable, at(0));
    advertiser.handle(down, at(0));
    advertiser.handle(solicitedBy(), at(10));
    expect(advertiser.deadline).toBeUndefined();
  });

  it("says nothing while the interface cannot send", () => {
    const advertiser = open();
    expect(advertiser.handle(up, at(0))).toEqual([{ kind: "advertising" }]);
    advertiser.handle(solicitedBy(), at(10));
    expect(advertiser.deadline).toBeUndefined();
    advertiser.handle(usable, at(500));
    expect(timesUntil(advertiser, 1_000)).toEqual([500]);
    advertiser.handle(unusable, at(1_000));
    expect(advertiser.deadline).toBeUndefined();
  });

  it("tells all nodes the prefix, the tunnel's MTU, the DNS servers, and that it is a router", () => {
    const [[, first] = []] = runUntil(advertising(), 0);
    expect.assert(first?.kind === "send");
    expect(said(0, first.destination, first.advertisement)).toEqual({
      at: 0,
      to: "ff02::1",
      ...ALIVE,
    });
    expect(first.advertisement.options.map(readMtu)).toContain(1400);
    expect(first.advertisement.options.flatMap((o) => readPrefixInformation(o) ?? [])).toEqual([
      expect.objectContaining({ onLink: true, autonomous: true }),
    ]);
    expect(first.advertisement.options[0]).toEqual({
      type: 1,
      value: Uint8Array.of(2, 0, 0x5e, 0, 0x53, 1),
    });
  });

  it("begins with three at 16 s, then goes on at random within 200 to 600 s", () => {
    expect(timesUntil(advertising(), 900_000)).toEqual([0, 16_000, 32_000, 432_000, 832_000]);
    expect(timesUntil(advertising({ random: () => 0 }), 300_000).at(-1)).toBe(232_000);
    const latest = advertising({ random: () => 1 - Number.EPSILON });
    expect(timesUntil(latest, 700_000).at(-1)).toBeCloseTo(632_000);
  });

  it("tells no DNS servers when there are none", () => {
    const [first] = saidIn(runUntil(advertising({ dns: [] }), 0));
    expect(first?.dns).toBeUndefined();
  });

  it("tells name servers as soon as it hears of them, and no longer when there are none", () => {
    const advertiser = advertising({ dns: [] });
    runUntil(advertiser, 100_000);
    advertiser.handle({ kind: "dns", servers: [DNS] }, at(100_000));
    const [told] = saidIn(runUntil(advertiser, 100_500));
    expect(told?.dns).toBe(1800);
    advertiser.handle({ kind: "dns", servers: [] }, at(200_000));
    const [silent] = saidIn(runUntil(advertiser, 200_500));
    expect(silent?.dns).toBeUndefined();
  });

  it("says nothing anew when the name servers are the same", () => {
    const advertiser = advertising();
    runUntil(advertiser, 100_000);
    const { deadline } = advertiser;
    advertiser.handle({ kind: "dns", servers: [DNS] }, at(100_000));
    expect(advertiser.deadline).toBe(deadline);
  });
});

describe("who solicits", () => {
  it("is answered alone, within half a second", () => {
    const advertiser = advertising();
    runUntil(advertiser, 100_000);
    advertiser.handle(solicitedBy(), at(100_000));
    expect(saidIn(runUntil(advertiser, 101_000))).toEqual([
      { at: 100_250, to: "fe80::7", ...ALIVE },
    ]);
  });

  it("twice is answered once", () => {
    const advertiser = advertising();
    runUntil(advertiser, 100_000);
    advertiser.handle(solicitedBy(), at(100_000));
    advertiser.handle(solicitedBy(), at(100_200));
    expect(timesUntil(advertiser, 101_000)).toEqual([100_250]);
  });

  it("without address is answered by one to all, which is also the next of the regular ones", () => {
    const advertiser = advertising();
    runUntil(advertiser, 100_000);
    advertiser.handle(solicitedBy(NOBODY), at(100_000));
    advertiser.handle(solicitedBy(NOBODY), at(100_100));
    const answers = saidIn(runUntil(advertiser, 600_000));
    expect(answers.map((each) => [each.at, each.to])).toEqual([
      [100_250, "ff02::1"],
      [500_250, "ff02::1"],
    ]);
  });

  it("never makes two to all go within three seconds", () => {
    const advertiser = advertising();
    runUntil(advertiser, 0);
    for (let time = 0; time < 10_000; time += 100) {
      advertiser.handle(solicitedBy(NOBODY), at(time));
    }
    const times = timesUntil(advertiser, 10_000);
    expect(times[0]).toBe(3_000);
  });

  it("in crowds, all are answered by one to all", () => {
    const advertiser = advertising();
    runUntil(advertiser, 100_000);
    for (let host = 1; host <= 1_000; host++) {
      advertiser.handle(solicitedBy(parseIpv6(`fe80::1:${host.toString(16)}`)), at(100_000));
    }
    const answers = saidIn(runUntil(advertiser, 101_000));
    expect(answers).toHaveLength(1);
    expect(answers[0]?.to).toBe("ff02::1");
  });
});

describe("while the tunnel is away", () => {
  it("nothing changes at first", () => {
    const advertiser = advertising();
    runUntil(advertiser, MINUTE);
    advertiser.handle(down, at(MINUTE));
    const later = saidIn(runUntil(advertiser, MINUTE + DEAD_AFTER - 1));
    expect(later.length).toBeGreaterThan(2);
    for (const each of later) expect(each).toMatchObject(ALIVE);
  });

  it("for long, everything is withdrawn, three times at 16 s and then on", () => {
    const advertiser = advertising();
    runUntil(advertiser, MINUTE);
    advertiser.handle(down, at(MINUTE));
    runUntil(advertiser, MINUTE + DEAD_AFTER - 1);
    const fired = runUntil(advertiser, MINUTE + DEAD_AFTER + 10 * MINUTE);
    expect(fired[0]).toEqual([MINUTE + DEAD_AFTER, { kind: "withdrawn", downForMs: DEAD_AFTER }]);
    const all = saidIn(fired);
    for (const each of all) expect(each).toMatchObject(WITHDRAWN);
    const start = all[0]?.at ?? 0;
    expect(start - (MINUTE + DEAD_AFTER)).toBeLessThanOrEqual(3_000);
    expect(all.map((each) => each.at - start)).toEqual([0, 16_000, 32_000, 432_000]);
  });

  it("who asks is told that it is no router", () => {
    const advertiser = advertising();
    advertiser.handle(down, at(0));
    runUntil(advertiser, 2 * DEAD_AFTER);
    advertiser.handle(solicitedBy(), at(2 * DEAD_AFTER));
    const [answer] = saidIn(runUntil(advertiser, 2 * DEAD_AFTER + 500));
    expect(answer).toMatchObject(WITHDRAWN);
  });

  it("for long and back, everything is told again at once", () => {
    const advertiser = advertising();
    advertiser.handle(down, at(0));
    runUntil(advertiser, 2 * DEAD_AFTER);
    expect(advertiser.handle(up, at(2 * DEAD_AFTER))).toEqual([{ kind: "advertising" }]);
    const [first, second] = saidIn(runUntil(advertiser, 2 * DEAD_AFTER + MINUTE));
    expect(first).toEqual({ at: 2 * DEAD_AFTER, to: "ff02::1", ...ALIVE });
    expect(second?.at).toBe(2 * DEAD_AFTER + 16_000);
  });

  it("the time counts from the first loss, and anew after each return", () => {
    const advertiser = advertising();
    advertiser.handle(down, at(0));
    runUntil(advertiser, 20 * MINUTE);
    advertiser.handle(down, at(20 * MINUTE));
    expect(advertiser.state).toBe("advertising");
    advertiser.handle(up, at(29 * MINUTE));
    advertiser.handle(down, at(29 * MINUTE));
    runUntil(advertiser, 58 * MINUTE);
    expect(advertiser.state).toBe("advertising");
    runUntil(advertiser, 59 * MINUTE);
    expect(advertiser.state).toBe("withdrawn");
  });

  it("nothing is ever withdrawn if so configured", () => {
    const advertiser = advertising({ deadAfterMs: 0 });
    advertiser.handle(down, at(0));
    runUntil(advertiser, 24 * 60 * MINUTE);
    expect(advertiser.state).toBe("advertising");
  });
});

describe("a prefix that the home has no longer", () => {
  it("is withdrawn beside the new one, until no host can believe in it", () => {
    const advertiser = advertising();
    runUntil(advertiser, MINUTE);
    advertiser.handle({ kind: "prefixes", prefixes: [OTHER] }, at(MINUTE));
    const all = saidIn(runUntil(advertiser, MINUTE + 5_400_000 - 1));
    expect(all[0]).toEqual({
      at: MINUTE,
      to: "ff02::1",
      router: 1800,
      prefixes: { "2001:db8:b:1::/64": [2700, 5400], "2001:db8:a:1::/64": [0, 0] },
      dns: 1800,
    });
    for (const each of all) expect(each.prefixes).toHaveProperty("2001:db8:a:1::/64", [0, 0]);
    const [after] = saidIn(runUntil(advertiser, MINUTE + 7_000_000));
    expect(Object.keys(after?.prefixes ?? {})).toEqual(["2001:db8:b:1::/64"]);
  });

  it("is told as ever when it comes back", () => {
    const advertiser = advertising();
    runUntil(advertiser, 0);
    advertiser.handle({ kind: "prefixes", prefixes: [OTHER] }, at(1_000));
    advertiser.handle({ kind: "prefixes", prefixes: [LAN] }, at(2_000));
    const [next] = saidIn(runUntil(advertiser, 3_000));
    expect(next?.prefixes).toEqual({
      "2001:db8:a:1::/64": [2700, 5400],
      "2001:db8:b:1::/64": [0, 0],
    });
  });

  it("from before the start is withdrawn even before the tunnel is up, and nothing else is said", () => {
    const advertiser = open({ former: [{ prefix: OTHER, until: at(MINUTE) }] });
    advertiser.handle(usable, at(0));
    expect(saidIn(runUntil(advertiser, 0))).toEqual([
      {
        at: 0,
        to: "ff02::1",
        router: 0,
        prefixes: { "2001:db8:b:1::/64": [0, 0] },
        dns: undefined,
      },
    ]);
    expect(timesUntil(advertiser, 60 * MINUTE).length).toBeLessThanOrEqual(3);
    expect(advertiser.deadline).toBeUndefined();
  });
});

it("a new MTU is told at once, the same one is not", () => {
  const advertiser = advertising();
  runUntil(advertiser, 100_000);
  advertiser.handle({ kind: "mtu", mtu: 1400 }, at(100_000));
  expect(timesUntil(advertiser, 101_000)).toEqual([]);
  advertiser.handle({ kind: "mtu", mtu: 1280 }, at(101_000));
  expect(timesUntil(advertiser, 102_000)).toEqual([101_000]);
});

describe("a clean stop", () => {
  it("says once that we are no router, and leaves the addresses valid", () => {
    const advertiser = advertising();
    runUntil(advertiser, 0);
    const effects = advertiser.handle({ kind: "stop" }, at(1_000));
    expect(saidIn(effects.map((effect) => [1_000, effect]))).toEqual([
      {
        at: 1_000,
        to: "ff02::1",
        router: 0,
        prefixes: { "2001:db8:a:1::/64": [0, 5400] },
        dns: 0,
      },
    ]);
    advertiser.handle(solicitedBy(), at(2_000));
    expect(advertiser.deadline).toBeUndefined();
  });

  it("is silent when nothing was ever said", () => {
    const advertiser = open();
    advertiser.handle(usable, at(0));
    expect(advertiser.handle({ kind: "stop" }, at(0))).toEqual([]);
  });
});

it("whatever happens, two to all are never less than three seconds apart, and work ends", () => {
  const input = fc.oneof(
    fc.constantFrom<RouterAdvertiserInput>(up, down, usable, unusable, solicitedBy()),
    fc.constantFrom<RouterAdvertiserInput>(
      solicitedBy(NOBODY),
      { kind: "prefixes", prefixes: [OTHER] },
      { kind: "prefixes", prefixes: [LAN] },
      { kind: "mtu", mtu: 1280 },
      { kind: "mtu", mtu: 1400 },
    ),
  );
  const step = fc.tuple(fc.integer({ min: 0, max: 100_000 }), input);
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const advertiser = open();
      const fired: [number, RouterAdvertiserEffect][] = [];
      let now = 0;
      for (const [wait, what] of steps) {
        now += wait;
        fired.push(...runUntil(advertiser, now));
        for (const effect of advertiser.handle(what, at(now))) fired.push([now, effect]);
      }
      const times = saidIn(fired).flatMap((each) => (each.to === "ff02::1" ? [each.at] : []));
      for (const [index, time] of times.slice(1).entries()) {
        expect(time - (times[index] ?? 0)).toBeGreaterThanOrEqual(3_000);
      }
    }),
  );
});
