/**
 * What stands in the kernel outlives the daemons, serves nobody but whom it is for, and is mended; over the laboratory
 * of `tunnel-lab.ts`. Alice's keys are of AES-GCM: with them nothing but the kernel's own states can be gone on with.
 */

import { readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Capture } from "../support/capture.ts";
import { eventually, type Namespace, PATIENCE_MS } from "../support/namespace.ts";
import { PingStream } from "../support/ping-stream.ts";
import { daemonsAreBuilt, FAR, type LabHome, SERVER, TunnelLab } from "../support/tunnel-lab.ts";
import { canUseXfrmInterfaces, netlinkOverruns } from "../support/xfrm.ts";

const KERNEL = 'data-plane = "kernel"';

describe.skipIf(!canUseXfrmInterfaces() || !daemonsAreBuilt())("tunnels in the kernel", () => {
  let lab: TunnelLab;
  let alice: LabHome;
  let carol: LabHome;
  let server: Namespace;

  beforeAll(async () => {
    lab = await TunnelLab.build({
      homes: [
        { name: "alice", encapsulation: "esp", suite: "aes-gcm-128", client: KERNEL },
        {
          name: "bob",
          encapsulation: "esp",
          suite: "aes-cbc-256-hmac-sha2-256-128",
          client: KERNEL,
        },
        { name: "carol", encapsulation: "udp", suite: "aes-gcm-256", client: KERNEL },
      ],
      server: `${KERNEL}\nallow-private-endpoints = true`,
      isManaged: true,
    });
    alice = lab.home("alice");
    carol = lab.home("carol");
    server = lab.serverNamespace;
    // Somebody else's, of the same kinds.
    await server.run(
      `ip link add theirs type xfrm dev lo if_id 0x11
       ip xfrm state add src ${SERVER} dst 203.0.113.99 proto esp spi 0x99 reqid 17 mode tunnel \
         aead 'rfc4106(gcm(aes))' 0x${"ab".repeat(20)} 128 if_id 0x11 sel src ::/0 dst ::/0
       ip xfrm policy add src 2001:db8:99::/48 dst ::/0 dir out if_id 0x11 action block`,
    );
    await lab.server.start();
    await Promise.all(lab.homes.map(({ client }) => client.start()));
    for (const home of lab.homes) await lab.confirmed(home, home.ipv4(7));
  });

  afterAll(async () => {
    await lab?.dispose();
  });

  async function counter(namespace: Namespace, name: string): Promise<number> {
    const text = await namespace.run("cat /proc/net/xfrm_stat");
    return Number(new RegExp(`^${name}\\s+(\\d+)$`, "m").exec(text)?.[1]);
  }

  /** Keys, SPIs and addresses of all states, without what counts. */
  async function states(namespace: Namespace): Promise<string> {
    const text = await namespace.run("ip xfrm state");
    return text.replaceAll(/^\s+(seq-hi|[0-9a-f]{8}) .*$/gm, "");
  }

  /** All counters of refused and unsendable packets, by namespace. */
  async function drops(): Promise<string[]> {
    const text = async (namespace: Namespace) =>
      `${namespace.label}:${await namespace.run("grep -v '\\s0$' /proc/net/xfrm_stat || true")}`;
    return await Promise.all([server, alice.namespace, carol.namespace].map(text));
  }

  /**
   * Runs `work` with an echo every 100 ms from alice, in ESP, and carol, in UDP, to the far host: what was lost, and what
   * the kernel says of it.
   */
  async function lossDuring(work: () => Promise<void>) {
    const before = await drops();
    const streams = await Promise.all(
      [alice, carol].map(({ namespace }) => PingStream.start(namespace, FAR, { interval: 0.1 })),
    );
    await work();
    await alice.namespace.run("sleep 1");
    const lost = await Promise.all(streams.map((stream) => stream.lost()));
    const after = await drops();
    return { lost, drops: after.filter((each, index) => each !== before[index]) };
  }

  it("lose nothing when the server's daemon is killed, and are taken up by the next", async () => {
    const before = await states(server);
    const loss = await lossDuring(async () => {
      await lab.server.crash();
      await lab.server.start();
      await lab.confirmed(alice, alice.ipv4(7));
    });
    expect(loss).toEqual({ lost: [0, 0], drops: [] });
    expect(await states(server)).toBe(before);
  });

  it("lose nothing when the home's daemon is killed, and are taken up by the next", async () => {
    for (const home of [alice, carol]) {
      const before = await states(home.namespace);
      const loss = await lossDuring(async () => {
        await home.client.crash();
        await home.client.start();
        await lab.confirmed(home, home.ipv4(7));
      });
      expect(loss).toEqual({ lost: [0, 0], drops: [] });
      expect(await states(home.namespace)).toBe(before);
    }
  });

  it("lose nothing when the daemons are restarted as systemd does it", async () => {
    const before = await Promise.all([server, alice.namespace, carol.namespace].map(states));
    const loss = await lossDuring(async () => {
      await Promise.all([lab.server, alice.client, carol.client].map((daemon) => daemon.restart()));
      for (const home of [alice, carol]) await lab.confirmed(home, home.ipv4(7));
    });
    expect(loss).toEqual({ lost: [0, 0], drops: [] });
    const after = await Promise.all([server, alice.namespace, carol.namespace].map(states));
    expect(after).toEqual(before);
  });

  it("move to an address that came while the home's daemon was dead", async () => {
    await alice.client.crash();
    const address = await alice.take(8);
    await alice.client.start();
    await lab.confirmed(alice, address);
    await alice.reachesFar();
  });

  it("keep their numbers when the home moves", async () => {
    const sent = async () =>
      (await lab.server.status()).homes.find(({ name }) => name === "alice")?.traffic
        .receivedPackets ?? 0;
    const before = await sent();
    const address = await alice.take(9);
    await lab.confirmed(alice, address);
    await alice.reachesFar();
    expect(await sent()).toBeGreaterThan(before);
    expect(await counter(server, "XfrmInStateSeqError")).toBe(0);
  });

  it("have their interface again after somebody deleted it", async () => {
    const before = await states(server);
    const prefix = "2001:db8:a::/48";
    await server.run("ip link del ht-alice");
    // Until then nothing for her leaves in clear.
    expect(await server.run(`ip -6 route show ${prefix} type unreachable`)).toContain(prefix);
    await eventually(() => server.run("ip link show ht-alice").catch(() => undefined));
    await alice.isReachedFrom();
    expect(await states(server)).toBe(before);
  });

  it("have it again when another had taken its name, and the server serves on meanwhile", async () => {
    const daemon = lab.server.running;
    daemon.kill("SIGSTOP");
    try {
      await server.run("ip link del ht-alice; ip link add ht-alice type veth peer name other");
    } finally {
      daemon.kill("SIGCONT");
    }
    await daemon.errorLine((line) => line.includes("tunnel in trouble"), PATIENCE_MS);
    await carol.isReachedFrom();
    await server.run("ip link del ht-alice");
    await eventually(() => server.run("ip link show ht-alice").catch(() => undefined));
    await alice.isReachedFrom();
  });

  it("have it again when the kernel's word of its end was lost among too many others", async () => {
    const daemon = lab.server.running;
    const batch = join(lab.directory, "changes");
    const changes = Array.from({ length: 12_000 }, (_, index) => `link set lo alias ${index}`);
    await writeFile(batch, changes.join("\n"));
    const before = await netlinkOverruns(server);
    daemon.kill("SIGSTOP");
    try {
      await server.run(["ip", "-batch", batch], { timeoutMs: PATIENCE_MS });
      await server.run("ip link del ht-alice");
      expect(await netlinkOverruns(server)).toBeGreaterThan(before);
    } finally {
      daemon.kill("SIGCONT");
    }
    await eventually(() => server.run("ip link show ht-alice").catch(() => undefined));
    await alice.isReachedFrom();
  });

  it("come and go with the configuration, and the others notice nothing", async () => {
    const bob = lab.home("bob");
    const file = join(lab.directory, "server", "homes", "bob.toml");
    const text = await readFile(file);
    const homes = async (count: number) => {
      lab.server.running.kill("SIGHUP");
      await lab.server.until((status) => status.homes.length === count);
    };
    const before = await states(server);
    const { address = "nowhere" } = (await alice.atServer(lab.server)).endpoint ?? {};
    const alices = before.split(/^(?=src )/m).filter((each) => each.includes(address));
    expect(alices).toHaveLength(1);
    const { lost } = await lossDuring(async () => {
      await rm(file);
      await homes(2);
      await eventually(async () =>
        (await server.run("ip link")).includes("ht-bob") ? undefined : true,
      );
      const left = await states(server);
      expect(left.match(/^src /gm)).toHaveLength(5); // hers, carol's, and what is not ours
      expect(left).toContain(alices[0]);
      await writeFile(file, text, { mode: 0o600 });
      await homes(3);
      await bob.client.announce();
      await lab.confirmed(bob, bob.ipv4(7));
    });
    expect(lost).toEqual([0, 0]);
    expect(await states(server)).toContain(alices[0]);
    await bob.reachesFar();
  });

  it("carry nothing that claims to come from another home", async () => {
    const bob = lab.home("bob");
    const link = await alice.namespace.run("ip -d link show ht0");
    const interfaceId = /if_id (0x[0-9a-f]+)/.exec(link)?.[1];
    // Alice's own kernel would not let it out either.
    await alice.namespace.run(
      `ip xfrm policy add src ${bob.address}/128 dst ::/0 dir out priority 1 if_id ${interfaceId} \
         tmpl src ${alice.ipv4(9)} dst ${SERVER} proto esp reqid $((${interfaceId})) mode tunnel
       ip addr add ${bob.address}/128 dev lo`,
    );
    const before = await counter(server, "XfrmInNoPols");
    const ping = ["ping", "-n", "-c", "2", "-W", "1", "-I", bob.address];
    await expect(alice.namespace.run([...ping, FAR])).rejects.toThrow();
    await expect(alice.namespace.run([...ping, "2001:db8:ffff::1"])).rejects.toThrow();
    expect(await counter(server, "XfrmInNoPols")).toBeGreaterThanOrEqual(before + 4);
  });

  it("take no packet twice, wherever it comes from", async () => {
    const capture = await Capture.start(lab.router, "server", lab.directory, "ip proto 50");
    await alice.reachesFar();
    await capture.stop();
    const [packet] = (await capture.esp()).filter(({ destination }) => destination === SERVER);
    if (packet === undefined) throw new Error("nothing was captured");
    const before = await counter(server, "XfrmInStateSeqError");
    const octets = Buffer.from(packet.octets).toString("hex");
    const program = `const { createSocket } = require("raw-socket");
      const packet = Buffer.from("${octets}", "hex");
      const socket = createSocket({ protocol: 50 });
      socket.send(packet, 0, packet.length, "${SERVER}", () => process.exit());`;
    await lab.router.run([process.execPath, "-e", program]);
    await eventually(async () =>
      (await counter(server, "XfrmInStateSeqError")) === before + 1 ? true : undefined,
    );
    const { refused } = (await alice.atServer(lab.server)).traffic;
    expect(refused.replayed).toBe(1);
  });

  it("go when the daemon is stopped, and nobody else's do", async () => {
    await lab.server.stop();
    expect(await server.run("ip xfrm state")).toContain("spi 0x00000099");
    expect((await server.run("ip xfrm state")).match(/^src /gm)).toHaveLength(1);
    expect((await server.run("ip xfrm policy")).match(/^src /gm)).toHaveLength(1);
    expect(await server.run("ip -6 route show type unreachable")).toBe("");
    const links = await server.run("ip link");
    expect(links).toContain("theirs");
    expect(links).not.toContain("ht-");
  });
});
