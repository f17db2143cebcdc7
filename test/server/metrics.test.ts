/** The metrics, judged by a strict reader, by promtool where it is installed, and by the dashboard that uses them. */

import { spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { serveMetrics } from "../../common/adapters/metrics-server.ts";
import { ProcessMetrics } from "../../common/adapters/process-metrics.ts";
import { systemClock } from "../../common/adapters/system-clock.ts";
import type { TunnelName } from "../../common/tunnel/tunnel.ts";
import { type MeteredServer, serverMetrics } from "../../server/metrics.ts";
import { type Family, parseExposition } from "../support/exposition.ts";
import { judgeByPromtool } from "../support/promtool.ts";
import { benchmarkAddress, SimulatedServer } from "../support/simulated-server.ts";
import { VirtualClock } from "../support/virtual-clock.ts";

let own: ProcessMetrics;
let simulated: SimulatedServer | undefined;

beforeEach(() => {
  own = new ProcessMetrics({ program: "hometun-server", version: "0.0.0" });
});

afterEach(async () => {
  own.close();
  await simulated?.close();
  simulated = undefined;
});

const open = async (homes: number) => {
  const clock = new VirtualClock();
  simulated = await SimulatedServer.open({ homes, clock });
  return { clock, simulated };
};

const scrape = () => {
  const server = simulated === undefined ? undefined : withKeys(simulated.server);
  return SimulatedServer.textOf(
    serverMetrics({ process: own, server, now: () => performance.now() }),
  );
};

/** The same as a server whose homes have negotiated keys. */
const withKeys = (server: MeteredServer): MeteredServer => ({
  homeNames: () => server.homeNames(),
  totals: () => ({
    ...server.totals(),
    ike: { handshakes: 3, rekeys: 2, cookies: 1, refused: { "ike-rate": 4 }, closed: { peer: 1 } },
  }),
  statusOf: (name) => {
    const status = server.statusOf(name);
    if (status === undefined) return undefined;
    const sa = { suite: "aes-gcm-128" as const, since: 1_000 };
    return {
      ...status,
      keys: {
        ...{ state: "established", since: 1_000, ikeSas: 1, rekeys: 5 },
        ike: [{ suite: "aes-gcm-256, hmac-sha2-256, x25519", since: 1_000, rekeys: 2 }],
        associations: [{ ...sa, spi: 256, isSentWith: true, packetsLeft: 7, octetsLeft: 9_000 }],
      },
    };
  },
});

const measured = (families: Map<string, Family>, name: string, labels = {}) =>
  families.get(name.replace(/_(bucket|sum|count)$/, ""))?.samples.find((sample) => {
    const wanted = Object.entries(labels);
    return sample.name === name && wanted.every(([key, value]) => sample.labels[key] === value);
  })?.value;

/** Three homes: one moved twice and confirmed, one with a refused advertisement, one never heard of. */
const story = async () => {
  const { clock, simulated: it } = await open(3);
  it.advertise(0, "192.0.2.7");
  clock.advanceTo(30);
  it.answerProbes();
  it.advertise(0, "192.0.2.8");
  clock.advanceTo(70);
  it.answerProbes();
  it.advertise(1, "192.0.2.8");
  it.advertise(1, "127.0.0.1");
  it.dataPlane.counted.set("home-0" as TunnelName, {
    ...{ sentPackets: 3, sentOctets: 3_000, receivedPackets: 2, receivedOctets: 200 },
    refused: { replayed: 5 },
  });
  return parseExposition(scrape());
};

describe("the server's metrics", () => {
  it("are there for every configured home, also those that are down", async () => {
    const families = await story();
    const states = families.get("hometun_home_state")?.samples.map(({ labels }) => labels);
    expect(states).toEqual([
      { home: "home-0", state: "confirmed" },
      { home: "home-1", state: "never-heard" },
      { home: "home-2", state: "never-heard" },
    ]);
    const homes = (state: string) => measured(families, "hometun_server_homes", { state });
    expect([homes("confirmed"), homes("never-heard"), homes("held")]).toEqual([1, 2, 0]);
  });

  it("tell of negotiated keys, of all homes together and of each", async () => {
    const families = await story();
    const of = { home: "home-1" };
    expect(measured(families, "hometun_server_ike_handshakes_total")).toBe(3);
    expect(measured(families, "hometun_server_ike_refused_total", { reason: "ike-rate" })).toBe(4);
    expect(measured(families, "hometun_home_ike_sas", of)).toBe(1);
    expect(measured(families, "hometun_home_sa_rekeys_total", of)).toBe(5);
    expect(measured(families, "hometun_home_sa_timestamp_seconds", of)).toBe(1);
    expect(measured(families, "hometun_home_sa_bytes_left", of)).toBe(9_000);
  });

  it("tell how long moves took", async () => {
    const families = await story();
    const name = "hometun_server_move_confirmation_seconds";
    expect(measured(families, `${name}_count`)).toBe(2);
    expect(measured(families, `${name}_sum`)).toBeCloseTo(0.07);
    expect(measured(families, `${name}_bucket`, { le: "0.05" })).toBe(2);
    expect(measured(families, `${name}_bucket`, { le: "0.025" })).toBe(0);
    const home = { home: "home-0" };
    expect(measured(families, "hometun_home_last_move_confirmation_seconds", home)).toBe(0.04);
    expect(measured(families, "hometun_home_moves_total", home)).toBe(2);
    expect(measured(families, "hometun_home_endpoint_timestamp_seconds", home)).toBeCloseTo(
      Date.UTC(2026, 0, 1) / 1000 + 0.03,
    );
  });

  it("tell refusals by reason, those of no home apart", async () => {
    const families = await story();
    const refused = "hometun_server_advertisements_refused_total";
    expect(measured(families, refused, { reason: "endpoint-in-use" })).toBe(1);
    expect(measured(families, refused, { reason: "address-not-unicast" })).toBe(1);
    expect(measured(families, refused, { reason: "checksum" })).toBe(0);
    const ofHome = { home: "home-1", reason: "endpoint-in-use" };
    expect(measured(families, "hometun_home_advertisements_refused_total", ofHome)).toBe(1);
    const packets = { home: "home-0", reason: "replayed" };
    expect(measured(families, "hometun_home_refused_packets_total", packets)).toBe(5);
    const nobodys = "hometun_server_unattributed_packets_total";
    expect(measured(families, nobodys, { reason: "unknown-spi" })).toBe(7);
  });

  it("tell traffic in octets and packets", async () => {
    const families = await story();
    const value = (name: string) =>
      measured(families, `hometun_home_${name}_total`, { home: "home-0" });
    expect(value("sent_bytes")).toBe(3_000);
    expect(value("sent_packets")).toBe(3);
    expect(value("received_bytes")).toBe(200);
    expect(value("received_packets")).toBe(2);
  });

  it("tell nobody's address", async () => {
    await story();
    expect(scrape()).not.toContain("192.0.2.");
  });

  it("tell of the process while the daemon starts", () => {
    const families = parseExposition(scrape());
    expect(measured(families, "hometun_build_info", { version: "0.0.0" })).toBe(1);
    expect(measured(families, "process_resident_memory_bytes")).toBeGreaterThan(1_000_000);
    expect(families.has("hometun_server_homes")).toBe(false);
  });

  it("are good in the eyes of promtool", async ({ skip }) => {
    await story();
    const { found, complaints } = judgeByPromtool(scrape());
    if (!found) skip("promtool is not installed (Debian: prometheus)");
    expect(complaints).toBe("");
  });

  it("of 10,000 homes cost less than a second, and others have their turn meanwhile", async () => {
    const { simulated: it } = await open(10_000);
    for (let index = 0; index < 10_000; index++) it.advertise(index, benchmarkAddress(index));
    it.answerProbes();
    const now = systemClock().now;
    const source = () => serverMetrics({ process: own, server: it.server, now });
    const fail = (error: unknown): void => {
      throw error;
    };
    const served = await serveMetrics({ kind: "tcp", host: "127.0.0.1", port: 0 }, source, fail);
    const { listen } = served;
    if (listen.kind !== "tcp") throw new Error("expected TCP");
    let turns = 0;
    let counting = true;
    const count = () => {
      turns += 1;
      if (counting) setImmediate(count);
    };
    count();
    // Read by another process, as it is in life: reading 7 MB would be our own stall.
    const before = process.cpuUsage();
    const text = await readElsewhere(listen.port);
    const { user, system } = process.cpuUsage(before);
    counting = false;
    await served.close();
    const families = parseExposition(text);
    expect(families.get("hometun_home_state")?.samples).toHaveLength(10_000);
    // Not by the clock: others may use this machine. A step for 100 homes is a few milliseconds.
    expect((user + system) / 1000).toBeLessThan(1_000);
    expect(turns).toBeGreaterThan(10_000 / 100);
  }, 60_000);
});

describe("the dashboard", () => {
  interface Panel {
    readonly title: string;
    readonly type: string;
    readonly targets?: readonly { readonly expr: string }[];
  }
  const file = join(import.meta.dirname, "../../docs/grafana/hometun-server.json");
  const dashboard = JSON.parse(readFileSync(file, "utf8")) as {
    readonly uid: string;
    readonly id: unknown;
    readonly title: string;
    readonly schemaVersion: number;
    readonly panels: readonly Panel[];
    readonly templating: { readonly list: readonly { readonly query?: unknown }[] };
  };
  const expressions = dashboard.panels.flatMap(({ targets = [] }) =>
    targets.map(({ expr }) => expr),
  );

  it("can be provisioned: it has a uid, a title and no id of some database", () => {
    expect(dashboard).toMatchObject({ uid: "hometun-server", id: null, schemaVersion: 39 });
    for (const { type, targets } of dashboard.panels) {
      expect(type === "row" || (targets?.length ?? 0) > 0).toBe(true);
    }
  });

  it("shows only metrics that the server has, and labels that they have", async () => {
    const families = await story();
    const queries = [
      ...expressions,
      ...dashboard.templating.list.map(({ query }) => JSON.stringify(query)),
    ];
    const named = queries.flatMap(
      (each) => each.match(/\b(hometun|process|nodejs)_[a-z0-9_]+/g) ?? [],
    );
    expect(named.length).toBeGreaterThan(15);
    for (const name of named) {
      expect(
        families.has(name) || families.has(name.replace(/_(bucket|sum|count)$/, "")),
        name,
      ).toBe(true);
    }
  });

  it("counts by what is there: every metric of the server is on it or in the guide", async () => {
    const families = await story();
    const guide = readFileSync(join(import.meta.dirname, "../../docs/monitoring.md"), "utf8");
    for (const name of families.keys()) expect(guide, name).toContain(`\`${name}\``);
  });
});

function readElsewhere(port: number): Promise<string> {
  const program = `
    const http = require("node:http");
    http.get("http://127.0.0.1:${port}/metrics", (answer) => answer.pipe(process.stdout));`;
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, ["-e", program], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    let text = "";
    child.stdout.setEncoding("utf8");
    child.stdout.on("data", (piece: string) => {
      text += piece;
    });
    child.on("error", reject);
    child.on("close", () => resolve(text));
  });
}
