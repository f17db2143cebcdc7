/**
 * The main job, on real packets: the home's IPv4 address changes, everything else stays.
 *
 *     ┌ home ──────┐            ┌ router ┐            ┌ server ─────────┐        ┌ far ───────────┐
 *     │        wan ── 192.0.2.7, then .8 ─┤            │                 │        │                │
 *     │ ht0        │            │         ├ 198.51.100.1 wan   ht-home   ├── lan ─┤ 2001:db8:ffff::2
 *     │       wan2 ── 203.0.113.7 ────────┤            │                 │        │                │
 *     └ 2001:db8:a::1 ─────────┘ └────────┘            └─────────────────┘        └────────────────┘
 *
 * Outages are reported, not judged: this machine may be busy. `npm run bench` measures.
 */

import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Encapsulation, Suite } from "../../common/tunnel/tunnel.ts";
import { canUseNamespaces } from "../support/namespace.ts";
import { PingStream } from "../support/ping-stream.ts";
import { Transfer } from "../support/transfer.ts";
import { daemonsAreBuilt, FAR, homeIn, type LabHome, TunnelLab } from "../support/tunnel-lab.ts";

/** Milliseconds; far more than any change needs, far less than a tunnel set up anew would. */
const GENEROUS = 2_000;
const GAP = 1_000; // milliseconds without any address

const TUNNELS: readonly { encapsulation: Encapsulation; suite: Suite }[] = [
  { encapsulation: "udp", suite: "aes-cbc-256-hmac-sha2-256-128" },
  { encapsulation: "esp", suite: "aes-gcm-256" },
  { encapsulation: "udp", suite: "aes-gcm-128" },
  { encapsulation: "esp", suite: "aes-gcm-192" },
];

const sleep = (milliseconds: number) => new Promise((resolve) => setTimeout(resolve, milliseconds));

describe.skipIf(!canUseNamespaces() || !daemonsAreBuilt()).each(TUNNELS)(
  "a tunnel over $encapsulation with $suite",
  ({ encapsulation, suite }) => {
    let lab: TunnelLab;
    let home: LabHome;

    beforeAll(async () => {
      lab = await TunnelLab.open({ homes: [{ name: "alice", encapsulation, suite }] });
      home = lab.home("alice");
    });

    afterAll(async () => {
      await lab?.dispose();
    });

    it("is confirmed on both sides by the first announcement", async () => {
      const { client, server } = await lab.confirmed(home, home.ipv4(7));
      expect(client).toMatchObject({ moves: 1, encapsulation });
      expect(client.problem).toBeUndefined();
      expect(client.lastMove).toMatchObject({ to: home.ipv4(7) });
      expect(server).toMatchObject({ moves: 1, encapsulation });
      expect(server.advertisements.refused).toEqual({});
      await home.reachesFar();
      await home.isReachedFrom(lab.far);
    });

    it("carries pings and an open TCP connection, each way, through every change of address", async () => {
      const pings = await PingStream.start(lab.far, home.address);
      const up = await Transfer.start({
        from: home.namespace,
        to: lab.far,
        address: FAR,
        port: 5001,
      });
      const down = await Transfer.start({
        from: lab.far,
        to: home.namespace,
        address: home.address,
        port: 5002,
      });

      const changes: { name: string; address: string; change: () => Promise<unknown> }[] = [
        { name: "swap", address: home.ipv4(8), change: () => home.take(8) },
        {
          name: "a second without address",
          address: home.ipv4(9),
          change: async () => {
            await home.leave();
            await home.client.until(({ state }) => state.kind === "no-address");
            await sleep(GAP);
            await home.take(9);
          },
        },
        {
          name: "move to another uplink",
          address: home.ipv4(7, "wan2"),
          change: () => home.take(7, "wan2"),
        },
        { name: "and back", address: home.ipv4(7), change: () => home.take(7) },
      ];
      let moves = 1;
      let previous = home.ipv4(7);
      for (const { name, address, change } of changes) {
        pings.mark();
        await change();
        const { client, server } = await lab.confirmed(home, address);
        await pings.answered();
        moves += 1;
        expect(client).toMatchObject({ moves, lastMove: { from: previous, to: address } });
        expect(server).toMatchObject({ moves, lastMove: { from: previous, to: address } });
        expect(client.lastMove?.confirmedInMs).toBeLessThan(GENEROUS);
        expect(server.lastMove?.confirmedInMs).toBeLessThan(GENEROUS);
        previous = address;
        process.stdout.write(
          `${encapsulation} ${suite}, ${name}: pings stopped for ${pings.longestGapMs} ms, ` +
            `confirmed after ${client.lastMove?.confirmedInMs} ms\n`,
        );
      }

      for (const transfer of [up, down]) {
        const { sent, received } = await transfer.finish();
        expect(received).toBe(sent);
        expect(Number.parseInt(sent, 10)).toBeGreaterThan(0);
      }
      await pings.stop();
      const { advertisements, traffic } = homeIn(await lab.server.status(), home.name);
      expect(advertisements).toMatchObject({ refused: {} });
      expect(traffic.refused).not.toHaveProperty("not-authentic");
      expect(traffic.refused).not.toHaveProperty("replayed");
    });
  },
);
