/**
 * Either daemon dies and comes back, with the same files and nothing else: no tunnel is lost, no sequence number is
 * used twice, and what was heard before is not believed again.
 *
 *     ┌ alice ──────┐            ┌ router ───────┐            ┌ server ─────────┐        ┌ far ┐
 *     │ hometun  wan ── 192.0.2.7 ┤ tcpdump       ├ 198.51.100.1 wan             ├── lan ─┤     │
 *     └─────────────┘            └──────┬────────┘            └─────────────────┘        └─────┘
 *                                       └ stranger, which sends what was captured
 */

import { readFile, writeFile } from "node:fs/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Encapsulation } from "../../common/tunnel/tunnel.ts";
import type { ServerStatus } from "../../server/status.ts";
import type { Capture, CapturedEsp } from "../support/capture.ts";
import { canForge, Forge } from "../support/forge.ts";
import { canUseNamespaces, eventually, type Namespace } from "../support/namespace.ts";
import { Transfer } from "../support/transfer.ts";
import {
  type Daemon,
  daemonsAreBuilt,
  FAR,
  homeIn,
  type LabHome,
  SERVER,
  TunnelLab,
} from "../support/tunnel-lab.ts";

const CBC = "aes-cbc-256-hmac-sha2-256-128";
const skipped = !canUseNamespaces() || !daemonsAreBuilt();

describe.skipIf(skipped).each<Encapsulation>(["udp", "esp"])(
  "with manual keys of CBC and HMAC, over %s",
  (encapsulation) => {
    let lab: TunnelLab;
    let alice: LabHome;
    /** All that ever passes the server's uplink. */
    let capture: Capture;

    beforeAll(async () => {
      lab = await TunnelLab.build({ homes: [{ name: "alice", encapsulation, suite: CBC }] });
      alice = lab.home("alice");
      capture = await lab.capture("server");
      await lab.server.start();
      await alice.client.start();
      await lab.confirmed(alice, alice.ipv4(7));
    });

    afterAll(async () => {
      await lab?.dispose();
    });

    async function everythingWorks(): Promise<void> {
      await lab.confirmed(alice, alice.ipv4(7));
      await alice.reachesFar();
      await alice.isReachedFrom(lab.far);
    }

    it("the server, killed and started again, has the home back without its doing anything", async () => {
      const before = await alice.client.status();
      await lab.server.crash();
      await lab.server.start();
      // Restored from the journal, probed, and answered.
      const { client } = await lab.confirmed(alice, alice.ipv4(7));
      await everythingWorks();
      expect(client.pid).toBe(before.pid);
      expect(client.moves).toBe(before.moves);
    });

    it("the client, killed and started again, is confirmed at once", async () => {
      await alice.client.crash();
      await alice.client.start();
      await everythingWorks();
    });

    it("an open TCP connection outlives the death of each, one after the other", async () => {
      const transfer = await Transfer.start({
        from: alice.namespace,
        to: lab.far,
        address: FAR,
        port: 5001,
      });
      await lab.server.crash();
      await lab.server.start();
      await everythingWorks();
      await alice.client.crash();
      await alice.client.start();
      await everythingWorks();
      const { sent, received } = await transfer.finish();
      expect(received).toBe(sent);
    });

    it("a move while the server is dead is known to it as soon as it is back", async () => {
      await lab.server.crash();
      await alice.take(8);
      await alice.client.until(({ uplink }) => uplink?.address === alice.ipv4(8));
      await lab.server.start();
      await lab.confirmed(alice, alice.ipv4(8));
      await alice.reachesFar();
      await alice.take(7);
      await everythingWorks();
    });

    it("a clean stop of each, and a start, loses nothing either", async () => {
      await lab.server.stop();
      await lab.server.start();
      await everythingWorks();
      await alice.client.stop();
      await alice.client.start();
      await everythingWorks();
    });

    it("no sequence number was ever used twice, in neither direction", async () => {
      const bySpi = new Map<number, number[]>();
      for (const { spi, sequence } of await capture.esp()) {
        bySpi.set(spi, [...(bySpi.get(spi) ?? []), sequence]);
      }
      expect(bySpi.size).toBe(2);
      for (const sequences of bySpi.values()) {
        expect(sequences.length).toBeGreaterThan(20);
        expect(new Set(sequences).size).toBe(sequences.length);
        expect(sequences, "numbers only grow").toEqual(sequences.toSorted((a, b) => a - b));
      }
    });

    describe.skipIf(skipped || !canForge())("what was captured", () => {
      let stranger: Forge;

      beforeAll(async () => {
        stranger = await Forge.start(lab.stranger);
      });

      const replay = (packets: readonly CapturedEsp[]) =>
        stranger.send(
          packets.map(({ octets }) => octets),
          { to: SERVER, encapsulation },
        );
      const toServer = async () =>
        (await capture.esp()).filter(({ destination }) => destination === SERVER);

      it("before the server's death is refused after it, every packet", async () => {
        const from = (await toServer()).length;
        for (let count = 0; count < 20; count++) await alice.reachesFar();
        const received = await eventually(async () => {
          const packets = (await toServer()).slice(from);
          return packets.length >= 20 ? packets : undefined;
        });
        await lab.server.crash();
        await lab.server.start();
        await everythingWorks();
        const replayed = (status: ServerStatus) =>
          homeIn(status, "alice").traffic.refused.replayed ?? 0;
        const before = replayed(await lab.server.status());
        await replay(received);
        await lab.server.until((status) => replayed(status) === before + received.length);
        const { traffic } = homeIn(await lab.server.status(), "alice");
        expect(traffic.observedSource?.address).toBe(alice.ipv4(7));
        await everythingWorks();
      });

      it("and had never arrived moves nothing once a later announcement was heard", async () => {
        await lab.server.crash();
        const from = (await toServer()).length;
        await alice.take(8);
        const missed = await eventually(async () => {
          const packets = (await toServer()).slice(from);
          return packets.some(({ source }) => source === alice.ipv4(8)) ? packets : undefined;
        });
        await alice.take(7);
        await lab.server.start();
        await everythingWorks();
        await alice.client.announce();
        const accepted = (status: ServerStatus) => homeIn(status, "alice").advertisements.accepted;
        const before = homeIn(await lab.server.until((status) => accepted(status) > 0), "alice");
        await replay(missed);
        const late = (status: ServerStatus) =>
          homeIn(status, "alice").traffic.refused["advertisement-late"] ?? 0;
        const after = homeIn(await lab.server.until((status) => late(status) > 0), "alice");
        expect(after).toMatchObject({ moves: before.moves, endpoint: before.endpoint });
        await everythingWorks();
      });
    });
  },
);

describe.skipIf(skipped)("starting and stopping", () => {
  let lab: TunnelLab;
  let alice: LabHome;

  beforeAll(async () => {
    lab = await TunnelLab.open({ homes: [{ name: "alice", suite: CBC }] });
    alice = lab.home("alice");
  });

  afterAll(async () => {
    await lab?.dispose();
  });

  const interfaces = async (namespace: Namespace) =>
    (JSON.parse(await namespace.run("ip -j link")) as { ifname: string }[]).map(
      ({ ifname }) => ifname,
    );

  /** Each with its namespace and the interface that it makes. */
  const daemons = (): [Daemon<unknown>, Namespace, string][] => [
    [alice.client, alice.namespace, "ht0"],
    [lab.server, lab.serverNamespace, "ht-alice"],
  ];

  it("a second instance of either says so and ends with status 1; the first goes on", async () => {
    for (const daemon of [alice.client, lab.server] as Daemon<unknown>[]) {
      const second = daemon.another();
      expect(await second.exited).toEqual({ code: 1, signal: null });
      expect(second.stderr).toContain("another instance is running");
      expect(second.stderr).not.toMatch(/^ +at /m);
    }
    await lab.confirmed(alice, alice.ipv4(7));
    await alice.reachesFar();
  });

  it("a killed daemon leaves its interface, through which nothing goes in clear meanwhile", async () => {
    await alice.client.crash();
    await lab.server.crash();
    expect(await interfaces(alice.namespace)).toContain("ht0");
    expect(await interfaces(lab.serverNamespace)).toContain("ht-alice");
    await lab.server.start();
    await alice.client.start();
    await lab.confirmed(alice, alice.ipv4(7));
    await alice.reachesFar();
  });

  it("SIGUSR2 ends either with status 0, and leaves its interface to the next", async () => {
    for (const [daemon, namespace, link] of daemons()) {
      const before = await namespace.run(`ip -o link show ${link}`);
      await daemon.restart();
      const index = (text: string) => text.split(":")[0];
      expect(index(await namespace.run(`ip -o link show ${link}`))).toBe(index(before));
    }
    await lab.confirmed(alice, alice.ipv4(7));
    await alice.reachesFar();
  });

  it("and where the next would not start, it is a stop as any other", async () => {
    for (const [daemon, namespace, link] of daemons()) {
      const text = await readFile(daemon.configFile, "utf8");
      await writeFile(daemon.configFile, `nonsense = true\n${text}`);
      await expect(daemon.restart()).rejects.toThrow("nonsense");
      await expect(namespace.run(`ip link show ${link}`)).rejects.toThrow();
      await writeFile(daemon.configFile, text);
      await daemon.start();
    }
    await lab.confirmed(alice, alice.ipv4(7));
  });

  it("SIGTERM ends either with status 0, and removes its interface and its socket", async () => {
    await alice.client.stop();
    await lab.server.stop();
    expect(await interfaces(alice.namespace)).not.toContain("ht0");
    expect(await interfaces(lab.serverNamespace)).not.toContain("ht-alice");
    await expect(alice.client.status()).rejects.toThrow("no daemon is running");
    await expect(lab.server.status()).rejects.toThrow("no daemon is running");
  });
});

describe.skipIf(skipped)("a manual key of AES-GCM", () => {
  let lab: TunnelLab;

  beforeAll(async () => {
    lab = await TunnelLab.open({ homes: [{ name: "alice", suite: "aes-gcm-128" }] });
  });

  afterAll(async () => {
    await lab?.dispose();
  });

  it("serves for one start: the second ends with status 2 and says how new keys are made", async () => {
    for (const daemon of [lab.home("alice").client, lab.server] as Daemon<unknown>[]) {
      await daemon.crash();
      const second = daemon.launch();
      expect(await second.exited).toEqual({ code: 2, signal: null });
      expect(second.stderr).toContain("single-use");
      expect(second.stderr).toContain("hometun keygen");
      expect(second.stderr).not.toMatch(/^ +at /m);
    }
  });
});
