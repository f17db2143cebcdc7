import { describe, expect, it } from "vitest";
import type { Ipv4Address } from "../../../common/ip/address.ts";
import type { TunnelName } from "../../../common/tunnel/tunnel.ts";
import {
  type EndpointEffect,
  EndpointTable,
  type EndpointTableOptions,
} from "../../../server/endpoint/endpoint-table.ts";
import { at, runUntil } from "../../support/timeline.ts";

const ALICE = "alice" as TunnelName;
const BOB = "bob" as TunnelName;
const OLD = "192.0.2.7" as Ipv4Address;
const NEW = "192.0.2.8" as Ipv4Address;
const NEXT = "192.0.2.9" as Ipv4Address;

/** A table with words instead of inputs. */
class Story {
  readonly table: EndpointTable;

  constructor(options?: EndpointTableOptions, homes = [ALICE, BOB]) {
    this.table = new EndpointTable(options);
    for (const tunnel of homes) this.table.handle({ kind: "add", tunnel }, at(0));
  }

  moved(tunnel: TunnelName, address: Ipv4Address, now: number, port?: number) {
    const input = { kind: "moved", tunnel, address } as const;
    return this.table.handle(port === undefined ? input : { ...input, port }, at(now));
  }

  answered(tunnel: TunnelName, now: number, move?: number) {
    const input = { kind: "answered", tunnel } as const;
    return this.table.handle(move === undefined ? input : { ...input, move }, at(now));
  }

  restored(tunnel: TunnelName, address: Ipv4Address, now: number) {
    const endpoint = { address, port: 4500 };
    return this.table.handle({ kind: "restored", tunnel, endpoint }, at(now));
  }

  heard(tunnel: TunnelName, now: number) {
    return this.table.handle({ kind: "heard", tunnel }, at(now));
  }

  traffic(tunnel: TunnelName, sentPackets: number, now: number) {
    return this.table.handle({ kind: "traffic", tunnel, sentPackets }, at(now));
  }

  remove(tunnel: TunnelName, now: number) {
    return this.table.handle({ kind: "remove", tunnel }, at(now));
  }

  state(tunnel: TunnelName) {
    return this.table.statusOf(tunnel)?.state;
  }

  /** What deadlines bring until then, as `time kind`. */
  until(now: number): string[] {
    return runUntil(this.table, now).map(([time, { kind }]) => `${time} ${kind}`);
  }

  /** Both homes hear nothing more of what was. */
  static confirmed(options?: EndpointTableOptions): Story {
    const story = new Story(options);
    story.moved(ALICE, OLD, 0);
    story.answered(ALICE, 20);
    return story;
  }

  static held(): Story {
    const story = new Story();
    story.moved(ALICE, OLD, 0);
    story.until(1000);
    return story;
  }
}

const kinds = (effects: EndpointEffect[]) => effects.map(({ kind }) => kind);

it("going to and fro cannot aim traffic at a stranger for longer than a few seconds a minute", () => {
  const story = Story.confirmed();
  let aimedMs = 0;
  for (let now = 1_000; now < 61_000; now += 1_000) {
    story.moved(ALICE, NEW, now); // a stranger's
    if (story.state(ALICE) !== "held") aimedMs += 990;
    story.moved(ALICE, OLD, now + 990);
    story.answered(ALICE, now + 995);
  }
  expect(aimedMs).toBeLessThan(7_000);
});

describe("a move", () => {
  it("rewrites the remote endpoint, is probed and written down, in this order", () => {
    expect(new Story().moved(ALICE, NEW, 5)).toEqual([
      { kind: "set-remote", tunnel: ALICE, remote: { address: NEW, port: 4500 } },
      { kind: "probe", tunnel: ALICE, move: 1 },
      { kind: "persist", tunnel: ALICE, endpoint: { address: NEW, port: 4500 } },
    ]);
  });

  it("takes the port it is given", () => {
    expect(new Story().moved(ALICE, NEW, 5, 61_000)[0]).toMatchObject({
      remote: { address: NEW, port: 61_000 },
    });
  });

  it("to another port of the same address is a move", () => {
    expect(kinds(Story.confirmed().moved(ALICE, OLD, 50, 61_000))).toContain("set-remote");
  });

  it("is probed three times, then held after another half second", () => {
    const story = new Story();
    story.moved(ALICE, NEW, 0);
    expect(story.until(1000)).toEqual(["250 probe", "500 probe", "1000 hold"]);
    expect(story.state(ALICE)).toBe("held");
  });

  it("within the second asks anew but is given no further second", () => {
    const story = Story.confirmed();
    story.moved(ALICE, NEW, 2000);
    story.moved(ALICE, NEXT, 2900);
    expect(story.until(3500)).toEqual(["3000 hold", "3150 probe", "3400 probe"]);
  });

  it("while held is asked about quickly, and stays held until it is answered", () => {
    const story = Story.held();
    expect(kinds(story.moved(ALICE, NEW, 5000))).toEqual(["set-remote", "probe", "persist"]);
    expect(story.until(6000)).toEqual(["5250 probe", "5500 probe"]);
    expect(kinds(story.answered(ALICE, 6010))).toEqual(["release", "confirmed"]);
  });

  it("is counted, a refresh is not", () => {
    const story = Story.confirmed();
    story.moved(ALICE, OLD, 30);
    story.moved(ALICE, NEW, 40);
    expect(story.table.statusOf(ALICE)?.moves).toBe(2);
  });
});

describe("an answer", () => {
  it("confirms the move, with the time since the advertisement", () => {
    const story = new Story();
    story.moved(ALICE, NEW, 10);
    expect(story.answered(ALICE, 32.5)).toEqual([
      { kind: "confirmed", tunnel: ALICE, endpoint: { address: NEW, port: 4500 }, elapsedMs: 22.5 },
    ]);
    expect(story.table.statusOf(ALICE)).toMatchObject({
      state: "confirmed",
      since: 32.5,
      lastMoveMs: 22.5,
    });
  });

  it("ends the probing", () => {
    expect(Story.confirmed().table.deadline).toBeUndefined();
  });

  it("confirms a move once", () => {
    expect(Story.confirmed().answered(ALICE, 30)).toEqual([]);
  });

  it("to a probe that went to an earlier endpoint proves nothing", () => {
    const story = new Story();
    story.moved(ALICE, OLD, 0);
    story.moved(ALICE, NEW, 10);
    expect(story.answered(ALICE, 20, 1)).toEqual([]);
    expect(kinds(story.answered(ALICE, 30, 2))).toEqual(["confirmed"]);
  });

  it("from a home that was never anywhere does nothing", () => {
    expect(new Story().answered(ALICE, 10)).toEqual([]);
  });
});

describe("an advertisement of the present address", () => {
  it("rewrites nothing but is probed, so that the home gets its proof", () => {
    expect(kinds(Story.confirmed().moved(ALICE, OLD, 50))).toEqual(["probe"]);
  });

  it("asks a held home quickly again", () => {
    const story = Story.held();
    expect(kinds(story.moved(ALICE, OLD, 1500))).toEqual(["probe"]);
    expect(story.until(3100)).toEqual(["1750 probe", "2000 probe", "3000 probe"]);
  });
});

describe("a held home", () => {
  it("is probed after 1, 2, 4 s and so on", () => {
    expect(Story.held().until(40_000)).toEqual(
      [2000, 4000, 8000, 16_000, 32_000].map((time) => `${time} probe`),
    );
  });

  it("is probed at least every five minutes, for ever", () => {
    const story = Story.held();
    const times = story.until(86_400_000).map((line) => Number.parseInt(line, 10));
    const gaps = times.slice(1).map((time, i) => time - (times[i] ?? 0));
    expect(Math.max(...gaps)).toBe(300_000);
  });

  it("is released by an answer", () => {
    const story = Story.held();
    expect(story.answered(ALICE, 5000)).toEqual([
      { kind: "release", tunnel: ALICE },
      {
        kind: "confirmed",
        tunnel: ALICE,
        endpoint: { address: OLD, port: 4500 },
        elapsedMs: 5000,
      },
    ]);
    expect(story.table.deadline).toBeUndefined();
  });

  it("is probed at once when it is heard, which does not release it", () => {
    const story = Story.held();
    story.until(300_000);
    expect(kinds(story.heard(ALICE, 300_100))).toEqual(["probe"]);
    expect(story.state(ALICE)).toBe("held");
  });

  it("that is heard all the time is probed once a second", () => {
    const story = Story.held();
    story.until(10_000);
    let probes = 0;
    for (let now = 10_000; now < 20_000; now += 10) {
      probes += story.until(now).length + story.heard(ALICE, now).length;
    }
    expect(probes).toBeGreaterThanOrEqual(9);
    expect(probes).toBeLessThanOrEqual(11);
  });

  it("that was heard once is asked patiently afresh, should the probe be lost", () => {
    const story = Story.held();
    story.until(300_000);
    story.heard(ALICE, 300_100);
    expect(story.until(304_000)).toEqual(["301100 probe", "303100 probe"]);
  });
});

describe("a confirmed home", () => {
  it("to which nothing is sent is never woken", () => {
    expect(Story.confirmed().until(86_400_000)).toEqual([]);
  });

  it("to which traffic is sent is probed every 30 s", () => {
    const story = Story.confirmed();
    const seen: string[] = [];
    for (let second = 1; second <= 100; second++) {
      story.traffic(ALICE, second * 10, second * 1000);
      for (const line of story.until(second * 1000)) {
        seen.push(line);
        story.answered(ALICE, second * 1000);
      }
    }
    // Each answer comes with the second's tick, from which the next 30 s count.
    expect(seen).toEqual(["30020 probe", "61000 probe", "91000 probe"]);
  });

  it("is probed at once when traffic begins after a long silence", () => {
    const story = Story.confirmed();
    story.traffic(ALICE, 10, 3_600_000);
    expect(story.until(3_600_000)).toEqual(["3600000 probe"]);
  });

  it("is asked no more when the traffic has stopped", () => {
    const story = Story.confirmed();
    story.traffic(ALICE, 10, 3_600_000);
    story.until(3_600_000);
    story.answered(ALICE, 3_600_010);
    expect(story.until(9_000_000)).toEqual([]);
  });

  it("is not kept awake by our own probes", () => {
    const story = Story.confirmed();
    let sent = 100;
    story.traffic(ALICE, sent, 60_000);
    const seen: string[] = [];
    for (let now = 60_000; now < 600_000; now += 10_000) {
      for (const line of story.until(now)) {
        seen.push(line);
        sent += 1;
        story.answered(ALICE, now);
      }
      story.traffic(ALICE, sent, now);
    }
    expect(seen).toEqual(["60000 probe", "90000 probe"]);
  });

  it("is held when it misses three probes while traffic is sent", () => {
    const story = Story.confirmed();
    const seen: string[] = [];
    for (let second = 60; second <= 140; second++) {
      seen.push(...story.until(second * 1000));
      story.traffic(ALICE, second * 10, second * 1000);
    }
    expect(seen.slice(0, 5)).toEqual([
      "60000 probe",
      "90000 probe",
      "120000 probe",
      "120500 hold",
      "121500 probe",
    ]);
  });

  it("is forgiven its misses by an answer", () => {
    const story = Story.confirmed();
    for (let second = 60; second <= 119; second++) {
      story.until(second * 1000);
      story.traffic(ALICE, second * 10, second * 1000);
    }
    story.answered(ALICE, 119_000);
    for (let second = 120; second <= 200; second++) {
      story.traffic(ALICE, second * 10, second * 1000);
      expect(story.until(second * 1000).join()).not.toContain("hold");
    }
  });
});

describe("thousands of homes that come at once", () => {
  const homes = Array.from({ length: 2_000 }, (_, index) => `home-${index}` as TunnelName);
  const comes = () => {
    const story = new Story({ sharedEndpoints: true }, homes);
    const first = homes.flatMap((home) => kinds(story.moved(home, NEW, 0)));
    return { story, first: first.filter((kind) => kind === "probe") };
  };

  it("are all probed once, and so few of them again that their answers are not made later", () => {
    const { story, first } = comes();
    expect(first).toHaveLength(homes.length);
    const repeats = story.until(999);
    expect(repeats.every((line) => line.endsWith(" probe"))).toBe(true);
    expect(repeats.length).toBeLessThanOrEqual(200);
    expect(repeats.length).toBeGreaterThan(100);
  });

  it("are held in time all the same when they do not answer", () => {
    const { story } = comes();
    story.until(1_000);
    expect(homes.every((home) => story.state(home) === "held")).toBe(true);
  });
});

describe("another home's confirmed address", () => {
  it("is refused, and the holder is probed at once", () => {
    const story = Story.confirmed();
    expect(story.moved(BOB, OLD, 1000)).toEqual([
      { kind: "refused", tunnel: BOB, reason: "endpoint-in-use", address: OLD },
      { kind: "probe", tunnel: ALICE, move: 1 },
    ]);
    expect(story.table.statusOf(BOB)?.refused["endpoint-in-use"]).toBe(1);
  });

  it("stays the holder's when it answers", () => {
    const story = Story.confirmed();
    story.moved(BOB, OLD, 1000);
    expect(story.answered(ALICE, 1020)).toEqual([]);
    expect(story.until(60_000)).toEqual([]);
    expect(kinds(story.moved(BOB, OLD, 60_000))).toContain("refused");
  });

  it("frees itself when the holder does not answer", () => {
    const story = Story.confirmed();
    story.moved(BOB, OLD, 1000);
    expect(story.until(2000)).toEqual(["1250 probe", "1500 probe", "2000 hold"]);
    expect(kinds(story.moved(BOB, OLD, 2000))).toEqual(["set-remote", "probe", "persist"]);
  });

  it("costs the holder at most one series of probes a second, however often it is claimed", () => {
    const story = Story.confirmed();
    story.moved(BOB, OLD, 1000);
    expect(kinds(story.moved(BOB, OLD, 1100))).toEqual(["refused"]);
    story.answered(ALICE, 1120);
    expect(kinds(story.moved(BOB, OLD, 1200))).toEqual(["refused"]);
    expect(kinds(story.moved(BOB, OLD, 2000))).toEqual(["refused", "probe"]);
  });

  it("may be taken at once when the holder has moved on", () => {
    const story = Story.confirmed();
    story.moved(ALICE, NEW, 1000);
    expect(kinds(story.moved(BOB, OLD, 1001))).toContain("set-remote");
  });

  it("may be taken at once when the holder is held, or removed", () => {
    const held = Story.held();
    expect(kinds(held.moved(BOB, OLD, 2000))).toContain("set-remote");
    const removed = Story.confirmed();
    removed.remove(ALICE, 100);
    expect(kinds(removed.moved(BOB, OLD, 2000))).toContain("set-remote");
  });

  it("is granted when endpoints may be shared", () => {
    const story = Story.confirmed({ sharedEndpoints: true });
    story.moved(BOB, OLD, 1000);
    expect(kinds(story.answered(BOB, 1020))).toEqual(["confirmed"]);
    expect(story.state(ALICE)).toBe("confirmed");
  });
});

describe("an address that two homes claim and none has confirmed", () => {
  const both = () => {
    const story = new Story();
    story.moved(ALICE, NEW, 0);
    story.moved(BOB, NEW, 10);
    return story;
  };

  it("belongs to the first that answers", () => {
    const story = both();
    expect(kinds(story.answered(BOB, 20))).toEqual(["confirmed"]);
    expect(kinds(story.answered(ALICE, 25))).toEqual(["refused", "probe"]);
    expect(story.state(ALICE)).toBe("unproven");
  });

  it("is held for the other", () => {
    const story = both();
    story.answered(BOB, 20);
    story.answered(ALICE, 25);
    story.answered(BOB, 30);
    expect(story.until(1000)).toContain("1000 hold");
    expect([story.state(ALICE), story.state(BOB)]).toEqual(["held", "confirmed"]);
  });
});

describe("a flood of advertisements", () => {
  const addresses = Array.from({ length: 100 }, (_, i) => `192.0.2.${i + 1}` as Ipv4Address);
  const flooded = () => {
    const story = new Story();
    const effects = addresses.flatMap((address) => story.moved(ALICE, address, 0));
    return { story, effects };
  };

  it("is refused beyond 20 at once", () => {
    const { story, effects } = flooded();
    expect(effects.filter(({ kind }) => kind === "set-remote")).toHaveLength(20);
    expect(effects.at(-1)).toEqual({
      kind: "refused",
      tunnel: ALICE,
      reason: "advertisement-rate",
      address: addresses.at(-1),
    });
    expect(story.table.statusOf(ALICE)?.refused["advertisement-rate"]).toBe(80);
  });

  it("is let through again at 10 a second", () => {
    const { story } = flooded();
    expect(kinds(story.moved(ALICE, NEW, 100))).toContain("set-remote");
    expect(kinds(story.moved(ALICE, OLD, 150))).toEqual(["refused"]);
  });

  it("does not touch other homes", () => {
    expect(kinds(flooded().story.moved(BOB, OLD, 0))).toContain("set-remote");
  });

  it("buys no more than a second of traffic on credit", () => {
    const { story } = flooded();
    const seen: string[] = [];
    for (let now = 100; now <= 3000; now += 100) {
      seen.push(...story.until(now), ...kinds(story.moved(ALICE, now % 200 ? OLD : NEW, now)));
    }
    expect(seen.filter((line) => line.endsWith("hold"))).toEqual(["1000 hold"]);
    expect(seen).not.toContain("release");
  });

  it("can be limited differently", () => {
    const story = new Story({ advertisementLimit: { rate: 1, burst: 1 } });
    story.moved(ALICE, OLD, 0);
    expect(kinds(story.moved(ALICE, NEW, 999))).toEqual(["refused"]);
    expect(kinds(story.moved(ALICE, NEW, 1000))).toContain("set-remote");
  });
});

describe("a restored endpoint", () => {
  it("is held before it is set, and not written down again", () => {
    expect(new Story().restored(ALICE, OLD, 0)).toEqual([
      { kind: "hold", tunnel: ALICE },
      { kind: "set-remote", tunnel: ALICE, remote: { address: OLD, port: 4500 } },
    ]);
  });

  it("is probed soon, then with back-off", () => {
    const story = new Story();
    story.restored(ALICE, OLD, 0);
    expect(story.until(4000)).toEqual(["1 probe", "1001 probe", "3001 probe"]);
  });

  it("is released by an answer, which is no move", () => {
    const story = new Story();
    story.restored(ALICE, OLD, 0);
    expect(story.answered(ALICE, 30)).toEqual([{ kind: "release", tunnel: ALICE }]);
    expect(story.table.statusOf(ALICE)).toMatchObject({ lastMoveMs: undefined, moves: 0 });
  });

  it("is probed in turn: 10,000 homes are asked in 10 s", () => {
    const homes = Array.from({ length: 10_000 }, (_, i) => `home${i}` as TunnelName);
    const story = new Story({}, homes);
    homes.forEach((home, i) => {
      story.restored(home, `198.18.${i >> 8}.${i & 255}` as Ipv4Address, 0);
    });
    const first = new Map<string, number>();
    for (const [time, effect] of runUntil(story.table, 10_000)) {
      if (!first.has(effect.tunnel)) first.set(effect.tunnel, time);
    }
    expect(first.size).toBe(10_000);
    expect(new Set(first.values()).size).toBe(10_000);
  });

  it("gives way to what was heard since", () => {
    const story = Story.confirmed();
    expect(story.restored(ALICE, NEW, 30)).toEqual([]);
  });
});

describe("a table", () => {
  it("knows nothing of a home that is not in it", () => {
    const story = new Story({}, []);
    expect(story.moved(ALICE, NEW, 0)).toEqual([]);
    expect(story.table.statusOf(ALICE)).toBeUndefined();
  });

  it("forgets a home that is removed, with its deadline", () => {
    const story = new Story();
    story.moved(ALICE, NEW, 0);
    story.remove(ALICE, 10);
    expect(story.table.deadline).toBeUndefined();
    expect(story.answered(ALICE, 20)).toEqual([]);
  });

  it("leaves a home that is added twice as it is", () => {
    const story = Story.confirmed();
    story.table.handle({ kind: "add", tunnel: ALICE }, at(100));
    expect(story.state(ALICE)).toBe("confirmed");
  });

  it("says of a home that was never heard of just that", () => {
    expect(new Story().table.statusOf(ALICE)).toEqual({
      state: "none",
      endpoint: undefined,
      since: 0,
      lastMoveMs: undefined,
      moves: 0,
      refused: { "advertisement-rate": 0, "endpoint-in-use": 0 },
    });
  });

  it("does all that is due when called late", () => {
    const story = new Story();
    story.moved(ALICE, OLD, 0);
    story.moved(BOB, NEW, 0);
    const late = story.table.handleDeadline(at(10_000));
    expect(late.filter(({ kind }) => kind === "hold").map(({ tunnel }) => tunnel)).toEqual([
      ALICE,
      BOB,
    ]);
    expect(story.table.deadline).toBeGreaterThan(10_000);
  });
});
