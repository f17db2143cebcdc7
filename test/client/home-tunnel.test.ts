/** What the client tells of a change of address, and that the server tells it by the same name. */

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { parseClientConfig } from "../../client/config.ts";
import { HomeTunnel } from "../../client/home-tunnel.ts";
import { clientMetrics } from "../../client/metrics.ts";
import type { NeighborListeners } from "../../common/adapters/neighbor-socket.ts";
import { ProcessMetrics } from "../../common/adapters/process-metrics.ts";
import { goodOrThrow } from "../../common/config/mistakes.ts";
import { parseIpv4 } from "../../common/ip/address.ts";
import { Icmpv6Type, withIcmpv6Checksum } from "../../common/ip/icmpv6.ts";
import { changeOf } from "../../common/nd/change.ts";
import {
  decodeNeighborAdvertisement,
  encodeNeighborAdvertisement,
} from "../../common/nd/neighbor-advertisement.ts";
import { openLog } from "../../common/runtime/log.ts";
import { CLIENT_TEXT } from "../support/config-text.ts";
import { CountersOnly } from "../support/counters-only.ts";
import { parseExposition } from "../support/exposition.ts";
import { judgeByPromtool } from "../support/promtool.ts";
import { type LogLine, SimulatedServer } from "../support/simulated-server.ts";
import { VirtualClock } from "../support/virtual-clock.ts";

const config = goodOrThrow(
  parseClientConfig({ file: "client.toml", text: CLIENT_TEXT, exposed: false }),
);
const { linkLocal, serverLinkLocal } = config.tunnel;

let clock: VirtualClock;
let home: HomeTunnel;
let log: LogLine[];
let sent: Uint8Array[];
let stateProblem: string | undefined;
let listeners: NeighborListeners | undefined;

beforeEach(async () => {
  clock = new VirtualClock();
  log = [];
  sent = [];
  stateProblem = undefined;
  let randomness = 0;
  home = new HomeTunnel({
    config,
    clock,
    dataPlane: new CountersOnly(),
    health: {
      get problem() {
        return stateProblem;
      },
    },
    watcher: { hint: () => undefined, hints: 3 },
    openNeighbors: (_interface, given) => {
      listeners = given;
      return { send: (_destination, icmp) => sent.push(icmp), close: () => undefined };
    },
    isRouter: () => true,
    randomOctets: (count) => {
      randomness += 1;
      return new Uint8Array(count).fill(randomness);
    },
    version: "0.0.0",
    log: openLog(
      { level: "debug", format: "json" },
      { stream: { write: (line) => log.push(JSON.parse(line)) } },
    ),
  });
  await home.open((error) => {
    throw error;
  });
});

afterEach(() => home.close());

const follow = (address: string) =>
  home.follow({
    address: parseIpv4(address),
    interfaceIndex: 2,
    interfaceName: "wan",
    mtu: 1_500,
  });

/** The server's answer to a solicitation. */
const answer = () => {
  const icmp = encodeNeighborAdvertisement({
    router: true,
    solicited: true,
    override: true,
    target: serverLinkLocal,
    options: [],
  });
  const checked = withIcmpv6Checksum(serverLinkLocal, linkLocal, icmp);
  listeners?.onAdvertisement(checked, serverLinkLocal);
};

const advertisements = () => sent.filter((icmp) => icmp[0] === Icmpv6Type.neighborAdvertisement);
const named = () =>
  advertisements().map((icmp) => changeOf(decodeNeighborAdvertisement(icmp).options));
const changesOf = (msg: string) =>
  log.filter((line) => line.msg === msg).map(({ change }) => change);

describe("a change of address", () => {
  it("has one name in all lines about it, and in all its advertisements", () => {
    follow("192.0.2.7");
    clock.advanceTo(1_500);
    answer();
    clock.advanceTo(3_500);
    const [name] = changesOf("address towards the server");
    expect(name).toMatch(/^[0-9a-f]{12}$/);
    expect(new Set(changesOf("advertisement sent"))).toEqual(new Set([name]));
    expect(changesOf("tunnel up, the server has our address")).toEqual([name]);
    expect(named()).toEqual([name, name, name]);
    expect(home.status().lastMove).toMatchObject({ change: name, confirmedInMs: 1_500 });
  });

  it("has another name than the one before", () => {
    follow("192.0.2.7");
    answer();
    follow("192.0.2.8");
    const [first, second] = changesOf("address towards the server");
    expect(second).not.toBe(first);
    expect(named().at(-1)).toBe(second);
  });

  it("has the same name in the server's log", async () => {
    const simulated = await SimulatedServer.open({ homes: 1, clock });
    follow("192.0.2.7");
    for (const icmp of advertisements()) simulated.hear(1, icmp);
    simulated.answerProbes();
    answer();
    const [change] = changesOf("tunnel up, the server has our address");
    const story = simulated.log.filter((line) => "change" in line);
    expect(story).toMatchObject([
      { msg: "remote endpoint moved", change, current: "192.0.2.7" },
      { msg: "remote endpoint confirmed", change },
    ]);
    await simulated.close();
  });

  it("is confirmed so long after it came, however often it was announced meanwhile", () => {
    follow("192.0.2.7");
    clock.advanceTo(90_000);
    home.announce();
    expect(home.status().state.since).toBe(Date.UTC(2026, 0, 1));
    clock.advanceTo(90_003);
    answer();
    expect(home.status().lastMove).toMatchObject({ confirmedInMs: 90_003 });
  });

  it("keeps its name when it is announced again", () => {
    follow("192.0.2.7");
    answer();
    home.announce();
    answer();
    expect(new Set(named()).size).toBe(1);
  });
});

describe("the client's metrics", () => {
  const own = new ProcessMetrics({ program: "hometun", version: "0.0.0" });
  const scrape = () => [...clientMetrics({ process: own, tunnel: home })].join("");
  const measured = (name: string, labels = {}) =>
    parseExposition(scrape())
      .get(name.replace(/_(sum|count)$/, ""))
      ?.samples.find(
        (sample) =>
          sample.name === name &&
          Object.entries(labels).every(([key, value]) => sample.labels[key] === value),
      )?.value;

  it("tell the state, before an address is there too", () => {
    expect(measured("hometun_client_state", { state: "no-address" })).toBe(1);
    expect(measured("hometun_client_state", { state: "confirmed" })).toBe(0);
    expect(measured("hometun_client_uplink_mtu_bytes")).toBeUndefined();
    expect(measured("hometun_client_hints_total")).toBe(3);
  });

  it("tell moves and how long their confirmation took", () => {
    follow("192.0.2.7");
    clock.advanceTo(40);
    answer();
    follow("192.0.2.8");
    clock.advanceTo(100);
    answer();
    expect(measured("hometun_client_state", { state: "confirmed" })).toBe(1);
    expect(measured("hometun_client_moves_total")).toBe(2);
    expect(measured("hometun_client_state_written")).toBe(1);
    expect(measured("hometun_client_confirmation_seconds_count")).toBe(2);
    expect(measured("hometun_client_confirmation_seconds_sum")).toBeCloseTo(0.1);
    expect(measured("hometun_client_last_move_confirmation_seconds")).toBe(0.06);
    expect(measured("hometun_client_advertisements_sent_total")).toBe(2);
    expect(measured("hometun_client_solicitations_sent_total")).toBe(2);
  });

  it("tell how often the server was lost", () => {
    follow("192.0.2.7");
    answer();
    clock.advanceTo(70_000);
    expect(measured("hometun_client_server_losses_total")).toBe(1);
    expect(measured("hometun_client_state", { state: "confirmed" })).toBe(0);
  });

  it("are good in the eyes of promtool", ({ skip }) => {
    follow("192.0.2.7");
    answer();
    const { found, complaints } = judgeByPromtool(scrape());
    if (!found) skip("promtool is not installed (Debian: prometheus)");
    expect(complaints).toBe("");
  });

  it("are all in the guide", () => {
    follow("192.0.2.7");
    const guide = readFileSync(join(import.meta.dirname, "../../docs/monitoring.md"), "utf8");
    for (const name of parseExposition(scrape()).keys()) expect(guide).toContain(`\`${name}\``);
  });
});
