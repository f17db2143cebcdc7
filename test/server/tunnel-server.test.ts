/** What the server tells of its homes: log, status and metrics of one server whose kernel is a table. */

import { afterEach, beforeEach, describe, expect, it, test } from "vitest";
import type { Ipv4Address } from "../../common/ip/address.ts";
import { type ChangeId, changeOption } from "../../common/nd/change.ts";
import type { TunnelName } from "../../common/tunnel/tunnel.ts";
import type { ServerStatus } from "../../server/status.ts";
import { SimulatedServer } from "../support/simulated-server.ts";
import { VirtualClock } from "../support/virtual-clock.ts";

const HOMES = 250;
const CHANGE = "0123456789ab" as ChangeId;
const NONCE = 14;

let clock: VirtualClock;
let simulated: SimulatedServer;

beforeEach(async () => {
  clock = new VirtualClock();
  simulated = await SimulatedServer.open({ homes: HOMES, clock });
});

afterEach(() => simulated.close());

const move = (index: number, address: string, milliseconds = 0) => {
  simulated.advertise(index, address, [changeOption(CHANGE)]);
  clock.advanceTo(clock.now() + milliseconds);
  simulated.answerProbes();
};
const lines = (msg: string) => simulated.log.filter((line) => line.msg === msg);

describe("the change that an advertisement names", () => {
  it("is in the log from the move to its confirmation, and in the status", () => {
    move(1, "192.0.2.7", 20);
    const common = { home: "home-1", change: CHANGE };
    expect(lines("remote endpoint moved")).toMatchObject([{ ...common, current: "192.0.2.7" }]);
    expect(lines("remote endpoint confirmed")).toMatchObject([{ ...common, confirmedInMs: 20 }]);
    const status = simulated.server.statusOf("home-1" as TunnelName);
    expect(status?.lastMove).toMatchObject({ change: CHANGE, confirmedInMs: 20 });
  });

  test.each([
    { name: "none", options: [] },
    { name: "one of 14 octets", options: [{ type: NONCE, value: new Uint8Array(14) }] },
    { name: "two", options: [changeOption(CHANGE), changeOption(CHANGE)] },
  ])("changes nothing but the log: $name", ({ options }) => {
    simulated.advertise(1, "192.0.2.7", options);
    simulated.answerProbes();
    const [moved] = lines("remote endpoint moved");
    expect(moved).toMatchObject({ home: "home-1", current: "192.0.2.7" });
    expect(moved).not.toHaveProperty("change");
    const status = simulated.server.statusOf("home-1" as TunnelName);
    expect(status).toMatchObject({ state: { kind: "confirmed" }, moves: 1 });
  });

  it("of a later advertisement that moves nothing does not rename the move", () => {
    simulated.advertise(1, "192.0.2.7", [changeOption(CHANGE)]);
    simulated.advertise(1, "192.0.2.7", [changeOption("ffffffffffff" as ChangeId)]);
    simulated.answerProbes();
    expect(lines("remote endpoint confirmed")).toMatchObject([{ change: CHANGE }]);
  });
});

describe("a server that begins anew", () => {
  const statusOfHome = () => simulated.server.statusOf("home-1" as TunnelName);

  it("knows how often a home has moved, and how it moved last", async () => {
    move(1, "192.0.2.6", 5);
    move(1, "192.0.2.7", 20);
    const before = statusOfHome();
    simulated = await simulated.restart(clock);
    expect(statusOfHome()).toMatchObject({
      moves: 2,
      since: before?.since,
      lastMove: { from: "192.0.2.6", to: "192.0.2.7", confirmedInMs: 20 },
    });
    move(1, "192.0.2.8");
    expect(statusOfHome()).toMatchObject({
      moves: 3,
      lastMove: { from: "192.0.2.7", to: "192.0.2.8" },
    });
  });

  it("does not say that a home answered where it was not asked any more", async () => {
    simulated.advertise(1, "192.0.2.7");
    simulated = await simulated.restart(clock);
    expect(statusOfHome()?.lastMove?.confirmedInMs).toBeUndefined();
  });
});

describe("a server that ends", () => {
  it("leaves nothing of homes that are being added", async () => {
    const { server, dataPlane, homes } = simulated;
    let finish = () => {};
    dataPlane.busy = new Promise((resolve) => {
      finish = resolve;
    });
    const changing = server.setHomes(homes);
    const closing = server.close();
    finish();
    await Promise.all([changing, closing]);
    expect(dataPlane.interfaceIndex("home-1" as TunnelName)).toBe(0);
  });
});

describe("a home that negotiates keys from elsewhere than it stated", () => {
  const NAT = { address: "198.51.100.254" as Ipv4Address, port: 40_001 };
  const HOME_1 = "home-1" as TunnelName;

  beforeEach(() => {
    move(1, "192.0.2.7");
    simulated.dataPlane.counted.set(HOME_1, { observedSource: NAT });
    simulated.server.keyed(HOME_1, NAT);
    simulated.answerProbes();
  });

  it("stays there when it states the same again: a NAT is before it", () => {
    simulated.advertise(1, "192.0.2.7");
    simulated.answerProbes();
    expect(simulated.server.statusOf(HOME_1)?.endpoint).toEqual(NAT);
  });

  it("is believed when it states the same again and sends from there: it has come back", () => {
    const outside = { address: "192.0.2.7" as Ipv4Address, port: 4500 };
    simulated.dataPlane.counted.set(HOME_1, { observedSource: outside });
    move(1, outside.address);
    expect(simulated.server.statusOf(HOME_1)?.endpoint).toEqual(outside);
  });

  it("is believed when it states the same again and nobody sees whence: protocol 50", () => {
    simulated.dataPlane.counted.set(HOME_1, { observedSource: undefined });
    move(1, "192.0.2.7");
    expect(simulated.server.statusOf(HOME_1)?.endpoint?.address).toBe("192.0.2.7");
  });

  it("is believed where it then states to be, and sends from", () => {
    const outside = { address: "192.0.2.8" as Ipv4Address, port: 4500 };
    simulated.dataPlane.counted.set(HOME_1, { observedSource: outside });
    move(1, outside.address);
    expect(simulated.server.statusOf(HOME_1)?.endpoint).toEqual(outside);
    move(1, "192.0.2.9");
    expect(simulated.server.statusOf(HOME_1)?.endpoint?.address).toBe("192.0.2.9");
  });
});

describe("the status in pieces", () => {
  const inPieces = (query = {}): ServerStatus =>
    JSON.parse(SimulatedServer.textOf(simulated.server.statusPieces(query)));
  const whole = (query = {}) => JSON.parse(JSON.stringify(simulated.server.status(query)));

  test.each([{}, { limit: 0 }, { limit: 50 }, { state: "held" }, { sort: "name", limit: 101 }])(
    "is the status: %j",
    (query) => {
      move(3, "192.0.2.7");
      expect(inPieces(query)).toEqual(whole(query));
    },
  );

  it("shows the busiest homes when asked", () => {
    simulated.dataPlane.counted.set("home-7" as TunnelName, { sentOctets: 9 });
    simulated.dataPlane.counted.set("home-8" as TunnelName, { receivedOctets: 10 });
    const { homes, matching } = inPieces({ sort: "traffic", limit: 2 });
    expect(homes.map(({ name }) => name)).toEqual(["home-8", "home-7"]);
    expect(matching).toBe(HOMES);
  });

  it("leaves out homes that are removed while it is told", async () => {
    const pieces = simulated.server.statusPieces({ sort: "name" });
    let text = "";
    for (const piece of pieces) {
      text += piece;
      if (text.endsWith('"homes":[')) await simulated.server.setHomes(simulated.homes.slice(0, 3));
    }
    const names = (JSON.parse(text) as ServerStatus).homes.map(({ name }) => name);
    expect(names).toEqual(["home-0", "home-1", "home-2"]);
  });

  it("is told while the homes are being changed", async () => {
    const changing = simulated.server.setHomes(simulated.homes.slice(1));
    expect(inPieces().homes).toHaveLength(HOMES);
    await changing;
    expect(inPieces().homes).toHaveLength(HOMES - 1);
  });
});

it("knows since when a home is where it is, from before its own start too", async () => {
  move(0, "192.0.2.7");
  const at = simulated.server.statusOf("home-0" as TunnelName)?.since;
  expect(at).toBe(clock.wall());
});
