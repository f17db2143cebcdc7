/**
 * The main job with keys by IKEv2 between both real daemons: the home's file names a server, an identity and a key;
 * addresses, prefixes and SAs come from the exchange (RFC 5739). Topology: test/support/tunnel-lab.ts.
 */

import { generateKeyPairSync } from "node:crypto";
import { chmod, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { canUseNamespaces } from "../support/namespace.ts";
import { PingStream } from "../support/ping-stream.ts";
import { RawSender } from "../support/raw-sender.ts";
import { Transfer } from "../support/transfer.ts";
import {
  daemonsAreBuilt,
  FAR,
  homeIn,
  type LabHome,
  SERVER,
  TunnelLab,
} from "../support/tunnel-lab.ts";

/** Each pair of SAs lasts for so many packets: with 50 a second, some are renewed while we look. */
const REKEY_PACKETS = 100;
const MORE = "2001:db8:7700::/56";

describe.skipIf(!canUseNamespaces() || !daemonsAreBuilt()).each(["psk", "ed25519"] as const)(
  "keys by IKEv2, the ends proven by %s",
  (ikev2) => {
    let lab: TunnelLab;
    let home: LabHome;

    beforeAll(async () => {
      const options = { name: "alice", ikev2, rekeyPackets: REKEY_PACKETS };
      lab = await TunnelLab.open({ homes: [options] });
      home = lab.home("alice");
    });

    afterAll(async () => {
      await lab?.dispose();
    });

    const stateNow = async () => {
      const client = await home.client.status();
      const server = await lab.server.status();
      return { client, home: homeIn(server, home.name), unattributed: server.unattributed };
    };

    it("gives the home its prefix, and it is confirmed on both sides", async () => {
      const { client, server } = await lab.confirmed(home, home.ipv4(7));
      expect(client.prefixes).toEqual(server.prefixes);
      expect(client.address).toBe(home.address);
      expect(client.keys).toMatchObject({ state: "established" });
      expect(client.problem).toBeUndefined();
      expect(server.keys?.associations).toHaveLength(1);
      await home.reachesFar();
      await home.isReachedFrom(lab.far);
    });

    it("loses no packet while keys are renewed under load", async () => {
      const before = await stateNow();
      const output = await lab.far.run([
        "ping",
        "-n",
        "-q",
        "-c",
        "500",
        "-i",
        "0.01",
        home.address,
      ]);
      const after = await stateNow();
      expect(output).toContain("500 received");
      expect(after.client.keys?.rekeys).toBeGreaterThan((before.client.keys?.rekeys ?? 0) + 3);
      expect(after.client.traffic.refused).toEqual(before.client.traffic.refused);
      expect(after.home.traffic.refused).toEqual(before.home.traffic.refused);
      expect(after.unattributed).toEqual(before.unattributed);
    });

    it("carries an open TCP connection, each way, through every change of address", async () => {
      const pings = await PingStream.start(lab.far, home.address);
      const down = { from: lab.far, to: home.namespace, address: home.address, port: 5002 };
      const up = { from: home.namespace, to: lab.far, address: FAR, port: 5001 };
      const transfers = [await Transfer.start(up), await Transfer.start(down)];
      const changes = [
        { number: 8, uplink: "wan" },
        { number: 7, uplink: "wan2" },
        { number: 7, uplink: "wan" },
      ] as const;
      for (const { number, uplink } of changes) {
        pings.mark();
        await home.take(number, uplink);
        await lab.confirmed(home, home.ipv4(number, uplink));
        await pings.answered();
        process.stdout.write(`${ikev2}, moved: pings stopped for ${pings.longestGapMs} ms\n`);
      }
      for (const transfer of transfers) {
        const { sent, received } = await transfer.finish();
        expect(received).toBe(sent);
        expect(Number.parseInt(sent, 10)).toBeGreaterThan(0);
      }
      await pings.stop();
      const { home: atServer } = await stateNow();
      expect(atServer.traffic.refused).not.toHaveProperty("not-authentic");
      expect(atServer.traffic.refused).not.toHaveProperty("replayed");
    });

    it("gives another prefix by authenticating again, and loses no packet", async () => {
      const file = join(lab.directory, "server", "homes", `${home.name}.toml`);
      const text = await readFile(file, "utf8");
      const ping = ["ping", "-n", "-q", "-c", "800", "-i", "0.01", home.address];
      const pinging = lab.far.run(ping);
      // Behind the first, in which the home's own address lies.
      await writeFile(file, text.replace('"]', `", "${MORE}"]`));
      lab.server.running.kill("SIGHUP");
      const more = await home.client.until(({ prefixes }) => prefixes.length === 2);
      expect(more.prefixes).toContain(MORE);
      await writeFile(file, text);
      lab.server.running.kill("SIGHUP");
      const less = await home.client.until(({ prefixes }) => prefixes.length === 1);
      expect(less.prefixes).not.toContain(MORE);
      expect(await pinging).toContain("800 received");
    });

    it("comes back when the home begins anew", async () => {
      await home.client.crash();
      await home.client.start();
      await lab.confirmed(home, home.ipv4(7));
      await home.isReachedFrom(lab.far);
      const { home: atServer } = await stateNow();
      expect(atServer.keys?.associations).toHaveLength(1);
    });

    it("is told by a server that begins anew, and back before it has sent anything", async () => {
      const linkId = async () => {
        const text = await readFile(join(lab.directory, "server", "state", "associations"), "utf8");
        return JSON.parse(text.trimEnd().split("\n").at(-1) ?? "").link.id;
      };
      const link = await linkId();
      await lab.server.crash();
      await lab.server.start();
      const since = Date.now();
      const { server } = await lab.confirmed(home, home.ipv4(7));
      process.stdout.write(`${ikev2}, server restarted: back after ${Date.now() - since} ms\n`);
      expect(server.keys?.associations).toHaveLength(1);
      await home.isReachedFrom(lab.far);
      // It is on the same link as before, RFC 5739 section 4.2.
      expect(await linkId()).toBe(link);
      expect(link).toHaveLength(32);
      // A server in the kernel would go on sending with the keys of before: the home receives with them for a while.
      await home.client.until(({ keys }) => keys?.associations.length === 1, 40_000);
      expect(Date.now() - since).toBeGreaterThan(10_000);
    });

    it("finds out by itself when it is not told that the server began anew", async () => {
      await lab.server.crash();
      await rm(join(lab.directory, "server", "state", "associations"));
      await lab.server.start();
      const since = Date.now();
      const pings = await PingStream.start(home.namespace, FAR);
      process.stdout.write(`${ikev2}, not told: back after ${Date.now() - since} ms\n`);
      await pings.stop();
      await lab.confirmed(home, home.ipv4(7));
      await home.isReachedFrom(lab.far);
    });
  },
);

describe.skipIf(!canUseNamespaces() || !daemonsAreBuilt())("homes with keys by IKEv2", () => {
  let lab: TunnelLab;

  beforeAll(async () => {
    lab = await TunnelLab.build({
      homes: [
        { name: "alice", ikev2: "psk" },
        { name: "bob", ikev2: "ed25519" },
        { name: "mallory", ikev2: "ed25519" },
        { name: "trent" },
      ],
    });
    const { privateKey } = generateKeyPairSync("ed25519");
    const stolen = join(lab.directory, "mallory", "key.pem");
    await writeFile(stolen, privateKey.export({ format: "pem", type: "pkcs8" }));
  });

  afterAll(async () => {
    await lab?.dispose();
  });

  it("wait for the server, beside homes with manual keys", async () => {
    await Promise.all(lab.homes.map(({ client }) => client.start()));
    await lab.server.start();
    for (const name of ["alice", "bob", "trent"]) {
      const home = lab.home(name);
      await lab.confirmed(home, home.ipv4(7));
      await home.reachesFar();
    }
  });

  it("stay out with another key than the server knows, and say so", async () => {
    const { client } = lab.home("mallory");
    const { problem, keys } = await client.until(
      (status) => status.problem?.includes("refuses") === true,
    );
    expect(problem).toMatch(/^the server refuses: it does not know .*AUTHENTICATION_FAILED/);
    expect(keys).toMatchObject({ state: "none", associations: [] });
    const status = homeIn(await lab.server.status(), "mallory");
    expect(status).toMatchObject({ state: { kind: "never-heard" }, keys: { state: "none" } });
  });

  it("are served on when somebody asks from port 0, where nobody can be answered", async () => {
    const stranger = await RawSender.start(lab.stranger);
    const ofUnknownSa = `${"11".repeat(16)}00202508000000000000001c`; // an INFORMATIONAL request, 28 octets
    const header = (port: number, length: number) =>
      `0000${[port, 8 + length, 0].map((field) => field.toString(16).padStart(4, "0")).join("")}`;
    for (const [port, marker] of [
      [500, ""],
      [4500, "00000000"],
    ] as const) {
      const octets = marker + ofUnknownSa;
      const hex = header(port, octets.length / 2) + octets;
      await stranger.send({ kind: "udp-header", hex, to: SERVER });
    }
    const { pid } = await lab.server.status();
    expect(pid).toBe(lab.server.running.pid);
    await lab.home("alice").reachesFar();
  });

  it("are let go by a reload without them; the others notice nothing", async () => {
    const { rekeys } = (await lab.home("alice").client.status()).keys ?? {};
    await rm(join(lab.directory, "server", "homes", "bob.toml"));
    lab.server.running.kill("SIGHUP");
    await lab.home("bob").client.until(({ keys }) => keys?.state === "none");
    await lab.home("alice").reachesFar();
    const { keys } = await lab.home("alice").client.status();
    expect(keys).toMatchObject({ state: "established", rekeys, ikeSas: 1 });
  });

  it("do not start with a key that others can read", async () => {
    const { client } = lab.home("alice");
    await client.stop();
    await chmod(join(lab.directory, "alice", "psk"), 0o644);
    const running = client.launch();
    expect(await running.exited).toMatchObject({ code: 2 });
    expect(running.stderr).toContain("chmod 600");
  });
});

describe.skipIf(!canUseNamespaces() || !daemonsAreBuilt())('with encapsulation "esp"', () => {
  let lab: TunnelLab;
  let home: LabHome;

  beforeAll(async () => {
    lab = await TunnelLab.open({
      homes: [{ name: "alice", ikev2: "psk", encapsulation: "esp", rekeyPackets: REKEY_PACKETS }],
    });
    home = lab.home("alice");
  });

  afterAll(async () => {
    await lab?.dispose();
  });

  it("ESP is protocol 50 where there is no NAT, and IKE stays on port 500", async () => {
    const capture = await lab.capture("server");
    await lab.far.run(["ping", "-n", "-q", "-c", "150", "-i", "0.01", home.address]);
    await home.take(8);
    await lab.confirmed(home, home.ipv4(8));
    await home.reachesFar();
    await capture.stop();
    const esp = await capture.esp();
    expect(esp.length).toBeGreaterThan(300);
    expect(new Set(esp.map(({ encapsulation }) => encapsulation))).toEqual(new Set(["esp"]));
    expect((await home.client.status()).keys?.rekeys).toBeGreaterThan(0);
  });

  it("a home is told that the server began anew, and back before it has sent anything", async () => {
    await lab.server.crash();
    await lab.server.start();
    const since = Date.now();
    await lab.server.until((status) => homeIn(status, home.name).keys?.state === "established");
    process.stdout.write(`esp, server restarted: keys after ${Date.now() - since} ms\n`);
    await lab.confirmed(home, home.ipv4(8));
  });

  it("a home whose encapsulation is another at the server after a reload comes for other keys", async () => {
    const file = join(lab.directory, "server", "homes", "alice.toml");
    const text = await readFile(file, "utf8");
    const spi = async () => (await home.atServer(lab.server)).keys?.associations[0]?.spi;
    const before = await spi();
    const reload = async (content: string) => {
      await writeFile(file, content);
      lab.server.running.kill("SIGHUP");
    };
    await reload(text.replace('encapsulation = "esp"', 'encapsulation = "udp"'));
    await lab.server.until((status) => {
      const pairs = homeIn(status, home.name).keys?.associations ?? [];
      return pairs.length === 1 && pairs[0]?.spi !== before;
    });
    await home.reachesFar();
    await reload(text);
    await lab.server.until((status) => homeIn(status, home.name).encapsulation === "esp");
    await home.reachesFar();
  });

  it("ESP goes in UDP when the home is behind a NAT now", async () => {
    await lab.router.run(
      `nft add table ip nat
       nft 'add chain ip nat out { type nat hook postrouting priority srcnat; }'
       nft 'add rule ip nat out oifname "server" ip saddr ${home.ipv4(7, "wan2")} masquerade'`,
    );
    await home.take(7, "wan2");
    await lab.server.until((status) => {
      const { state, endpoint } = homeIn(status, home.name);
      return state.kind === "confirmed" && endpoint?.address === "198.51.100.254";
    });
    const capture = await lab.capture("server");
    await home.reachesFar();
    await capture.stop();
    const kinds = (await capture.esp()).map(({ encapsulation }) => encapsulation);
    expect(new Set(kinds)).toEqual(new Set(["udp"]));
  });
});
