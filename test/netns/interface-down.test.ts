/**
 * Somebody sets a tunnel's interface down and up again, for which Linux takes its addresses and routes; or a daemon is
 * dead, and nobody gives them back. What was for the tunnel meanwhile goes nowhere, though the ISP has IPv6 of its own.
 *
 *     ┌ alice ──────┐                              ┌ server ─────────┐        ┌ far ┐
 *     │ hometun  wan ── 192.0.2.7 ── router ── 198.51.100.1      wan ├── lan ─┤     │
 *     │ ht0         │                              │ ht-alice        │        └─────┘
 *     └─────────────┘                              └─────────────────┘
 */

import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Capture } from "../support/capture.ts";
import { offerIspIpv6, strayPackets } from "../support/isp-ipv6.ts";
import { canUseNamespaces, type Namespace } from "../support/namespace.ts";
import { daemonsAreBuilt, FAR, homeIn, type LabHome, TunnelLab } from "../support/tunnel-lab.ts";

const skipped = !canUseNamespaces({ tun: true }) || !daemonsAreBuilt();

describe.skipIf(skipped)("a tunnel's interface that is set down and up", () => {
  let lab: TunnelLab;
  let alice: LabHome;

  beforeAll(async () => {
    lab = await TunnelLab.build({ homes: [{ name: "alice" }] });
    alice = lab.home("alice");
    await lab.server.start();
    await alice.client.start();
    await lab.confirmed(alice, alice.ipv4(7));
  });

  afterAll(async () => {
    await lab?.dispose();
  });

  async function everythingWorks(): Promise<void> {
    await alice.reachesFar();
    await alice.isReachedFrom(lab.far);
  }

  it("at the home carries packets again", async () => {
    await alice.namespace.run("ip link set ht0 down; ip link set ht0 up");
    await everythingWorks();
  });

  it("at the server carries packets again", async () => {
    await lab.serverNamespace.run("ip link set ht-alice down; ip link set ht-alice up");
    await everythingWorks();
  });

  it("is left down at the home, which says so and what to do", async () => {
    await alice.namespace.run("ip link set ht0 down");
    await alice.client.until(({ problem }) => problem?.includes("ip link set ht0 up") === true);
    expect(await alice.namespace.run("ip link show ht0")).not.toContain(",UP");
    await alice.namespace.run("ip link set ht0 up");
    await alice.client.until(({ problem }) => problem === undefined);
    await everythingWorks();
  });

  it("is left down at the server, which says so and what to do", async () => {
    await lab.serverNamespace.run("ip link set ht-alice down");
    await lab.server.until(
      (status) => homeIn(status, "alice").problem?.includes("ip link set ht-alice up") === true,
    );
    await lab.serverNamespace.run("ip link set ht-alice up");
    await lab.server.until((status) => homeIn(status, "alice").problem === undefined);
    await everythingWorks();
  });
});

/** Of the home's prefix, and not taken away with the tunnel's interface. */
const INNER = "2001:db8:a::99";

describe.skipIf(skipped)("where the uplinks have IPv6 of their own", () => {
  let lab: TunnelLab;
  let alice: LabHome;
  let captures: Capture[];

  beforeAll(async () => {
    lab = await TunnelLab.build({ homes: [{ name: "alice" }] });
    alice = lab.home("alice");
    await offerIspIpv6(lab, alice);
    await alice.namespace.run(`ip addr add ${INNER}/128 dev lo`);
    captures = await Promise.all(["wan0", "server"].map((link) => lab.capture(link, "ip6")));
    await start();
  });

  afterAll(async () => {
    await lab?.dispose();
  });

  async function start(): Promise<void> {
    await lab.server.start();
    await alice.client.start();
    await lab.confirmed(alice, alice.ipv4(7));
  }

  /** Echo requests from the home's prefix, and to it; the answers are not what matters. */
  async function send(): Promise<void> {
    const ping = ["ping", "-n", "-c", "3", "-i", "0.05", "-W", "0.2"];
    await Promise.all([
      alice.namespace.run([...ping, "-I", INNER, FAR]).catch(() => undefined),
      lab.far.run([...ping, INNER]).catch(() => undefined),
    ]);
  }

  const ours = async (namespace: Namespace) =>
    (await namespace.run("ip -6 route show proto 104")).trim();

  it.each(["ip link set NAME down", "ip link delete NAME"])(
    "nothing of the tunnel's leaves in clear after %s, daemons alive or dead",
    async (command) => {
      const atHome = command.replace("NAME", "ht0");
      const atServer = command.replace("NAME", "ht-alice");
      await alice.namespace.run(atHome);
      await lab.serverNamespace.run(atServer);
      await send();
      await alice.client.crash();
      await lab.server.crash();
      await send();
      // Whatever the daemons made again.
      await alice.namespace.run(`${atHome} 2>/dev/null || true`);
      await lab.serverNamespace.run(`${atServer} 2>/dev/null || true`);
      await send();
      expect(await strayPackets(captures)).toEqual([]);

      await start();
      await alice.reachesFar();
      expect(await strayPackets(captures)).toEqual([]);
    },
  );

  it("the home's other addresses go on using them", async () => {
    await alice.namespace.run("ip link set ht0 down");
    const route = ["ip", "-6", "route", "get", FAR];
    expect(await alice.namespace.run(route)).toContain("dev wan src 2001:db8:101::7");
    await expect(alice.namespace.run([...route, "from", INNER])).rejects.toThrow(
      "No route to host",
    );
    await alice.namespace.run("ip link set ht0 up");
    await alice.reachesFar();
  });

  it("no route of the daemons' is left when they are stopped", async () => {
    expect(await ours(alice.namespace)).toContain("unreachable default from 2001:db8:a::/48");
    expect(await ours(lab.serverNamespace)).toContain("unreachable 2001:db8:a::/48");
    await alice.client.stop();
    await lab.server.stop();
    expect(await ours(alice.namespace)).toBe("");
    expect(await ours(lab.serverNamespace)).toBe("");
  });

  it("packets that have no guard are found", async () => {
    await send();
    const found = await strayPackets(captures);
    const inner = "20010db8000a00000000000000000099";
    expect(found).toContainEqual(expect.stringMatching(new RegExp(`^86dd .{16}${inner}`)));
    expect(found).toContainEqual(expect.stringMatching(new RegExp(`^86dd .{48}${inner}`)));
  });
});
