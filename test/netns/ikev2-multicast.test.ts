/**
 * An SA for multicast beside the link's (draft-ietf-ipsecme-ikev2-ipv6-config section 6.4), with both real daemons: a
 * program in the home has joined a group on the tunnel's interface, one on the server sends to it through the home's.
 * Topology: test/support/tunnel-lab.ts.
 */

import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import type { KeyStatus } from "../../common/control/key-status.ts";
import { canForge, Forge } from "../support/forge.ts";
import { MulticastStream } from "../support/multicast.ts";
import { canUseNamespaces } from "../support/namespace.ts";
import { daemonsAreBuilt, type LabHome, SERVER, TunnelLab } from "../support/tunnel-lab.ts";

const ON = "multicast = true";
/** Of the server, in its LAN. */
const SERVER_LAN = "2001:db8:ffff::1";
const REKEY_PACKETS = 100;
/** Beyond what the home could have sent with the pair. */
const FORGED = 1_000;

const multicastOf = (keys: KeyStatus | undefined) =>
  keys?.associations.filter(({ multicast }) => multicast !== undefined) ?? [];

describe.skipIf(!canUseNamespaces() || !daemonsAreBuilt())("an SA for multicast", () => {
  let lab: TunnelLab;
  let home: LabHome;
  let stream: MulticastStream;
  let keyLog: string;

  beforeAll(async () => {
    const options = { name: "alice", ikev2: "psk", rekeyPackets: REKEY_PACKETS } as const;
    lab = await TunnelLab.build({ homes: [{ ...options, keys: ON }], ikev2: ON });
    home = lab.home("alice");
    keyLog = join(lab.directory, "keys");
    await lab.server.start();
    home.client.launch({ env: { HOMETUN_KEY_LOG: keyLog } });
    await lab.confirmed(home, home.ipv4(7));
    stream = await MulticastStream.open(lab, home, { source: SERVER_LAN });
  });

  afterAll(async () => {
    await lab?.dispose();
  });

  /** Once neither end is in the middle of a rekey. */
  const pairs = async () => {
    const fits = (keys: KeyStatus | undefined) =>
      multicastOf(keys).length === 1 && keys?.associations.length === 2;
    const client = await home.client.until(({ keys }) => fits(keys));
    await lab.server.until(({ homes }) => homes.every(({ keys }) => fits(keys)));
    const server = await home.atServer(lab.server);
    return { home: multicastOf(client.keys)[0], server: multicastOf(server.keys)[0] };
  };

  it("stands beside the link's: the home receives with it, the server sends with it", async () => {
    expect(await pairs()).toMatchObject({
      home: { multicast: "inbound", isSentWith: false },
      server: { multicast: "outbound", isSentWith: true },
    });
  });

  it("brings a program in the home what is sent to its group through the tunnel", async () => {
    const before = await home.client.status();
    expect(await stream.deliver(20)).toBe(20);
    const after = await home.client.status();
    expect(after.traffic.refused).toEqual(before.traffic.refused);
  });

  it("brings groups of the link too, and what comes from the server's end of it", async () => {
    const { serverNamespace } = lab;
    expect(await serverNamespace.run("ping -n -c 1 -W 5 ff02::1%ht-alice")).toContain("1 received");
    const ofLink = await MulticastStream.open(lab, home, { group: "ff0e::4243" });
    expect(await ofLink.deliver(5)).toBe(5);
    await ofLink.close();
  });

  it("has other keys when it is used up, and loses no datagram", async () => {
    const before = await pairs();
    expect(await stream.deliver(3 * REKEY_PACKETS, 5)).toBe(3 * REKEY_PACKETS);
    const after = await pairs();
    expect(after.server?.spi).not.toBe(before.server?.spi);
    expect(after.home?.spi).not.toBe(before.home?.spi);
    expect(await stream.deliver(20)).toBe(20);
  });

  it("follows a home that moves", async () => {
    await home.take(8);
    await lab.confirmed(home, home.ipv4(8));
    await stream.arrives();
    await home.take(7, "wan2");
    await lab.confirmed(home, home.ipv4(7, "wan2"));
    await stream.arrives();
    expect(await stream.deliver(20)).toBe(20);
  });

  it.skipIf(!canForge())("takes nothing from the home: it is refused and counted", async () => {
    const { server } = await pairs();
    const keys = join(lab.directory, "multicast.toml");
    await writeFile(keys, forgedKeys(await readFile(join(keyLog, "esp_sa"), "utf8"), server?.spi));
    const forge = await Forge.start(lab.stranger);
    const refused = async () => (await home.atServer(lab.server)).traffic.refused["inner-source"];
    const packets = [
      { source: home.address, destination: SERVER_LAN },
      { source: home.address, destination: "ff0e::4242" },
      { source: "ff0e::4242", destination: SERVER_LAN },
    ].map((packet) => ({ kind: "echo", ...packet }) as const);
    const esp = await forge.seal(packets, { keys, sequence: FORGED });
    const before = (await refused()) ?? 0;
    await forge.send(esp, { to: SERVER, encapsulation: "udp" });
    await lab.server.until(
      ({ homes }) => (homes[0]?.traffic.refused["inner-source"] ?? 0) === before + packets.length,
    );
    await home.reachesFar();
  });

  it("is asked for again when the home authenticates again", async () => {
    const file = join(lab.directory, "server", "homes", "alice.toml");
    const text = await readFile(file, "utf8");
    const before = await pairs();
    await writeFile(file, text.replace('"]', '", "2001:db8:7700::/56"]'));
    const delivered = stream.deliver(REKEY_PACKETS / 2, 100);
    lab.server.running.kill("SIGHUP");
    await home.client.until(({ prefixes }) => prefixes.length === 2);
    expect(await delivered).toBe(REKEY_PACKETS / 2);
    expect((await pairs()).server?.spi).not.toBe(before.server?.spi);
  });

  it("is asked for again when the server has begun anew", async () => {
    await lab.server.crash();
    await lab.server.start();
    await lab.confirmed(home, home.ipv4(7, "wan2"));
    await stream.arrives();
  });
});

describe.skipIf(!canUseNamespaces() || !daemonsAreBuilt()).each([
  { where: "the server does not give it", ikev2: "", keys: ON },
  { where: "the home does not ask for it", ikev2: ON, keys: "" },
])("no SA for multicast, since $where", ({ ikev2, keys }) => {
  let lab: TunnelLab | undefined;

  afterEach(async () => {
    await lab?.dispose();
  });

  it("lets no group through that is wider than the link, and the tunnel works", async () => {
    lab = await TunnelLab.open({ homes: [{ name: "alice", ikev2: "psk", keys }], ikev2 });
    const home = lab.home("alice");
    await home.reachesFar();
    const stream = await MulticastStream.open(lab, home, { source: SERVER_LAN });
    expect(await stream.deliver(10)).toBe(0);
    const atServer = await home.atServer(lab.server);
    expect(atServer.traffic.refused).toMatchObject({ "inner-destination": 10 });
    expect(atServer.keys?.associations).toHaveLength(1);
    expect(await lab.serverNamespace.run("ping -n -c 1 -W 5 ff02::1%ht-alice")).toContain(
      "1 received",
    );
    const said = home.client.running.stderr.match(/gives no SA for multicast/g) ?? [];
    expect(said).toHaveLength(keys === "" ? 0 : 1);
    await home.isReachedFrom(lab.far);
  });
});

/** What the home would send with, as a client's file would have it. `esp_sa` is Wireshark's table. */
function forgedKeys(table: string, spi = 0): string {
  const hex = `0x${spi.toString(16).padStart(8, "0")}`;
  const line = table.split("\n").find((each) => each.includes(`"${hex}"`)) ?? "";
  const [, , , , , key = ""] = line.split(",").map((field) => field.replaceAll('"', ""));
  const digits = key.slice(2);
  return [
    "[keys.outbound]",
    `spi = ${spi}`,
    `key = "${digits.slice(0, -8)}"`,
    `salt = "${digits.slice(-8)}"`,
  ].join("\n");
}
