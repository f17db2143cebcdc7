/**
 * Two homes with the same private address, each behind a router of its own that translates, and both behind one more NAT
 * of their ISP (RFC 6598): the laboratory of `tunnel-lab.ts` with
 *
 *     home 0  wan 192.168.1.2 ── lan 192.168.1.1  cpe0  wan 100.64.0.2 ── cpe0 ┐ router ┌ server 198.51.100.10
 *     home 1  wan 192.168.1.2 ── lan 192.168.1.1  cpe1  wan 100.64.1.2 ── cpe1 ┘        └
 *
 * What a home says of its address is of no use to the server then; where its authentic packets come from is.
 */

import { afterAll, beforeAll, expect, it } from "vitest";
import { PingStream } from "./ping-stream.ts";
import { FAR, homeIn, type LabHome, TunnelLab, type TunnelLabOptions } from "./tunnel-lab.ts";
import { growth, xfrmStatistics } from "./xfrm.ts";

const NAT = "198.51.100.10";
const OTHER_NAT = "198.51.100.11";
const INSIDE = "192.168.1.2";

/**
 * The tests, for alice and bob with these settings. Whose server is managed has it in the kernel, where restarts lose
 * nothing.
 */
export function homesBehindNat(options: TunnelLabOptions): void {
  const { isManaged = false } = options;
  let lab: TunnelLab;
  let homes: readonly LabHome[];

  /** An uplink through a router that translates, of its own. */
  async function putBehindNat(home: LabHome, index: number): Promise<void> {
    const router = await lab.lab.namespace(`cpe${index}`);
    await lab.lab.connect(home.namespace, "inside", router, "lan");
    await lab.lab.connect(router, "wan", lab.router, `cpe${index}`);
    await lab.router.run(`ip addr add 100.64.${index}.1/24 dev cpe${index}`);
    await router.run(
      `sysctl -qw net.ipv4.ip_forward=1
       ip addr add 192.168.1.1/24 dev lan; ip addr add 100.64.${index}.2/24 dev wan
       ip route add default via 100.64.${index}.1
       nft add table ip nat
       nft 'add chain ip nat out { type nat hook postrouting priority srcnat; }'
       nft 'add rule ip nat out oifname "wan" masquerade'`,
    );
    await home.leave();
    await home.batch([`addr add ${INSIDE}/24 dev inside`, "route replace default via 192.168.1.1"]);
  }

  /** The ISP's NAT has this address outside; what it remembers is gone with the one before. */
  async function translateTo(address: string): Promise<void> {
    await lab.router.run(
      `ip addr flush dev server; ip addr add ${address}/24 dev server
       ip addr add 198.51.100.254/24 dev server`,
    );
  }

  const endpointOf = async (home: LabHome) => homeIn(await lab.server.status(), home.name).endpoint;

  /** What the kernels of the homes and of the server have refused so far. */
  async function refused() {
    const namespaces = [...homes.map(({ namespace }) => namespace), lab.serverNamespace];
    return isManaged ? await Promise.all(namespaces.map(xfrmStatistics)) : [];
  }

  /** Confirmed at that address, and not at the port it had. */
  async function confirmedAt(home: LabHome, address: string, unlike?: number): Promise<void> {
    await lab.server.until((status) => {
      const { state, endpoint } = homeIn(status, home.name);
      const isThere = endpoint?.address === address && endpoint.port !== unlike;
      return state.kind === "confirmed" && isThere;
    });
    await home.client.until(({ state }) => state.kind === "confirmed");
  }

  beforeAll(async () => {
    lab = await TunnelLab.build(options);
    homes = [lab.home("alice"), lab.home("bob")];
    await Promise.all(homes.map(putBehindNat));
    await lab.router.run(
      `nft add table ip nat
       nft 'add chain ip nat out { type nat hook postrouting priority srcnat; }'
       nft 'add rule ip nat out oifname "server" ip saddr 100.64.0.0/10 meta l4proto udp masquerade to :20000-60000 random'`,
    );
    await translateTo(NAT);
    await lab.server.start();
    await Promise.all(homes.map(({ client }) => client.start()));
  });

  afterAll(async () => {
    await lab?.dispose();
  });

  it("are where their packets come from, each at a port of its own", async () => {
    for (const home of homes) {
      await confirmedAt(home, NAT);
      await home.reachesFar();
      await home.isReachedFrom(lab.far);
      const { uplink, problem } = await home.client.status();
      expect(uplink?.address).toBe(INSIDE);
      expect(problem).toBeUndefined();
    }
    const [alice, bob] = await Promise.all(homes.map(endpointOf));
    expect(alice?.port).not.toBe(bob?.port);
    expect(alice?.port).not.toBe(4500);
  });

  it.each([
    { name: "the NAT's address changes", address: OTHER_NAT },
    { name: "only the NAT's ports change", address: OTHER_NAT },
  ])("are followed as soon as they send when $name", async ({ address }) => {
    const ports = (await Promise.all(homes.map(endpointOf))).map((endpoint) => endpoint?.port);
    const { moves } = await (homes[0] as LabHome).client.status();
    await translateTo(address);
    for (const [index, home] of homes.entries()) {
      const since = Date.now();
      await home.reachesFar();
      process.stdout.write(`${home.name}: answered ${Date.now() - since} ms after the first\n`);
      await confirmedAt(home, address, ports[index]);
      await home.isReachedFrom(lab.far);
    }
    // They did not notice.
    expect((await (homes[0] as LabHome).client.status()).moves).toBe(moves);
  });

  it("are asked before they are believed: who only passes their packets on gets none of theirs", async () => {
    const [alice] = homes as [LabHome];
    const before = await endpointOf(alice);
    // Captured, and sent again from elsewhere: it has been received, and moves nothing.
    const capture = await lab.capture("server", "udp port 4500 and src host 198.51.100.11");
    await alice.reachesFar();
    await capture.stop();
    const [packet] = await capture.esp();
    if (packet === undefined) throw new Error("nothing was captured");
    await lab.stranger.run([
      process.execPath,
      "-e",
      `const socket = require("node:dgram").createSocket("udp4");
       const packet = Buffer.from("${Buffer.from(packet.octets).toString("hex")}", "hex");
       socket.bind(4500, () => socket.send(packet, 4500, "198.51.100.1", () => socket.close()));`,
    ]);
    await lab.server.until((status) => homeIn(status, alice.name).traffic.refused.replayed === 1);
    await alice.reachesFar();
    expect(await endpointOf(alice)).toEqual(before);
  });

  it(`are found again by a server that begins anew${isManaged ? ", and lose nothing" : ""}`, async () => {
    const streams = await Promise.all(
      homes.map(({ namespace }) => PingStream.start(namespace, FAR, { interval: 0.1 })),
    );
    const before = await refused();
    await lab.server.crash();
    await lab.server.start();
    await lab.server.until((status) => status.homes.every(({ keys }) => keys?.ikeSas === 1));
    for (const home of homes) await confirmedAt(home, OTHER_NAT);
    const lost = await Promise.all(streams.map((stream) => stream.lost()));
    const why = (await refused()).map((after, index) => growth(before[index] ?? after, after));
    if (isManaged) expect(lost, JSON.stringify(why)).toEqual([0, 0]);
  });

  it("go back to stating their address when they have one of their own again", async () => {
    const [alice] = homes as [LabHome];
    await alice.batch(["addr flush dev inside"]);
    const address = await alice.take(9);
    await lab.confirmed(alice, address);
    expect(await endpointOf(alice)).toEqual({ address, port: 4500 });
    await alice.isReachedFrom(lab.far);
  });
}
