/**
 * Somebody sets a tunnel's interface down and up again, for which Linux takes its addresses and routes.
 *
 *     ┌ alice ──────┐                              ┌ server ─────────┐        ┌ far ┐
 *     │ hometun  wan ── 192.0.2.7 ── router ── 198.51.100.1      wan ├── lan ─┤     │
 *     │ ht0         │                              │ ht-alice        │        └─────┘
 *     └─────────────┘                              └─────────────────┘
 */

import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { canUseNamespaces } from "../support/namespace.ts";
import { daemonsAreBuilt, homeIn, type LabHome, TunnelLab } from "../support/tunnel-lab.ts";

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
