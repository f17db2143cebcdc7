/**
 * Nothing of what is inside ever goes outside in clear: not while the address changes, not while a daemon is dead, not
 * while it starts. Every outer link is recorded from before the daemons' first start.
 *
 *     ┌ alice ─────────────────────┐            ┌ router ────────┐            ┌ server ──────────┐        ┌ far ┐
 *     │ default route 1: ht0   wan ── 192.0.2.7 ┤ tcpdump on     ├ 198.51.100.1 wan              ├── lan ─┤     │
 *     │ default route 2: wan  wan2 ──203.0.113.7┤ every link     │ 2001:db8:100::1               │        └─────┘
 *     └────────────────────────────┘            └────────────────┘            └──────────────────┘
 *
 * The ISP offers IPv6 of its own, as a second-best default route: what loses its way would go there.
 */

import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Encapsulation } from "../../common/tunnel/tunnel.ts";
import type { Capture } from "../support/capture.ts";
import { describePacket, offerIspIpv6, strayPackets } from "../support/isp-ipv6.ts";
import { canUseNamespaces, type Running } from "../support/namespace.ts";
import { Transfer } from "../support/transfer.ts";
import { daemonsAreBuilt, FAR, type LabHome, SERVER, TunnelLab } from "../support/tunnel-lab.ts";

/** What is looked for; ping repeats 16 octets at most. */
const MARKER = "hometun-marker-0";
const PING_PATTERN = Buffer.from(MARKER).toString("hex");

const skipped = !canUseNamespaces() || !daemonsAreBuilt();

describe.skipIf(skipped).each<Encapsulation>(["udp", "esp"])(
  "on the outer links, with %s",
  (encapsulation) => {
    let lab: TunnelLab;
    let alice: LabHome;
    let captures: Capture[];
    let pings: Running[];

    beforeAll(async () => {
      lab = await TunnelLab.build({ homes: [{ name: "alice", encapsulation }] });
      alice = lab.home("alice");
      await offerIspIpv6(lab, alice);
      captures = await Promise.all(lab.outerLinks.map((link) => lab.capture(link)));
      await lab.server.start();
      await alice.client.start();
      await lab.confirmed(alice, alice.ipv4(7));
      const ping = ["ping", "-n", "-q", "-i", "0.01", "-p", PING_PATTERN, "-s", "256"];
      pings = [
        alice.namespace.spawn([...ping, "-I", alice.address, FAR]),
        lab.far.spawn([...ping, alice.address]),
      ];
    });

    afterAll(async () => {
      await lab?.dispose();
    });

    it("changes, deaths and restarts happen, and all the time packets are sent", async () => {
      const transfer = await Transfer.start({
        from: alice.namespace,
        to: lab.far,
        address: FAR,
        port: 5001,
        marker: MARKER,
      });
      await lab.confirmed(alice, await alice.take(8));
      await alice.leave();
      await alice.client.until(({ state }) => state.kind === "no-address");
      await lab.confirmed(alice, await alice.take(7, "wan2"));
      await lab.confirmed(alice, await alice.take(7));

      await alice.client.crash();
      await packetsAreLost();
      await alice.client.start();
      await lab.confirmed(alice, alice.ipv4(7));
      await lab.server.crash();
      await packetsAreLost();
      await lab.server.start();
      await lab.confirmed(alice, alice.ipv4(7));
      await alice.reachesFar();

      const { sent, received } = await transfer.finish();
      expect(received).toBe(sent);
      for (const ping of pings) await ping.stop();
    });

    /** Both sides go on sending into the tunnel while it carries nothing. */
    async function packetsAreLost(): Promise<void> {
      for (const [from, to] of [
        [alice.namespace, FAR],
        [lab.far, alice.address],
      ] as const) {
        await expect(
          from.run(["ping", "-n", "-c", "3", "-i", "0.1", "-W", "1", to]),
        ).rejects.toThrow();
      }
    }

    it("was IPv6 of the links themselves only", async () => {
      expect(await strayPackets(captures)).toEqual([]);
    });

    it("was ESP in which no octets of the inner packets can be found", async () => {
      const packets = await allPackets();
      const esp = (await Promise.all(captures.map((capture) => capture.esp()))).flat();
      expect(esp.length).toBeGreaterThan(100);
      const marker = Buffer.from(MARKER);
      const leaks = packets.filter(({ octets }) => Buffer.from(octets).includes(marker));
      expect(leaks.map(describePacket)).toEqual([]);
      // Nor an inner address, in whatever wrapping.
      for (const inner of ["20010db8000a0000", "20010db8ffff0000"]) {
        const address = Buffer.from(inner, "hex");
        const found = packets.filter(({ octets }) => Buffer.from(octets).includes(address));
        expect(found.map(describePacket)).toEqual([]);
      }
    });

    const allPackets = async () =>
      (await Promise.all(captures.map((capture) => capture.packets()))).flat();
  },
);

it.skipIf(skipped)("the search finds what is in clear", async () => {
  const lab = await TunnelLab.build({ homes: [{ name: "alice" }] });
  try {
    const capture = await lab.capture("server");
    const alice = lab.home("alice");
    const ping = ["ping", "-n", "-c", "3", "-i", "0.1", "-p", PING_PATTERN, SERVER];
    expect(await alice.namespace.run(ping)).toContain("3 received");
    const found = (await capture.packets()).filter(({ octets }) =>
      Buffer.from(octets).includes(Buffer.from(MARKER)),
    );
    expect(found.length).toBeGreaterThan(0);
  } finally {
    await lab.dispose();
  }
});
