/**
 * The main job with keys by IKEv2 on the kernel's data plane, over the laboratory of `tunnel-lab.ts`: a server in the
 * kernel, alice in hers by protocol 50, bob in userspace by UDP.
 */

import { readFile, rm, writeFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Namespace, PATIENCE_MS } from "../support/namespace.ts";
import { nodeCommand } from "../support/node-command.ts";
import { PingStream } from "../support/ping-stream.ts";
import { daemonsAreBuilt, FAR, homeIn, type LabHome, TunnelLab } from "../support/tunnel-lab.ts";
import { canUseXfrmInterfaces, netlinkOverruns } from "../support/xfrm.ts";

/** Each pair of SAs lasts for so many packets. */
const REKEY_PACKETS = 100;
const EXPIRIES = resolve(import.meta.dirname, "../support/xfrm-expiries-process.ts");
/** More than a socket's buffer takes. */
const EXPIRIES_AT_ONCE = 15_000;
/** Three daemons that start on an emulated machine. */
const BUILDING_MS = 400_000;

describe.skipIf(!canUseXfrmInterfaces() || !daemonsAreBuilt())("keys by IKEv2", () => {
  let lab: TunnelLab;
  let alice: LabHome;
  let bob: LabHome;
  let server: Namespace;

  beforeAll(async () => {
    const ikev2 = { ikev2: "psk", rekeyPackets: REKEY_PACKETS } as const;
    lab = await TunnelLab.open({
      homes: [
        { name: "alice", ...ikev2, encapsulation: "esp", client: 'data-plane = "auto"' },
        { name: "bob", ...ikev2 },
      ],
      server: 'data-plane = "auto"',
      isManaged: true,
    });
    [alice, bob, server] = [lab.home("alice"), lab.home("bob"), lab.serverNamespace];
  }, BUILDING_MS);

  afterAll(async () => {
    await lab?.dispose();
  });

  /** SPIs of the states in a namespace. */
  async function spis(namespace: Namespace): Promise<(string | undefined)[]> {
    const text = await namespace.run("ip xfrm state");
    return [...text.matchAll(/spi (0x[0-9a-f]+)/g)].map(([, spi]) => spi);
  }

  it("are taken by the kernel where it is asked for nothing else", async () => {
    expect((await lab.server.status()).dataPlane.kind).toBe("kernel");
    expect((await alice.client.status()).dataPlane.kind).toBe("kernel");
    expect((await bob.client.status()).dataPlane.kind).toBe("userspace");
    await alice.reachesFar(1300);
    await bob.isReachedFrom(lab.far);
  });

  it("lose no packet while they are renewed under load", async () => {
    const lossless = async (home: LabHome) => {
      const before = (await home.client.status()).keys?.rekeys ?? 0;
      const ping = ["ping", "-n", "-q", "-c", "400", "-i", "0.05", home.address];
      expect(await lab.far.run(ping)).toContain("400 received");
      const { keys, traffic } = await home.client.status();
      expect(keys?.rekeys).toBeGreaterThan(before + 2);
      // Those that went through states that are gone are counted too.
      expect(traffic.receivedPackets).toBeGreaterThanOrEqual(400);
      expect(traffic.sentPackets).toBeGreaterThanOrEqual(400);
    };
    await Promise.all([alice, bob].map(lossless));
  });

  it("are renewed though the kernel's word that they are used up was lost", async () => {
    const { client, namespace } = alice;
    await namespace.run(
      `ip xfrm state add src 192.0.2.1 dst 192.0.2.2 proto esp spi 0x999 mode tunnel \
         auth-trunc 'hmac(sha256)' 0x${"00".repeat(32)} 128 enc 'cbc(aes)' 0x${"00".repeat(32)}`,
    );
    const before = (await client.status()).keys?.rekeys ?? 0;
    const lost = await netlinkOverruns(namespace);
    client.running.kill("SIGSTOP");
    try {
      const flood = nodeCommand(EXPIRIES, String(EXPIRIES_AT_ONCE), "192.0.2.2", "0x999");
      await namespace.run(flood, { timeoutMs: PATIENCE_MS });
      const ping = [
        "ping",
        "-n",
        "-q",
        "-c",
        String(2 * REKEY_PACKETS),
        "-i",
        "0.05",
        alice.address,
      ];
      expect(await lab.far.run(ping)).toContain(`${2 * REKEY_PACKETS} received`);
      expect(await netlinkOverruns(namespace)).toBeGreaterThan(lost + REKEY_PACKETS);
    } finally {
      client.running.kill("SIGCONT");
      await namespace.run("ip xfrm state delete dst 192.0.2.2 proto esp spi 0x999");
    }
    await client.until(({ keys }) => (keys?.rekeys ?? 0) > before);
    await alice.reachesFar();
  });

  it("follow an address that changes", async () => {
    await alice.take(8);
    await lab.confirmed(alice, alice.ipv4(8));
    await alice.reachesFar();
    await alice.take(9, "wan2");
    await lab.confirmed(alice, alice.ipv4(9, "wan2"));
    await alice.reachesFar();
    await alice.client.until(({ keys }) => keys?.associations.length === 1);
    expect(await spis(alice.namespace)).toHaveLength(2);
  });

  it("lose no packet while another home goes and comes with the configuration", async () => {
    const file = join(lab.directory, "server", "homes", "bob.toml");
    const text = await readFile(file);
    const received = async () => (await alice.atServer(lab.server)).traffic.receivedPackets;
    const before = await received();
    const ping = alice.namespace.run(["ping", "-n", "-q", "-c", "50", "-i", "0.2", FAR]);
    await rm(file);
    lab.server.running.kill("SIGHUP");
    await lab.server.until(({ homes }) => homes.length === 1);
    await writeFile(file, text, { mode: 0o600 });
    lab.server.running.kill("SIGHUP");
    await lab.server.until(({ homes }) => homes.length === 2);
    expect(await ping).toContain("50 received");
    expect(await received()).toBeGreaterThanOrEqual(before + 50);
    await bob.reachesFar();
  });

  it("are others when a home begins anew, and nothing of the old ones stays", async () => {
    const before = await spis(alice.namespace);
    await alice.client.crash();
    await alice.client.start();
    await lab.confirmed(alice, alice.ipv4(9, "wan2"));
    await alice.isReachedFrom(lab.far);
    const { keys } = homeIn(await lab.server.status(), alice.name);
    expect(keys?.associations).toHaveLength(1);
    const [after, atServer] = await Promise.all([spis(alice.namespace), spis(server)]);
    expect(after).toHaveLength(2);
    expect(atServer).toHaveLength(4);
    for (const spi of before) expect([...after, ...atServer]).not.toContain(spi);
  });

  it("serve on while the server begins anew, until the homes have others", async () => {
    const before = await spis(server);
    const streams = await Promise.all(
      [alice, bob].map(({ namespace }) => PingStream.start(namespace, FAR, { interval: 0.1 })),
    );
    await lab.server.crash();
    await lab.server.start();
    await lab.server.until(({ homes }) =>
      homes.every(({ keys }) => keys?.ikeSas === 1 && keys.associations.length === 1),
    );
    expect(await Promise.all(streams.map((stream) => stream.lost()))).toEqual([0, 0]);
    for (const spi of await spis(server)) expect(before).not.toContain(spi);
  });

  it("do not serve on for a home that is to be believed by something else", async () => {
    const file = join(lab.directory, "server", "homes", "alice.toml");
    const text = await readFile(file, "utf8");
    const inboundOf = async (home: LabHome) => {
      const [pair] = (await home.atServer(lab.server)).keys?.associations ?? [];
      return `0x${(pair?.spi ?? 0).toString(16).padStart(8, "0")}`;
    };
    const [hers, his] = [await inboundOf(alice), await inboundOf(bob)];
    expect(await spis(server)).toEqual(expect.arrayContaining([hers, his]));
    await lab.server.crash();
    await writeFile(file, text.replace(/^prefixes = .*$/m, 'prefixes = ["2001:db8:aa::/48"]'));
    await lab.server.start();
    const standing = await spis(server);
    expect(standing).toContain(his);
    expect(standing).not.toContain(hers);
    await writeFile(file, text);
    lab.server.running.kill("SIGHUP");
    await lab.server.until(({ homes }) => homes.every(({ keys }) => keys?.ikeSas === 1));
    for (const home of [alice, bob]) await home.reachesFar();
  });

  it("go with the daemons", async () => {
    await Promise.all([alice.client.stop(), lab.server.stop()]);
    expect(await spis(alice.namespace)).toEqual([]);
    expect(await spis(server)).toEqual([]);
  });
});
