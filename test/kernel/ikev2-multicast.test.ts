/**
 * An SA for multicast beside the link's on the kernel's data plane, over the laboratory of `tunnel-lab.ts`: a server that
 * gives one, alice who asks for it, bob who does not.
 */

import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { KeyStatus } from "../../common/control/key-status.ts";
import { MulticastStream } from "../support/multicast.ts";
import type { Namespace } from "../support/namespace.ts";
import { daemonsAreBuilt, FAR, type LabHome, SERVER, TunnelLab } from "../support/tunnel-lab.ts";
import { canUseXfrmInterfaces } from "../support/xfrm.ts";

const ON = "multicast = true";
const SERVER_LAN = "2001:db8:ffff::1";
const REKEY_PACKETS = 100;
/** Three daemons that start on an emulated machine. */
const BUILDING_MS = 400_000;

describe.skipIf(!canUseXfrmInterfaces() || !daemonsAreBuilt())("an SA for multicast", () => {
  let lab: TunnelLab;
  let alice: LabHome;
  let bob: LabHome;
  let toAlice: MulticastStream;

  beforeAll(async () => {
    const kernel = { ikev2: "psk", client: 'data-plane = "kernel"' } as const;
    lab = await TunnelLab.open({
      homes: [
        { name: "alice", ...kernel, encapsulation: "esp", keys: ON, rekeyPackets: REKEY_PACKETS },
        { name: "bob", ...kernel },
      ],
      server: 'data-plane = "kernel"',
      ikev2: ON,
      isManaged: true,
    });
    [alice, bob] = [lab.home("alice"), lab.home("bob")];
    toAlice = await MulticastStream.open(lab, alice, { source: SERVER_LAN });
  }, BUILDING_MS);

  afterAll(async () => {
    await lab?.dispose();
  });

  /** The SPIs at the server, once neither end is in the middle of a rekey. */
  const spis = async () => {
    const fits = (keys: KeyStatus | undefined) => keys?.associations.length === 2;
    await alice.client.until(({ keys }) => fits(keys));
    await lab.server.until(({ homes }) => fits(homes.find(({ name }) => name === "alice")?.keys));
    const { associations = [] } = (await alice.atServer(lab.server)).keys ?? {};
    const spiOf = (direction?: string) =>
      associations.find(({ multicast }) => multicast === direction)?.spi;
    return { link: spiOf(), multicast: spiOf("outbound") };
  };

  it("brings a program in the home what is sent to its group, and groups of the link", async () => {
    const { multicast } = await spis();
    expect(multicast).toBeDefined();
    expect(await toAlice.deliver(20)).toBe(20);
    const ofLink = await MulticastStream.open(lab, alice, { group: "ff0e::4243" });
    expect(await ofLink.deliver(5)).toBe(5);
    await ofLink.close();
    const ping = "ping -n -c 1 -W 5 ff02::1%ht-alice";
    expect(await lab.serverNamespace.run(ping)).toContain("1 received");
    await alice.reachesFar();
  });

  it("is needed for groups wider than the link, and for nothing else", async () => {
    const toBob = await MulticastStream.open(lab, bob, { source: SERVER_LAN });
    expect(await toBob.deliver(10)).toBe(0);
    await toBob.close();
    const ping = "ping -n -c 1 -W 5 ff02::1%ht-bob";
    expect(await lab.serverNamespace.run(ping)).toContain("1 received");
    await bob.reachesFar();
  });

  it("takes nothing from the home, and brings it nothing for one address", async () => {
    const { serverNamespace } = lab;
    const [home, server] = [alice.ipv4(7), SERVER];
    const { multicast = 0 } = await spis();
    const hex = `0x${multicast.toString(16).padStart(8, "0")}`;
    const states = await serverNamespace.run("ip xfrm state");
    const key = states.split(/^src /m).find((state) => state.includes(`spi ${hex} `));
    const [, algorithm, rest] = key?.match(/aead (\S+) (.*)/) ?? [];
    const [id, idOfServer] = [
      await interfaceId(alice.namespace, "ht0"),
      await interfaceId(serverNamespace, "ht-alice"),
    ];
    // What the home's plane never does: it sends with the pair. The server's sends with it what goes to one address.
    const state = `src ${home} dst ${server} proto esp spi ${hex}`;
    const out = `src ${alice.address} dst ${FAR} dir out if_id ${id}`;
    await alice.namespace.run(
      `ip xfrm state add ${state} reqid 77 mode tunnel flag esn replay-window 64 \
         aead '${algorithm}' ${rest} sel src ::/0 dst ::/0 if_id ${id}
       ip xfrm policy add ${out} priority 1 tmpl src ${home} dst ${server} proto esp reqid 77 mode tunnel`,
    );
    const outOfServer = `src ::/0 dst ${alice.address} dir out if_id ${idOfServer}`;
    await serverNamespace.run(
      `ip xfrm policy add ${outOfServer} priority 1 \
         tmpl src ${server} dst ${home} proto esp reqid ${idOfServer & ~0x2000_0000} mode tunnel`,
    );
    const ways = [
      { from: alice.namespace, to: FAR, at: serverNamespace },
      { from: serverNamespace, to: alice.address, at: alice.namespace },
    ];
    for (const { from, to, at } of ways) {
      const before = await mismatches(at);
      await expect(from.run(["ping", "-n", "-c", "2", "-W", "1", to])).rejects.toThrow();
      // Sockets that listen for ICMPv6 count what is delivered here, each for itself.
      expect(await mismatches(at)).toBeGreaterThanOrEqual(before + 2);
    }
    const { packets } = (await lab.server.status()).unattributed;
    expect(packets["inner-source"]).toBeGreaterThanOrEqual(2);
    await alice.namespace.run(`ip xfrm policy delete ${out}; ip xfrm state delete ${state}`);
    await serverNamespace.run(`ip xfrm policy delete ${outOfServer}`);
    await alice.reachesFar();
  });

  it("has other keys when it is used up, and loses no datagram", async () => {
    const before = await spis();
    expect(await toAlice.deliver(2 * REKEY_PACKETS, 50)).toBe(2 * REKEY_PACKETS);
    expect((await spis()).multicast).not.toBe(before.multicast);
    expect(await toAlice.deliver(10)).toBe(10);
  });

  it("follows a home that moves", async () => {
    await alice.take(8);
    await lab.confirmed(alice, alice.ipv4(8));
    await toAlice.arrives();
    expect(await toAlice.deliver(10)).toBe(10);
  });

  it("serves on while the server begins anew, until the home has asked for another", async () => {
    const before = await spis();
    const delivered = toAlice.deliver(2 * REKEY_PACKETS, 200);
    await lab.server.crash();
    await lab.server.start();
    expect(await delivered).toBe(2 * REKEY_PACKETS);
    const after = await spis();
    expect(after.multicast).toBeDefined();
    expect(after.multicast).not.toBe(before.multicast);
    expect(after.link).not.toBe(before.link);
  });

  it("goes with the daemons", async () => {
    await Promise.all([alice.client.stop(), bob.client.stop(), lab.server.stop()]);
    for (const { namespace } of [alice, bob]) expect(await namespace.run("ip xfrm state")).toBe("");
    expect(await lab.serverNamespace.run("ip xfrm state; ip xfrm policy")).toBe("");
  });
});

async function interfaceId(namespace: Namespace, name: string): Promise<number> {
  const [, id] = (await namespace.run(`ip -d link show ${name}`)).match(/if_id (\S+)/) ?? [];
  return Number(id);
}

/** Packets that came with states that their policy does not ask for. */
async function mismatches(namespace: Namespace): Promise<number> {
  const [, count] = (await namespace.run("grep XfrmInTmplMismatch /proc/net/xfrm_stat")).split(
    /\s+/,
  );
  return Number(count);
}
