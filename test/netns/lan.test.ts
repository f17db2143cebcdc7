/**
 * A home's LAN, judged by a real kernel's autoconfiguration and by rdisc6:
 *
 *     ┌ host ──────┐        ┌ home alice ────────────────────┐
 *     │       lan0 ── LAN ── lan0 2001:db8:a:1::1            │
 *     │ by RA:     │        │ ht0  2001:db8:a::1 ═══ tunnel ═══ server ── far
 *     │ 2001:db8:a:1:…      └────────────────────────────────┘
 *     └────────────┘
 */

import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { canUseNamespaces, eventually, type Namespace } from "../support/namespace.ts";
import { daemonsAreBuilt, FAR, type LabHome, TunnelLab } from "../support/tunnel-lab.ts";

const LAN = "2001:db8:a:1:";
const DNS = "2001:db8:ffff::53";
/** Seconds. */
const DEAD_AFTER = 2;

const hasRdisc6 = spawnSync("rdisc6", ["--version"]).error === undefined;
if (!hasRdisc6) process.stderr.write("skipped: rdisc6 is not installed (package ndisc6)\n");

interface HostAddress {
  readonly local: string;
  readonly deprecated?: boolean;
  readonly dynamic?: boolean;
  readonly preferred_life_time: number;
  readonly valid_life_time: number;
}

describe.skipIf(!canUseNamespaces({ tun: true }) || !daemonsAreBuilt())("a home's LAN", () => {
  let lab: TunnelLab;
  let home: LabHome;
  let host: Namespace;

  const addresses = async (prefix = LAN): Promise<HostAddress[]> => {
    const [link] = JSON.parse(await host.run("ip -j -6 addr show dev lan0")) as {
      addr_info?: HostAddress[];
    }[];
    return (link?.addr_info ?? []).filter(({ local }) => local.startsWith(prefix));
  };
  const defaultRoutes = async () => (await host.run("ip -6 route show default")).trim();
  const settled = (fits: (state: { own: HostAddress[]; routes: string }) => boolean) =>
    eventually(async () => {
      const state = { own: await addresses(), routes: await defaultRoutes() };
      return fits(state) ? state : undefined;
    }, 30_000);
  const pinged = (to: string) =>
    eventually(() => host.run(["ping", "-n", "-c1", "-W1", to]).catch(() => undefined), 20_000);

  /** Puts lines before the tables of the client's file. */
  const configure = async (lines: readonly string[]) => {
    const { configFile } = home.client;
    const text = await readFile(configFile, "utf8");
    await writeFile(configFile, `${lines.join("\n")}\n${text}`, { mode: 0o600 });
  };

  beforeAll(async () => {
    lab = await TunnelLab.build({
      homes: [{ name: "alice", tunnel: "liveness-interval = 1" }],
    });
    home = lab.home("alice");
    host = await lab.lab.namespace("host");
    await configure([
      `lan = { interfaces = ["lan0"], dns = ["${DNS}"], dead-after = ${DEAD_AFTER} }`,
    ]);
    await home.namespace.run("sysctl -qw net.ipv6.conf.all.forwarding=0");
    await lab.server.start();
    await home.client.start();
  });

  afterAll(async () => {
    await lab?.dispose();
  });

  it("may have an interface that is not there yet", async () => {
    await lab.confirmed(home, home.ipv4(7));
    expect(home.client.running.stderr).toContain("LAN interface missing");
    await lab.lab.connect(home.namespace, "lan0", host, "lan0");
    const own = await eventually(async () => {
      const found = await home.namespace.run("ip -6 -o addr show dev lan0 scope global");
      return found === "" ? undefined : found;
    });
    expect(own).toContain("2001:db8:a:1::1/64");
  });

  it("makes the home a router, and says so", async () => {
    const forwarding = "sysctl -n net.ipv6.conf.all.forwarding";
    expect((await home.namespace.run(forwarding)).trim()).toBe("1");
    expect(home.client.running.stderr).toContain("IPv6 forwarding enabled");
  });

  it("gives hosts an address, a default route and the tunnel's MTU", async () => {
    const { own, routes } = await settled((state) => state.own.length > 0 && state.routes !== "");
    expect(own).toHaveLength(1);
    expect(own[0]).toMatchObject({ dynamic: true });
    expect(own[0]?.valid_life_time).toBeGreaterThan(5_300);
    expect(own[0]?.preferred_life_time).toBeLessThanOrEqual(2_700);
    expect(routes).toContain("proto ra");
    const { mtu } = await home.client.status();
    expect((await host.run("sysctl -n net.ipv6.conf.lan0.mtu")).trim()).toBe(String(mtu));
  });

  it("reaches the world and is reached", async () => {
    await pinged(FAR);
    const [own] = await addresses();
    expect(own).toBeDefined();
    await home.isReachedFrom(lab.far);
    await lab.far.run(["ping", "-n", "-c1", "-W5", own?.local ?? ""]);
  });

  it("has unused parts of the prefix answered as unreachable, not sent round in circles", async () => {
    const answer = await lab.far
      .run(["ping", "-n", "-c1", "-W5", "2001:db8:a:77::1"])
      .catch((error: { stdout: string }) => error.stdout);
    expect(answer).toMatch(/unreachable|No route/i);
  });

  it.skipIf(!hasRdisc6)("answers a router solicitation as rdisc6 wants it", async () => {
    const answer = await host.run(["rdisc6", "-1", "-w", "2000", "lan0"]);
    expect(answer).toMatch(/Router lifetime\s*:\s*1800/);
    expect(answer).toMatch(/Hop limit\s*:\s*64/);
    expect(answer).toMatch(/Prefix\s*:\s*2001:db8:a:1::\/64/);
    expect(answer).toMatch(/On-link\s*:\s*Yes/);
    expect(answer).toMatch(/Autonomous address conf\.\s*:\s*Yes/);
    expect(answer).toMatch(/Valid time\s*:\s*5400/);
    expect(answer).toMatch(/Pref\. time\s*:\s*2700/);
    expect(answer).toMatch(/Recursive DNS server\s*:\s*2001:db8:ffff::53/);
    const { mtu } = await home.client.status();
    expect(answer).toMatch(new RegExp(`MTU\\s*:\\s*${mtu} bytes`));
    expect(answer).toMatch(/Source link-layer address/);
  });

  it("is told when the tunnel is long dead, and when it is back", async () => {
    await lab.server.stop();
    const dead = await settled(({ own, routes }) => routes === "" && own[0]?.deprecated === true);
    expect(dead.own[0]).toMatchObject({ preferred_life_time: 0 });
    expect(home.client.running.stderr).toContain("LAN is told that the tunnel is dead");
    await lab.server.start();
    const back = await settled(({ own, routes }) => routes !== "" && own[0]?.deprecated !== true);
    expect(back.own[0]?.preferred_life_time).toBeGreaterThan(2_600);
    await pinged(FAR);
  });

  it("survives its interface being made anew", async () => {
    await home.namespace.run("ip link del lan0");
    await eventually(async () =>
      (await host.run("ip -o link")).includes("lan0") ? undefined : true,
    );
    await lab.lab.connect(home.namespace, "lan0", host, "lan0");
    await settled((state) => state.own.length === 1 && state.routes !== "");
    await pinged(FAR);
  });

  it("keeps its address over a crash of the daemon", async () => {
    await home.client.crash();
    const [before] = await addresses();
    await home.client.start();
    await lab.confirmed(home, home.ipv4(7));
    await pinged(FAR);
    expect((await addresses())[0]?.local).toBe(before?.local);
    const own = await home.namespace.run("ip -6 -o addr show dev lan0 scope global");
    expect(own.trim().split("\n")).toHaveLength(1);
  });

  it("is told of a new prefix, and the old one is taken back", async () => {
    await home.client.stop();
    await settled(({ own, routes }) => routes === "" && own[0]?.deprecated === true);
    expect(await home.namespace.run("ip -6 -o addr show dev lan0 scope global")).toBe("");
    expect(await home.namespace.run("ip -6 route show type unreachable")).not.toContain("db8");

    const { configFile } = home.client;
    const text = await readFile(configFile, "utf8");
    await writeFile(configFile, text.replace("2001:db8:a::/48", "2001:db8:b::/48"));
    await home.client.start();
    const [renumbered] = await eventually(async () => {
      const found = await addresses("2001:db8:b:1:");
      return found.length > 0 ? found : undefined;
    }, 20_000);
    expect(renumbered?.preferred_life_time).toBeGreaterThan(2_600);
    expect((await addresses())[0]).toMatchObject({ preferred_life_time: 0 });
    if (hasRdisc6) {
      const answer = await host.run(["rdisc6", "-1", "-w", "2000", "lan0"]);
      expect(answer).toMatch(/2001:db8:b:1::\/64/);
      expect(answer).toMatch(/2001:db8:a:1::\/64/);
    }
  });

  it("is written to a file instead, for other daemons", async () => {
    await home.client.stop();
    const { configFile } = home.client;
    const text = await readFile(configFile, "utf8");
    const file = join(lab.directory, "lan.json");
    await writeFile(
      configFile,
      text
        .replace(/^lan = .*$/m, `lan = { interfaces = ["lan0"], export-file = "${file}" }`)
        .replace(/^/, 'lan-mode = "export"\n')
        .replace("2001:db8:b::/48", "2001:db8:a::/48"),
    );
    await home.client.start();
    const read = async () => JSON.parse(await readFile(file, "utf8")) as { state: string };
    const exported = await eventually(async () => {
      if (!existsSync(file)) return undefined;
      const found = await read();
      return found.state === "up" ? found : undefined;
    });
    expect(exported).toMatchObject({
      version: 1,
      routerLifetime: 1_800,
      lans: [{ interface: "lan0", prefix: "2001:db8:a:1::/64", address: "2001:db8:a:1::1" }],
    });
    expect(await home.namespace.run("ip -6 -o addr show dev lan0 scope global")).toBe("");
    await home.client.stop();
    expect(await read()).toMatchObject({ state: "stopped", routerLifetime: 0 });
  });
});
