/**
 * A server that is told something else while it makes tunnels, which takes a while for so many homes, or after it could
 * not make one.
 *
 *     ┌ server ──────────────────┐            ┌ alice ────────┐
 *     │ hometun-server run       │            │ hometun run   │
 *     │ ht-home-1 ... ht-home-N  ├── router ──┤               │
 *     │ ht-alice                 │            └───────────────┘
 *     └──────────────────────────┘
 */

import { writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { afterEach, describe, expect, it } from "vitest";
import { canUseNamespaces, eventually, PATIENCE_MS } from "../support/namespace.ts";
import {
  daemonsAreBuilt,
  homeIn,
  TunnelLab,
  type TunnelLabOptions,
} from "../support/tunnel-lab.ts";

const MANY = 300;
const skipped = !canUseNamespaces() || !daemonsAreBuilt();

let lab: TunnelLab;

const build = async (homes: TunnelLabOptions["homes"] = []) => {
  lab = await TunnelLab.build({ homes, server: 'data-plane = "userspace"' });
};

afterEach(async () => {
  await lab?.dispose();
});

async function addHomes(from: number, to: number): Promise<void> {
  const directory = join(dirname(lab.server.configFile), "homes");
  for (let number = from; number <= to; number++) {
    await writeFile(join(directory, `home-${number}.toml`), homeText(number), { mode: 0o600 });
  }
}

/** The log has so many lines that say so. */
async function isSaid(message: string, times = 1): Promise<void> {
  const said = () => lab.server.running.stderr.split(`"msg":"${message}"`).length > times;
  await eventually(async () => said() || undefined, PATIENCE_MS, 1);
}

/** Somebody deletes alice's interface and makes another of that name; the server finds out when it is too late. */
async function takeName(): Promise<void> {
  const { server, serverNamespace } = lab;
  server.running.kill("SIGSTOP");
  await serverNamespace.run("ip link del ht-alice; ip link add ht-alice type veth peer name other");
  server.running.kill("SIGCONT");
  await isSaid("tunnel in trouble");
}

async function countOf(objects: string): Promise<number> {
  const listed = await lab.serverNamespace.run(objects);
  return listed.split("\n").filter((line) => line !== "").length;
}

const LINKS = "ip -brief link show type tun";
const ROUTES = "ip -6 route show proto 104";

describe.skipIf(skipped)("a server", () => {
  it("that is still starting takes each reload, also one while it is at another", async () => {
    await build();
    await addHomes(1, MANY);
    lab.server.launch();
    await isSaid("data plane");
    await addHomes(MANY + 1, 2 * MANY);
    lab.server.running.kill("SIGHUP");
    await isSaid("tunnels ready");
    await addHomes(2 * MANY + 1, 2 * MANY + 1);
    lab.server.running.kill("SIGHUP");
    await isSaid("configuration reloaded", 2);
    await isSaid("ready");
    expect((await lab.server.status()).matching).toBe(2 * MANY + 1);
    await lab.server.stop();
  });

  it("that is stopped while it takes a reload leaves no interface and no route", async () => {
    await build();
    await addHomes(1, 1);
    await lab.server.start();
    await addHomes(2, MANY);
    lab.server.running.kill("SIGHUP");
    await eventually(async () => (await countOf(LINKS)) > 1 || undefined, PATIENCE_MS, 1);
    await lab.server.stop();
    expect([await countOf(LINKS), await countOf(ROUTES)]).toEqual([0, 0]);
  });

  it("that can make a home's interface at last has the home negotiate keys for it", async () => {
    await build([
      { name: "alice", ikev2: "psk" },
      { name: "bob", ikev2: "psk" },
    ]);
    const { server, serverNamespace } = lab;
    await serverNamespace.run("ip link add ht-alice type veth peer name other");
    await server.start();
    const alice = lab.home("alice");
    await alice.client.start();
    await server.until((status) => homeIn(status, "alice").keys?.state === "established");
    await serverNamespace.run("ip link del ht-alice");
    server.running.kill("SIGHUP");
    await lab.confirmed(alice, alice.ipv4(7));
  });

  it("that could not make a home's interface has not used up its single-use keys", async () => {
    await build([{ name: "alice", suite: "aes-gcm-256" }, { name: "bob" }]);
    const { server, serverNamespace } = lab;
    await serverNamespace.run("ip link add ht-alice type veth peer name other");
    await server.start();
    expect((await server.status()).homes.map(({ name }) => name)).toContain("alice");
    const alice = lab.home("alice");
    await alice.client.start();
    await serverNamespace.run("ip link del ht-alice");
    server.running.kill("SIGHUP");
    await isSaid("configuration reloaded");
    await lab.confirmed(alice, alice.ipv4(7));
  });

  it("whose interface was deleted and its name taken leaves the other's alone when it is stopped", async () => {
    await build([{ name: "alice" }, { name: "bob" }]);
    const { server, serverNamespace } = lab;
    await server.start();
    await takeName();
    await server.stop();
    expect(await serverNamespace.run("ip -brief link show ht-alice")).toContain("ht-alice@other");
    expect(await countOf(LINKS)).toBe(0);
  });

  it("whose interface was deleted and its name taken makes it anew when that is free", async () => {
    await build([{ name: "alice" }, { name: "bob" }]);
    const { server, serverNamespace } = lab;
    const alice = lab.home("alice");
    await server.start();
    await alice.client.start();
    await lab.confirmed(alice, alice.ipv4(7));
    await takeName();
    await serverNamespace.run("ip link del ht-alice");
    await eventually(async () => ((await countOf(LINKS)) === 2 ? true : undefined), PATIENCE_MS);
    await alice.reachesFar();
  });
});

function homeText(number: number): string {
  const hex = number.toString(16);
  const digits = (fill: string) => hex.padStart(8, "0").padStart(64, fill);
  const association = (direction: "inbound" | "outbound", spi: number) => `[keys.${direction}]
spi = ${spi}
suite = "aes-cbc-256-hmac-sha2-256-128"
key = "${digits(direction === "inbound" ? "1" : "2")}"
integrity-key = "${digits(direction === "inbound" ? "3" : "4")}"
`;
  return `name = "home-${number}"
link-local = "fe80::c:${hex}"
server-link-local = "fe80::5:${hex}"
prefixes = ["2001:db8:${hex}::/48"]
[keys]
mode = "manual"
${association("outbound", 0x10_0000 + number)}${association("inbound", 0x20_0000 + number)}`;
}
