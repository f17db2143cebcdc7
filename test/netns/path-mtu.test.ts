/**
 * Paths that are narrower than they look.
 *
 *     ┌ host ─┐       ┌ home ──────┐  wan: MTU    ┌ router ┐  server: MTU     ┌ server ───┐       ┌ far ───┐
 *     │ lan 1500 ── lan │ ht0   wan ├── as set ───┤        ├── as set ── wan ─┤ ht-home   ├─ lan ─┤ 1500   │
 *     └───────┘       └────────────┘              └────────┘                  └───────────┘       └────────┘
 *       2001:db8:a:1::2                                                                         2001:db8:ffff::2
 *
 * The order matters: what a path once refused is remembered for ten minutes, so it only ever gets narrower here.
 */

import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { tunnelMtu } from "../../common/tunnel/mtu.ts";
import type { Encapsulation, Suite } from "../../common/tunnel/tunnel.ts";
import { canUseNamespaces, eventually, type Namespace } from "../support/namespace.ts";
import { Transfer } from "../support/transfer.ts";
import { daemonsAreBuilt, FAR, homeIn, type LabHome, TunnelLab } from "../support/tunnel-lab.ts";

const HOST = "2001:db8:a:1::2";
const IPV6_AND_ICMP = 48; // octets
const IPV6_AND_TCP = 60; // octets
const LARGE = 1_400; // octets of a ping that is fragmented on the way in, if need be
const PATIENCE = 20_000;

const TUNNELS: readonly { encapsulation: Encapsulation; suite: Suite }[] = [
  { encapsulation: "udp", suite: "aes-cbc-256-hmac-sha2-256-128" },
  { encapsulation: "esp", suite: "aes-gcm-256" },
];

const skipped = !canUseNamespaces() || !daemonsAreBuilt();

describe.skipIf(skipped).each(TUNNELS)(
  "over $encapsulation with $suite",
  ({ encapsulation, suite }) => {
    let lab: TunnelLab;
    let home: LabHome;
    let host: Namespace;

    beforeAll(async () => {
      lab = await TunnelLab.open({ homes: [{ name: "alice", encapsulation, suite }] });
      home = lab.home("alice");
      host = await lab.lab.namespace("host");
      await lab.lab.connect(host, "lan", home.namespace, "lan");
      await home.namespace.run("ip addr add 2001:db8:a:1::1/64 dev lan nodad");
      await host.run(
        `ip addr add ${HOST}/64 dev lan nodad; ip -6 route add default via 2001:db8:a:1::1`,
      );
      await home.reachesFar();
    });

    afterAll(async () => {
      await lab?.dispose();
    });

    const wanted = (pathMtu: number) => tunnelMtu(pathMtu, encapsulation, suite);

    /** What the router takes in either direction, as if a link behind it were narrow. */
    const narrow = (mtu: number) =>
      lab.router.run(
        `ip route replace 198.51.100.0/24 dev server mtu lock ${mtu}
         ip route replace 192.0.2.0/27 dev wan0 mtu lock ${mtu}`,
      );

    /** Sends packets of up to this size both ways until they come through and both sides say this MTU. */
    async function settlesAt(mtu: number): Promise<void> {
      await eventually(async () => {
        await Promise.all([
          lab.far
            .run(["ping", "-n", "-c", "1", "-W", "1", "-s", String(LARGE), home.address])
            .catch(() => ""),
          home.namespace
            .run(["ping", "-n", "-c", "1", "-W", "1", "-s", String(LARGE), FAR])
            .catch(() => ""),
        ]);
        const client = await home.client.status();
        const server = homeIn(await lab.server.status(), "alice");
        return client.mtu === mtu && server.mtu === mtu ? true : undefined;
      }, PATIENCE).catch(async (error) => {
        const { mtu: client, traffic } = await home.client.status();
        const server = homeIn(await lab.server.status(), "alice");
        const facts = { wanted: mtu, client, server: server.mtu, traffic, at: server.traffic };
        throw new Error(`${error}: ${JSON.stringify(facts)}`);
      });
      await everySizePasses();
    }

    async function everySizePasses(): Promise<void> {
      for (const octets of [56, 1_200, 1_232, LARGE, 3_000]) {
        await home.reachesFar(octets);
        await home.isReachedFrom(lab.far, octets);
      }
    }

    async function tcpPasses(from: Namespace, to: Namespace, address: string): Promise<void> {
      const transfer = await Transfer.start({ from, to, address, port: 5001 });
      const { sent, received } = await transfer.finish();
      expect(received).toBe(sent);
    }

    it("the MTU is what fits an uplink of 1,500 octets, before anything is known", async () => {
      expect((await home.client.status()).mtu).toBe(wanted(1_500));
      expect(homeIn(await lab.server.status(), "alice").mtu).toBe(wanted(1_500));
      await everySizePasses();
    });

    it("a host whose packet is larger than the tunnel is told by Packet Too Big", async () => {
      const mtu = wanted(1_500);
      for (const [from, to] of [
        [host, FAR],
        [lab.far, HOST],
      ] as const) {
        const said = await from
          .run([
            "ping",
            "-n",
            "-c",
            "1",
            "-W",
            "2",
            "-M",
            "do",
            "-s",
            String(1_500 - IPV6_AND_ICMP),
            to,
          ])
          .catch((error: { stdout: string; stderr: string }) => error.stdout + error.stderr);
        expect(said).toMatch(new RegExp(`[Pp]acket too big: mtu=${mtu}`));
        const fits = String(mtu - IPV6_AND_ICMP);
        await from.run(["ping", "-n", "-c", "1", "-W", "5", "-M", "do", "-s", fits, to]);
      }
    });

    it("TCP's segments are clamped to the tunnel, both ways", async () => {
      const clamped = wanted(1_500) - IPV6_AND_TCP;
      for (const [from, to, address] of [
        [host, lab.far, FAR],
        [lab.far, host, HOST],
      ] as const) {
        const synchronize = "ip6[6] == 6 and ip6[53] & 2 != 0";
        const tcpdump = to.spawn([
          "sh",
          "-c",
          `exec tcpdump --immediate-mode -l -n -i lan '${synchronize}' 2>&1`,
        ]);
        await tcpdump.line((line) => line.includes("listening on"));
        await tcpPasses(from, to, address);
        const said = await tcpdump.line((line) => line.includes("Flags [S]"));
        expect(Number(/mss (\d+)/.exec(said)?.[1])).toBe(clamped);
        const answer = await tcpdump.line((line) => line.includes("Flags [S.]"));
        expect(Number(/mss (\d+)/.exec(answer)?.[1])).toBeGreaterThanOrEqual(clamped);
        await tcpdump.stop();
      }
    });

    it("an uplink with an MTU of its own decides the home's MTU at once, and again when it changes", async () => {
      for (const mtu of [1_492, 1_400, 1_500]) {
        await home.namespace.run(["ip", "link", "set", "wan", "mtu", String(mtu)]);
        await lab.router.run(["ip", "link", "set", "wan0", "mtu", String(mtu)]);
        await home.client.until((status) => status.mtu === wanted(mtu));
        const link = await home.namespace.run("ip -o link show dev ht0");
        expect(link).toContain(`mtu ${wanted(mtu)} `);
        await everySizePasses();
      }
    });

    it("a router on the way with an MTU of 1,400 is learned of by both sides", async () => {
      await narrow(1_400);
      await settlesAt(wanted(1_400));
      await tcpPasses(home.namespace, lab.far, FAR);
      await tcpPasses(lab.far, host, HOST);
    });

    it.each([1_280, 1_200])(
      "below a path of %i octets the MTU stays 1,280 and ESP goes in fragments",
      async (mtu) => {
        const capture = await lab.capture("server", "'ip[6:2] & 0x3fff != 0'");
        await narrow(mtu);
        await settlesAt(1_280);
        expect((await capture.packets()).length).toBeGreaterThan(0);
        await tcpPasses(mtu === 1_280 ? home.namespace : host, lab.far, FAR);
      },
    );
  },
);
