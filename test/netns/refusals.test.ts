/**
 * Bad input: each kind is refused for its reason, the reason is counted, nothing moves and nobody loses anything.
 * The packets are scapy's, or were captured on the way.
 *
 *     ┌ alice ──┐  192.0.2.7 (UDP 4500)      ┌ router ──────┐          ┌ server ───────┐        ┌ far ────┐
 *     │ hometun ├────────────────────────────┤        scapy ├──────────┤ 198.51.100.1  ├── lan ─┤ scapy   │
 *     └─────────┘                            │              │          │ ht-alice      │        └─────────┘
 *     ┌ mallory ┐  192.0.2.39 (protocol 50)  │              │          │ ht-mallory    │
 *     │ hometun, then scapy with its keys ───┤              │          └───────────────┘
 *     └─────────┘                            │              │
 *     ┌ stranger ───────┐                    │              │
 *     │ 203.0.113.226, scapy ────────────────┤              │
 *     └─────────────────┘                    └──────────────┘
 */

import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { RefusalReason } from "../../common/tunnel/data-plane.ts";
import type { ServerStatus } from "../../server/status.ts";
import type { CapturedEsp } from "../support/capture.ts";
import { canForge, Forge, type ForgedPacket } from "../support/forge.ts";
import { canUseNamespaces, eventually, type Namespace } from "../support/namespace.ts";
import {
  daemonsAreBuilt,
  FAR,
  homeIn,
  type LabHome,
  SERVER,
  STRANGER,
  TunnelLab,
} from "../support/tunnel-lab.ts";

const ALL_NODES = "ff02::1";
const ALL_NODES_MAC = "33:33:00:00:00:01";
/** Inside what a client reserves at its start, beyond what it used. */
const FIRST_FORGED = 10_000;
/** Of a server's inner addresses. */
const SERVER_LAN = "2001:db8:ffff::1";

const skipped = !canUseNamespaces() || !daemonsAreBuilt() || !canForge();

describe.skipIf(skipped)("bad input", () => {
  let lab: TunnelLab;
  let alice: LabHome;
  let mallory: LabHome;
  let stranger: Forge;
  let sequence = FIRST_FORGED;

  beforeAll(async () => {
    lab = await TunnelLab.open({
      // The wrong advertisements below come faster than a home's should, and are no flood yet.
      server: "[advertisements]\nburst = 80",
      homes: [
        { name: "alice", encapsulation: "udp", suite: "aes-gcm-256" },
        { name: "mallory", encapsulation: "esp", suite: "aes-cbc-256-hmac-sha2-256-128" },
      ],
    });
    alice = lab.home("alice");
    mallory = lab.home("mallory");
    stranger = await Forge.start(lab.stranger);
  });

  afterAll(async () => {
    await lab?.dispose();
  });

  /** Does something, and checks what a refusal promises: it is counted, nobody moves, the tunnel works. */
  async function refused(
    count: (status: ServerStatus) => number | undefined,
    attack: () => Promise<void>,
  ): Promise<void> {
    const before = await lab.server.status();
    await attack();
    await lab.server.until((status) => (count(status) ?? 0) > (count(before) ?? 0));
    await expectNothingMoved(before);
    await alice.reachesFar();
  }

  async function expectNothingMoved(before: ServerStatus): Promise<void> {
    const after = await lab.server.status();
    const places = ({ homes }: ServerStatus) =>
      homes.map(({ name, endpoint, moves }) => ({ name, moves, address: endpoint?.address }));
    expect(places(after)).toEqual(places(before));
  }

  const traffic = (home: LabHome, reason: RefusalReason) => (status: ServerStatus) =>
    homeIn(status, home.name).traffic.refused[reason];
  const advertisements = (reason: string) => (status: ServerStatus) =>
    homeIn(status, "mallory").advertisements.refused[reason];
  const ofNobody = (reason: RefusalReason) => (status: ServerStatus) =>
    status.unattributed.packets[reason];

  describe.each([
    { name: "alice", encapsulation: "udp" },
    { name: "mallory", encapsulation: "esp" },
  ] as const)(
    "ESP from a stranger, with encapsulation $encapsulation",
    ({ name, encapsulation }) => {
      let home: LabHome;

      beforeAll(() => {
        home = lab.home(name);
      });

      const send = (...esp: Uint8Array[]) => stranger.send(esp, { to: SERVER, encapsulation });

      /** A packet of the home that the server would take. */
      async function genuine(): Promise<Uint8Array> {
        const echo: ForgedPacket = { kind: "echo", source: home.address, destination: FAR };
        sequence += 1;
        return first(await stranger.seal([echo], { keys: home.keyFile, sequence }));
      }

      it("is refused as malformed when it is shorter than IV and ICV", async () => {
        const esp = await genuine();
        await refused(traffic(home, "malformed"), () => send(esp.subarray(0, 8)));
        await refused(traffic(home, "malformed"), () => send(esp.subarray(0, 20)));
      });

      it("is refused as malformed when it is no whole number of blocks", async () => {
        const esp = await genuine();
        await refused(traffic(home, "malformed"), () => send(esp.subarray(0, esp.length - 1)));
      });

      it("is refused as malformed, and is nobody's, when it is shorter than an SPI", async () => {
        await refused(ofNobody("malformed"), () => send(Uint8Array.of(1, 2, 3)));
      });

      it("is nobody's when no tunnel has its SPI", async () => {
        const esp = await genuine();
        const spi = esp.with(0, (esp[0] ?? 0) ^ 0xff);
        await refused(ofNobody("unknown-spi"), () => send(spi));
      });

      it("is refused as replayed when it was captured on the way and is sent again", async () => {
        const capture = await lab.capture("server");
        await home.reachesFar();
        const fromHome = ({ source, destination }: CapturedEsp) =>
          source === home.ipv4(7) && destination === SERVER;
        const captured = await eventually(async () => (await capture.esp()).find(fromHome));
        await capture.stop();
        expect(captured.encapsulation).toBe(encapsulation);
        await refused(traffic(home, "replayed"), () => send(captured.octets));
      });

      it("is refused as not authentic when one bit of it was changed, wherever", async () => {
        const esp = await genuine();
        const places = [7, 8, 24, Math.floor(esp.length / 2), esp.length - 1];
        for (const at of places) {
          const flipped = esp.with(at, (esp[at] ?? 0) ^ 1);
          await refused(traffic(home, "not-authentic"), () => send(flipped));
        }
      });

      it("is refused as not authentic when it was sealed with other keys", async () => {
        const echo: ForgedPacket = { kind: "echo", source: home.address, destination: FAR };
        sequence += 1;
        const esp = await stranger.seal([echo], { keys: home.keyFile, sequence, wrongKey: true });
        await refused(traffic(home, "not-authentic"), () => send(...esp));
      });

      it("does not move the replay window when it is forged: the home's own packets still come in", async () => {
        const echo: ForgedPacket = { kind: "echo", source: home.address, destination: FAR };
        const options = { keys: home.keyFile, sequence: 0x7fff_ffff, wrongKey: true };
        const esp = await stranger.seal([echo], options);
        await refused(traffic(home, "not-authentic"), () => send(...esp));
        await home.reachesFar();
      });
    },
  );

  describe("from a home with real keys", () => {
    let linkLocal: string;
    let serverLinkLocal: string;
    let aliceLinkLocal: string;

    beforeAll(async () => {
      const status = homeIn(await lab.server.status(), "mallory");
      linkLocal = status.linkLocal;
      serverLinkLocal = status.serverLinkLocal;
      aliceLinkLocal = homeIn(await lab.server.status(), "alice").linkLocal;
      await mallory.client.crash();
      sequence += 100;
    });

    /** Sends packets as mallory, from where mallory is not. */
    async function send(packets: readonly ForgedPacket[], nextHeader = 41): Promise<void> {
      const options = { keys: mallory.keyFile, sequence: sequence + 1, nextHeader };
      sequence += packets.length;
      const esp = await stranger.seal(packets, options);
      await stranger.send(esp, { to: SERVER, encapsulation: "esp" });
    }

    const echo = (source: string, destination = FAR): ForgedPacket => ({
      kind: "echo",
      source,
      destination,
    });

    const advertisement = (changes: Partial<ForgedPacket> = {}): ForgedPacket =>
      ({
        kind: "advertisement",
        source: linkLocal,
        destination: serverLinkLocal,
        target: linkLocal,
        addresses: [mallory.ipv4(9)],
        ...changes,
      }) as ForgedPacket;

    it("an inner source of another home is refused, and so is any that is not its own", async () => {
      for (const source of [alice.address, FAR, "2001:db8:dead::1", "fe80::bad", "::1", "::"]) {
        await refused(traffic(mallory, "inner-source"), () => send([echo(source)]));
      }
    });

    it("another home's link-local address as inner source is refused", async () => {
      await refused(traffic(mallory, "inner-source"), () =>
        send([advertisement({ source: aliceLinkLocal, target: aliceLinkLocal })]),
      );
    });

    it("an inner destination on another link is refused", async () => {
      for (const destination of [aliceLinkLocal, "::1", "ff05::2"]) {
        await refused(traffic(mallory, "inner-destination"), () =>
          send([echo(mallory.address, destination)]),
        );
      }
    });

    it("a dummy packet and one that is no IPv6 packet are refused", async () => {
      await refused(traffic(mallory, "dummy"), () => send([echo(mallory.address)], 59));
      await refused(traffic(mallory, "unexpected-next-header"), () =>
        send([echo(mallory.address)], 4),
      );
    });

    const wrong: readonly {
      what: string;
      reason: string;
      changes: () => Partial<ForgedPacket>;
    }[] = [
      { what: "hop limit 254", reason: "hop-limit", changes: () => ({ hopLimit: 254 }) },
      { what: "hop limit 1", reason: "hop-limit", changes: () => ({ hopLimit: 1 }) },
      { what: "a code", reason: "code", changes: () => ({ code: 1 }) },
      {
        what: "an extension header",
        reason: "extension-header",
        changes: () => ({ extensionHeader: true }),
      },
      {
        what: "another home's link-local address as target",
        reason: "target",
        changes: () => ({ target: aliceLinkLocal }),
      },
      {
        what: "another home's address as target",
        reason: "target",
        changes: () => ({ target: alice.address }),
      },
      {
        what: "the server's address as target",
        reason: "target",
        changes: () => ({ target: serverLinkLocal }),
      },
      {
        what: "a multicast target",
        reason: "target-multicast",
        changes: () => ({ target: ALL_NODES }),
      },
      { what: "no override flag", reason: "override-clear", changes: () => ({ flags: "" }) },
      { what: "the solicited flag", reason: "unasked", changes: () => ({ flags: "SO" }) },
      {
        what: "no link-layer address",
        reason: "link-layer-address-missing",
        changes: () => ({ addresses: [] }),
      },
      {
        what: "two link-layer addresses",
        reason: "link-layer-address-repeated",
        changes: () => ({ addresses: [mallory.ipv4(9), mallory.ipv4(10)] }),
      },
      {
        what: "a link-layer address that is an Ethernet's",
        reason: "link-layer-address-form",
        changes: () => ({ addresses: [], options: "0201525400123456" }),
      },
      {
        what: "an option of length zero",
        reason: "malformed",
        changes: () => ({ options: "0200000000000000" }),
      },
      {
        what: "an option that is longer than the message",
        reason: "malformed",
        changes: () => ({ addresses: [], options: "0202000000000000" }),
      },
      ...["224.0.0.1", "239.255.255.250"].map((address) => ({
        what: `the multicast address ${address}`,
        reason: "address-not-unicast",
        changes: () => ({ addresses: [address] }),
      })),
      ...["127.0.0.2", "0.0.0.0", "0.1.2.3", "240.0.0.1", "255.255.255.255"].map((address) => ({
        what: `${address}, which is nobody's`,
        reason: "address-not-unicast",
        changes: () => ({ addresses: [address] }),
      })),
      ...[SERVER, "127.0.0.1"].map((address) => ({
        what: `the server's own address ${address}`,
        reason: "address-own",
        changes: () => ({ addresses: [address] }),
      })),
      ...["10.0.0.1", "172.16.0.1", "192.168.1.1", "100.64.0.1", "169.254.1.1"].map((address) => ({
        what: `the private address ${address}, where only public ones are allowed`,
        reason: "address-not-allowed",
        changes: () => ({ addresses: [address] }),
      })),
      {
        what: "another home's confirmed endpoint",
        reason: "endpoint-in-use",
        changes: () => ({ addresses: [alice.ipv4(7)] }),
      },
    ];
    for (const { what, reason, changes } of wrong) {
      it(`an advertisement with ${what} is refused: ${reason}`, async () => {
        await refused(advertisements(reason), () => send([advertisement(changes())]));
      });
    }

    it("an advertisement in clear on the tunnel's uplink moves nothing", async () => {
      const { forge, mac } = await onLinkTo(lab.router, "wan");
      const clear = (changes: Partial<ForgedPacket>, to: string) =>
        forge.sendInClear(advertisement(changes), { interface: "server", mac: to });
      const notTunnel = (status: ServerStatus) =>
        status.unattributed.advertisements["not-a-tunnel"];
      // To the address on the tunnel's link the kernel does not let it through; to all nodes it does.
      await refused(notTunnel, async () => {
        await clear({}, mac);
        await clear({ destination: ALL_NODES }, ALL_NODES_MAC);
      });
    });

    it("an advertisement in clear from the server's LAN moves nothing", async () => {
      const { forge, mac } = await onLinkTo(lab.far, "lan");
      const clear = (changes: Partial<ForgedPacket>, to: string) =>
        forge.sendInClear(advertisement(changes), { interface: "lan", mac: to });
      const notTunnel = (status: ServerStatus) =>
        status.unattributed.advertisements["not-a-tunnel"];
      await refused(notTunnel, async () => {
        await clear({}, mac);
        await clear({ destination: ALL_NODES }, ALL_NODES_MAC);
      });
      await refused(notTunnel, () => clear({ destination: SERVER_LAN, source: FAR }, mac));
    });

    /** A forge beside the server, and the Ethernet address of the server's interface there. */
    async function onLinkTo(
      namespace: Namespace,
      serverInterface: string,
    ): Promise<{ forge: Forge; mac: string }> {
      const [forge, links] = await Promise.all([
        Forge.start(namespace),
        lab.serverNamespace.run(["ip", "-j", "link", "show", "dev", serverInterface]),
      ]);
      const [{ address }] = JSON.parse(links) as [{ address: string }];
      return { forge, mac: address };
    }

    it("a flood of advertisements harms its home alone: another one's move is taken and confirmed", async () => {
      const flood = Array.from({ length: 600 }, () =>
        advertisement({ addresses: [mallory.ipv4(7)] }),
      );
      const esp = await stranger.seal(flood, { keys: mallory.keyFile, sequence: sequence + 1 });
      sequence += flood.length;
      const before = await lab.server.status();
      let isOver = false;
      const flooding = stranger
        .send(esp, { to: SERVER, encapsulation: "esp", pauseMs: 5 })
        .finally(() => {
          isOver = true;
        });
      const limited = (status: ServerStatus) => traffic(mallory, "advertisement-rate")(status) ?? 0;
      await lab.server.until((status) => limited(status) > limited(before) + 20);
      const address = await alice.take(8);
      const { server } = await lab.confirmed(alice, address);
      expect(isOver, "the flood went on meanwhile").toBe(false);
      expect(server.advertisements.refused).toEqual({});
      await flooding;
      await lab.server.until((status) => limited(status) > limited(before) + flood.length / 2);
      await alice.reachesFar();
    });

    it("a stranger's address is believed for a second: then only probes are sent there", async () => {
      const large = 1_000; // octets of each ping
      const capture = await lab.capture("stranger");
      const pings = ["ping", "-n", "-q", "-i", "0.02", "-s", String(large), mallory.address];
      const ping = lab.far.spawn(pings);
      await eventually(async () => {
        await send([advertisement({ addresses: [STRANGER] })]);
        const { endpoint } = homeIn(await lab.server.status(), "mallory");
        return endpoint?.address === STRANGER ? true : undefined;
      });
      const held = await lab.server.until(
        (status) => homeIn(status, "mallory").state.kind === "held",
      );
      const there = async () => {
        const esp = (await capture.esp()).filter(({ destination }) => destination === STRANGER);
        const isPing = ({ octets }: CapturedEsp) => octets.length > large;
        return { pings: esp.filter(isPing).length, probes: esp.filter((e) => !isPing(e)).length };
      };
      const oneMoreProbe = async () => {
        const { probes } = await there();
        return await eventually(async () => {
          const now = await there();
          return now.probes > probes ? now : undefined;
        });
      };
      const onCredit = await oneMoreProbe();
      const { pings: after } = await oneMoreProbe();
      expect(onCredit.pings, "traffic follows at once").toBeGreaterThan(0);
      expect(after, "and stops").toBe(onCredit.pings);
      // The pings went on all the time: the server has refused to send them.
      const refusals = traffic(mallory, "held");
      await lab.server.until((status) => (refusals(status) ?? 0) > (refusals(held) ?? 0));
      await ping.stop();
      await capture.stop();
      await alice.reachesFar();
    });

    it("leaves no trace: the home that comes back is confirmed where it is, and works", async () => {
      await mallory.client.start();
      await lab.confirmed(mallory, mallory.ipv4(7));
      await mallory.reachesFar();
      await mallory.isReachedFrom(lab.far);
      await alice.reachesFar();
    });
  });
});

function first<Item>(items: readonly Item[]): Item {
  const [item] = items;
  if (item === undefined) throw new Error("nothing there");
  return item;
}
