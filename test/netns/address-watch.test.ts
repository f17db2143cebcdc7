/**
 *     ┌ home ──────────────┐          ┌ isp ───────────────┐
 *     │ hometun's watch    │  wan ─── home0  192.0.2.1     │   server 198.51.100.1
 *     │ 192.0.2.7, .8, …   │ wan2 ─── home1  203.0.113.1   │   (routed to, never asked)
 *     └────────────────────┘          └────────────────────┘
 */

import { rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { UplinkSnapshot } from "../../client/address-watch/snapshot.ts";
import {
  canUseNamespaces,
  eventually,
  Lab,
  type Namespace,
  type Running,
} from "../support/namespace.ts";
import { nodeCommand } from "../support/node-command.ts";

const PROCESS = resolve(import.meta.dirname, "../support/address-watch-process.ts");
const SERVER = "198.51.100.1";

interface Told {
  readonly uplink: UplinkSnapshot | null;
  /** Milliseconds since the epoch. */
  readonly at: number;
}

describe.skipIf(!canUseNamespaces())("the address watch, in a real kernel", () => {
  let lab: Lab;
  let home: Namespace;
  let watch: Running;

  beforeEach(async () => {
    lab = new Lab();
    home = await lab.namespace("home");
    const isp = await lab.namespace("isp");
    await lab.connect(home, "wan", isp, "home0");
    await lab.connect(home, "wan2", isp, "home1");
    await isp.run("ip addr add 192.0.2.1/24 dev home0; ip addr add 203.0.113.1/24 dev home1");
  });

  afterEach(async () => {
    await lab.dispose();
  });

  const connected = "ip addr add 192.0.2.7/24 dev wan; ip route add default via 192.0.2.1";

  async function startWatch(): Promise<Told> {
    watch = home.spawn(nodeCommand(PROCESS, SERVER, "ht0"));
    return await next();
  }

  async function next(): Promise<Told> {
    return JSON.parse(await watch.line((line) => line.includes('"uplink"'))) as Told;
  }

  /** Answers up to the one that has this address; null for none at all. */
  async function until(address: string | null): Promise<(string | null)[]> {
    const addresses: (string | null)[] = [];
    while (addresses.length === 0 || addresses.at(-1) !== address) {
      addresses.push((await next()).uplink?.address ?? null);
    }
    return addresses;
  }

  /** Changes something that is told, so that all before it has been told as well. */
  async function untilMarked(): Promise<(string | null)[]> {
    await home.run("ip addr flush dev wan; ip addr add 192.0.2.9/24 dev wan");
    await home.run("ip route replace default via 192.0.2.1");
    return await until("192.0.2.9");
  }

  it("tells address, interface and MTU of the way to the server", async () => {
    await home.run(`ip link set wan mtu 1492; ${connected}`);
    expect((await startWatch()).uplink).toEqual({
      address: "192.0.2.7",
      interfaceIndex: expect.any(Number),
      interfaceName: "wan",
      mtu: 1492,
    });
  });

  it("follows a swap of addresses within milliseconds", async () => {
    await home.run(connected);
    await startWatch();
    const batch = [
      "addr del 192.0.2.7/24 dev wan",
      "addr add 192.0.2.8/24 dev wan",
      "route add default via 192.0.2.1",
    ];
    await home.run(`printf '%s\\n' ${batch.map((line) => `'${line}'`).join(" ")} | ip -batch -`);
    const done = Date.now();
    let told = await next();
    while (told.uplink?.address !== "192.0.2.8") told = await next();
    expect(told.at - done).toBeLessThan(40);
  });

  it("follows a renumbering that adds the new address before it deletes the old", async () => {
    await home.run(connected);
    await startWatch();
    await home.run(
      "ip addr add 192.0.2.8/24 dev wan; ip addr del 192.0.2.7/24 dev wan; ip addr add 192.0.2.8/24 dev wan || true; ip route replace default via 192.0.2.1",
    );
    expect((await until("192.0.2.8")).at(-1)).toBe("192.0.2.8");
  });

  it("follows a renumbering into another network, old address deleted last", async () => {
    await home.run(connected);
    await startWatch();
    await home.run(
      "ip addr add 203.0.113.7/24 dev wan; ip route replace default via 203.0.113.1; ip addr del 192.0.2.7/24 dev wan",
    );
    expect(await until("203.0.113.7")).toEqual(["203.0.113.7"]);
  });

  it("follows a renumbering that deletes the old address first", async () => {
    await home.run(connected);
    await startWatch();
    await home.run("ip addr del 192.0.2.7/24 dev wan");
    expect(await until(null)).toEqual([null]);
    await home.run("ip addr add 192.0.2.8/24 dev wan; ip route add default via 192.0.2.1");
    expect(await until("192.0.2.8")).toEqual(["192.0.2.8"]);
  });

  it("tells nothing when the same address is set again", async () => {
    await home.run(connected);
    await startWatch();
    await home.run("ip addr change 192.0.2.7/24 dev wan valid_lft 3600 preferred_lft 3600");
    await home.run("ip addr replace 192.0.2.7/24 dev wan; ip route replace default via 192.0.2.1");
    const told = await untilMarked();
    expect(told).not.toContain("192.0.2.7");
  });

  it("tells an address again that was away", async () => {
    await home.run(connected);
    await startWatch();
    await home.run("ip addr del 192.0.2.7/24 dev wan");
    await until(null);
    await home.run(connected);
    expect(await until("192.0.2.7")).toEqual(["192.0.2.7"]);
  });

  it("follows the default route to another interface, and back", async () => {
    await home.run(`${connected}; ip addr add 203.0.113.7/24 dev wan2`);
    await startWatch();
    await home.run("ip route replace default via 203.0.113.1");
    expect((await next()).uplink).toMatchObject({ address: "203.0.113.7", interfaceName: "wan2" });
    await home.run("ip route replace default via 192.0.2.1");
    expect((await next()).uplink).toMatchObject({ address: "192.0.2.7", interfaceName: "wan" });
  });

  it("follows a policy rule", async () => {
    await home.run(`${connected}; ip addr add 203.0.113.7/24 dev wan2`);
    await home.run("ip route add default via 203.0.113.1 table 7");
    await startWatch();
    await home.run(`ip rule add to ${SERVER} table 7`);
    expect(await until("203.0.113.7")).toEqual(["203.0.113.7"]);
  });

  it("follows an interface that is deleted and made again, as PPP does", async () => {
    await home.run(
      "ip link add ppp0 type veth peer name other; ip link set ppp0 up; ip link set other up; ip addr add 192.0.2.7/32 dev ppp0; ip route add default dev ppp0",
    );
    const first = await startWatch();
    await home.run("ip link del ppp0");
    expect(await until(null)).toEqual([null]);
    await home.run(
      "ip link add ppp0 type veth peer name other; ip link set ppp0 mtu 1492; ip link set ppp0 up; ip link set other up; ip addr add 192.0.2.7/32 dev ppp0; ip route add default dev ppp0",
    );
    const again = await next();
    expect(again.uplink).toMatchObject({ address: "192.0.2.7", interfaceName: "ppp0", mtu: 1492 });
    expect(again.uplink?.interfaceIndex).not.toBe(first.uplink?.interfaceIndex);
  });

  it("follows the link down and up", async () => {
    await home.run(connected);
    await startWatch();
    await home.run("ip link set wan down");
    expect(await until(null)).toEqual([null]);
    await home.run("ip link set wan up; ip route add default via 192.0.2.1");
    expect(await until("192.0.2.7")).toEqual(["192.0.2.7"]);
  });

  it("starts without any network and waits for one", async () => {
    expect((await startWatch()).uplink).toBeNull();
    await home.run("ip link set lo down; ip link set lo up");
    await home.run(connected);
    expect(await until("192.0.2.7")).toEqual(["192.0.2.7"]);
  });

  it.each(["unreachable", "prohibit", "blackhole"])(
    "takes an %s route for no way",
    async (type) => {
      await home.run(connected);
      await startWatch();
      await home.run(`ip route add ${type} ${SERVER}`);
      expect(await until(null)).toEqual([null]);
      await home.run(`ip route del ${type} ${SERVER}`);
      expect(await until("192.0.2.7")).toEqual(["192.0.2.7"]);
    },
  );

  it("never takes the tunnel's own interface for the way to the server", async () => {
    await home.run(connected);
    await startWatch();
    await home.run(
      `ip link add ht0 type veth peer name other; ip link set ht0 up; ip link set other up; ip route add ${SERVER} dev ht0 src 192.0.2.7`,
    );
    expect(await until(null)).toEqual([null]);
  });

  it("takes a route's own MTU", async () => {
    await home.run(connected);
    await startWatch();
    await home.run("ip route replace default via 192.0.2.1 mtu 1400");
    expect((await next()).uplink?.mtu).toBe(1400);
  });

  it("survives more notifications than its socket can hold, its event loop blocked", async () => {
    await home.run(connected);
    await startWatch();
    const end = join(tmpdir(), `${home.name}-end`);
    watch.write(`block ${end}\n`);
    await watch.line((line) => line.includes("blocked"));
    await flood();
    await home.run("ip addr flush dev wan; ip addr add 192.0.2.8/24 dev wan");
    await home.run(`ip route replace default via 192.0.2.1; touch ${end}`);
    expect(await until("192.0.2.8")).toEqual(["192.0.2.8"]);
    await rm(end);
  });

  it("survives more notifications than its socket can hold, stopped", async () => {
    await home.run(connected);
    await startWatch();
    watch.kill("SIGSTOP");
    await eventually(async () => {
      const state = await home.run(["cat", `/proc/${watch.pid}/stat`]);
      return state.includes(") T ") ? true : undefined;
    });
    await flood();
    await home.run("ip addr flush dev wan; ip addr add 192.0.2.8/24 dev wan");
    await home.run("ip route replace default via 192.0.2.1");
    watch.kill("SIGCONT");
    expect(await until("192.0.2.8")).toEqual(["192.0.2.8"]);
    // And it listens still.
    await home.run("ip addr flush dev wan");
    expect(await until(null)).toEqual([null]);
  });

  /** Tens of thousands of routes come and go; checks that this was in fact too much. */
  async function flood(): Promise<void> {
    const routes =
      'awk \'BEGIN { for (i = 0; i < 40000; i++) printf "route %s 10.%d.%d.0/24 dev wan\\n", (i < 20000 ? "add" : "del"), (i % 20000) / 250, i % 250 }\'';
    await home.run(`${routes} | ip -batch -`, { timeoutMs: 30_000 });
    const sockets = await home.run(["cat", "/proc/net/netlink"]);
    const dropped = sockets
      .split("\n")
      .map((line) => line.trim().split(/\s+/))
      .filter((fields) => fields[1] === "0") // NETLINK_ROUTE
      .reduce((sum, fields) => sum + Number(fields[8] ?? 0), 0);
    expect(dropped, "messages the kernel dropped").toBeGreaterThan(0);
  }
});
