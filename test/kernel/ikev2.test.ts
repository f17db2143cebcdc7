/** The main job with keys by IKEv2 on the kernel's data plane, over the laboratory of `tunnel-lab.ts`. */

import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Namespace } from "../support/namespace.ts";
import { daemonsAreBuilt, FAR, homeIn, type LabHome, TunnelLab } from "../support/tunnel-lab.ts";
import { canUseXfrmInterfaces } from "../support/xfrm.ts";

/** Each pair of SAs lasts for so many packets. */
const REKEY_PACKETS = 100;

const pairings = [
  { client: "auto", server: "auto" },
  { client: "userspace", server: "kernel" },
  { client: "kernel", server: "userspace" },
] as const;

describe.skipIf(!canUseXfrmInterfaces() || !daemonsAreBuilt()).each(pairings)(
  "keys by IKEv2, $client home, $server server",
  (planes) => {
    let lab: TunnelLab;
    let home: LabHome;

    beforeAll(async () => {
      lab = await TunnelLab.open({
        homes: [
          {
            name: "alice",
            ikev2: "ed25519",
            rekeyPackets: REKEY_PACKETS,
            client: `data-plane = "${planes.client}"`,
          },
        ],
        server: `data-plane = "${planes.server}"`,
      });
      home = lab.home("alice");
    });

    afterAll(async () => {
      await lab?.dispose();
    });

    /** SPIs of the states in a namespace. */
    const spis = async (namespace: Namespace) =>
      [...(await namespace.run("ip xfrm state")).matchAll(/spi (0x[0-9a-f]+)/g)].map(
        ([, spi]) => spi,
      );

    it("carries packets on the planes that were asked for", async () => {
      const client = await home.client.status();
      const server = await lab.server.status();
      const kindOf = (setting: string) => (setting === "auto" ? "kernel" : setting);
      expect(client.dataPlane.kind).toBe(kindOf(planes.client));
      expect(server.dataPlane.kind).toBe(kindOf(planes.server));
      await home.reachesFar(1300);
      await home.isReachedFrom(lab.far);
    });

    it("loses no packet while keys are renewed under load", async () => {
      const before = (await home.client.status()).keys?.rekeys ?? 0;
      const ping = ["ping", "-n", "-q", "-c", "600", "-i", "0.02", home.address];
      expect(await lab.far.run(ping)).toContain("600 received");
      const { keys, traffic } = await home.client.status();
      expect(keys?.rekeys).toBeGreaterThan(before + 3);
      expect(traffic.receivedPackets).toBeGreaterThanOrEqual(600);
      expect(traffic.sentPackets).toBeGreaterThanOrEqual(600);
      for (const each of [home.namespace, lab.serverNamespace]) {
        expect(await each.run("grep -E 'OutNoStates|InNoStates' /proc/net/xfrm_stat")).toMatch(
          /^XfrmInNoStates\s+0\nXfrmOutNoStates\s+0$/m,
        );
      }
    });

    it("follows an address that changes, with one outbound state and no more", async () => {
      const address = await home.take(8);
      await lab.confirmed(home, address);
      await home.reachesFar();
      await home.take(9, "wan2");
      await lab.confirmed(home, home.ipv4(9, "wan2"));
      await home.reachesFar();
      const { keys } = await home.client.until((status) => status.keys?.associations.length === 1);
      expect(keys?.state).toBe("established");
      if (planes.client !== "userspace") expect(await spis(home.namespace)).toHaveLength(2);
      if (planes.server !== "userspace") expect(await spis(lab.serverNamespace)).toHaveLength(2);
    });

    it("comes back with other keys when the home begins anew", async () => {
      const before = await spis(home.namespace);
      await home.client.crash();
      await home.client.start();
      await lab.confirmed(home, home.ipv4(9, "wan2"));
      await home.isReachedFrom(lab.far);
      const { keys } = homeIn(await lab.server.status(), home.name);
      expect(keys?.associations).toHaveLength(1);
      for (const spi of await spis(home.namespace)) expect(before).not.toContain(spi);
    });

    it("recovers within seconds when the server begins anew", async () => {
      const before = await spis(lab.serverNamespace);
      await lab.server.crash();
      await lab.server.start();
      const since = Date.now();
      await home.reachesFar();
      const elapsed = Date.now() - since;
      process.stdout.write(`${JSON.stringify(planes)}: server restarted, back in ${elapsed} ms\n`);
      await lab.confirmed(home, home.ipv4(9, "wan2"));
      for (const spi of await spis(lab.serverNamespace)) expect(before).not.toContain(spi);
      await home.namespace.run(["ping", "-n", "-c", "1", FAR]);
    });

    it("leaves nothing behind when both are stopped", async () => {
      await home.client.stop();
      await lab.server.stop();
      expect(await spis(home.namespace)).toEqual([]);
      expect(await spis(lab.serverNamespace)).toEqual([]);
    });
  },
);
