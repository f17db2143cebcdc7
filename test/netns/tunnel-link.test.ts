/**
 *     ┌ host ─────────────────────────────────┐
 *     │ ht0, ht1: tunnel interfaces (TUN)     │
 *     │ lan:      an interface of someone else│
 *     └───────────────────────────────────────┘
 */

import { resolve } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { LinkChange, LinkSpec } from "../../common/adapters/tunnel-link.ts";
import { parseIpv6, parseIpv6Prefix } from "../../common/ip/address.ts";
import {
  canUseNamespaces,
  eventually,
  Lab,
  type Namespace,
  type Running,
} from "../support/namespace.ts";
import { nodeCommand } from "../support/node-command.ts";

const PROCESS = resolve(import.meta.dirname, "../support/tunnel-link-process.ts");

interface Answer {
  readonly interfaceIndex?: number;
  readonly code?: string;
  readonly message?: string;
}

const spec: LinkSpec = {
  interfaceName: "ht0",
  localAddresses: [parseIpv6("fe80::c"), parseIpv6("2001:db8:1::1")],
  peerLinkLocal: parseIpv6("fe80::5"),
  routes: [parseIpv6Prefix("::/0"), parseIpv6Prefix("2001:db8:7::/48")],
  mtu: 1400,
};
const other: LinkSpec = {
  ...spec,
  interfaceName: "ht1",
  localAddresses: [parseIpv6("fe80::d")],
  peerLinkLocal: parseIpv6("fe80::6"),
  routes: [],
};

describe.skipIf(!canUseNamespaces({ tun: true }))("tunnel links, in a real kernel", () => {
  let lab: Lab;
  let host: Namespace;
  let links: Running;

  beforeEach(async () => {
    lab = new Lab();
    host = await lab.namespace("host");
    links = start();
  });

  afterEach(async () => {
    await lab.dispose();
  });

  function start(...wrapper: string[]): Running {
    return host.spawn([...wrapper, ...nodeCommand(PROCESS)]);
  }

  async function ask(command: object, process = links): Promise<Answer> {
    process.write(`${JSON.stringify(command)}\n`);
    return JSON.parse(await process.line()) as Answer;
  }

  const open = async (name: string, process = links) =>
    expect(await ask({ open: name }, process)).toEqual({});

  async function configure(wanted: LinkSpec, process = links): Promise<void> {
    expect(await ask({ configure: wanted }, process)).toEqual({
      interfaceIndex: expect.any(Number),
    });
  }

  async function addresses(name: string): Promise<string[]> {
    const [link] = JSON.parse(await host.run(["ip", "-j", "-6", "addr", "show", "dev", name]));
    const list = (link?.addr_info ?? []) as { local: string; prefixlen: number }[];
    return list.map(({ local, prefixlen }) => `${local}/${prefixlen}`).sort();
  }

  async function routes(...filter: string[]): Promise<string[]> {
    const list = JSON.parse(await host.run(["ip", "-j", "-6", "route", "show", ...filter]));
    return (list as { dst: string; dev: string }[]).map(({ dst, dev }) => `${dst} ${dev}`).sort();
  }

  async function sysctl(key: string): Promise<string> {
    return (await host.run(["sysctl", "-n", key])).trim();
  }

  it("gives a fresh interface its addresses, MTU and routes, and nothing of the kernel's making", async () => {
    await open("ht0");
    await configure(spec);
    expect(await addresses("ht0")).toEqual(["2001:db8:1::1/128", "fe80::c/128"]);
    expect(await routes()).toEqual(["2001:db8:7::/48 ht0", "default ht0", "fe80::5 ht0"]);
    const details = await host.run("ip -d link show ht0");
    expect(details).toContain("mtu 1400");
    expect(details).toContain("addrgenmode none");
    expect(details).toContain(",UP");
    expect(await sysctl("net.ipv6.conf.ht0.accept_ra")).toBe("0");
    // No address is on trial.
    expect(await host.run("ip -6 addr show dev ht0 tentative")).toBe("");
  });

  it("changes nothing when it is done twice", async () => {
    await open("ht0");
    await configure(spec);
    const monitor = host.spawn(["ip", "-o", "monitor", "link", "address", "route"]);
    // It listens some time after it was started.
    await eventually(async () => {
      await host.run("ip link set lo mtu 59998; ip link set lo mtu 59999");
      return monitor.rest().length > 0 ? true : undefined;
    });
    await host.run("ip link set lo mtu 60000");
    await monitor.line((line) => line.includes("mtu 60000"));
    await configure(spec);
    await configure(spec);
    await host.run("ip link set lo mtu 60001");
    expect(await monitor.line()).toContain("mtu 60001");
  });

  it("removes what is no longer wanted", async () => {
    await open("ht0");
    await configure(spec);
    await configure({ ...spec, localAddresses: [parseIpv6("fe80::c")], routes: [], mtu: 1300 });
    expect(await addresses("ht0")).toEqual(["fe80::c/128"]);
    expect(await routes()).toEqual(["fe80::5 ht0"]);
    expect(await host.run("ip link show ht0")).toContain("mtu 1300");
  });

  it("repairs what someone else took away", async () => {
    await open("ht0");
    await configure(spec);
    await host.run("ip link set ht0 down; ip link set ht0 mtu 1500");
    await configure(spec);
    expect(await addresses("ht0")).toEqual(["2001:db8:1::1/128", "fe80::c/128"]);
    expect(await routes()).toEqual(["2001:db8:7::/48 ht0", "default ht0", "fe80::5 ht0"]);
  });

  const changes = async () => (await ask({ changes: true })) as unknown as readonly LinkChange[];
  /** The changes, as soon as there are so many. */
  const changed = (count: number) =>
    eventually(async () => {
      const told = await changes();
      return told.length >= count ? told : undefined;
    });
  const all = ["2001:db8:7::/48 ht0", "default ht0", "fe80::5 ht0"];

  it("gives back what an interface lost that was set down and up", async () => {
    await open("ht0");
    await configure(spec);
    await host.run("ip link set ht0 down; ip link set ht0 up");
    expect(await changed(1)).toEqual([{ kind: "restored", interfaceName: "ht0" }]);
    expect(await addresses("ht0")).toEqual(["2001:db8:1::1/128", "fe80::c/128"]);
    expect(await routes()).toEqual(all);
  });

  it("leaves down what somebody set down, and gives all back when it is up again", async () => {
    await open("ht0");
    await open("ht1");
    await configure(spec);
    await configure(other);
    await ask({ setMtu: ["ht0", 1300] });
    await host.run("ip link set ht0 down");
    expect(await changed(1)).toEqual([{ kind: "down", interfaceName: "ht0" }]);
    // Something else that is looked at later.
    await host.run("ip -6 addr del fe80::d/128 dev ht1");
    expect((await changed(2)).at(1)).toEqual({ kind: "restored", interfaceName: "ht1" });
    expect(await host.run("ip link show ht0")).not.toContain(",UP");
    expect(await routes()).toEqual(["fe80::6 ht1"]);
    await host.run("ip link set ht0 up");
    expect((await changed(3)).at(2)).toEqual({ kind: "restored", interfaceName: "ht0" });
    expect(await routes()).toEqual([...all.slice(0, 2), "fe80::5 ht0", "fe80::6 ht1"]);
    expect(await host.run("ip link show ht0")).toContain("mtu 1300");
  });

  it("configures many at once, and tells for each what was wrong with it", async () => {
    const many = Array.from({ length: 12 }, (_, index) => ({
      ...spec,
      interfaceName: `ht${index}`,
      localAddresses: [parseIpv6(`fe80::${(index + 1).toString(16)}`)],
      routes: [parseIpv6Prefix(`2001:db8:${(index + 1).toString(16)}::/48`)],
    }));
    for (const { interfaceName } of many.slice(0, 11)) await open(interfaceName);
    await host.run("ip link add lan type veth peer name peer; ip link set lan up");
    await host.run("ip -6 route add 2001:db8:2::/48 dev lan metric 1000");
    await host.run("ip link set dev peer name ht11");
    const outcomes = (await ask({ configureAll: many })) as unknown as { kind: string }[];
    expect(outcomes.map(({ kind }) => kind)).toEqual([
      "ready",
      "failed",
      ...Array.from({ length: 9 }, () => "ready"),
      "failed",
    ]);
    expect(outcomes[1]).toMatchObject({ error: { code: "EEXIST" } });
    expect(outcomes[11]).toMatchObject({ error: { code: "EBUSY" } });
    expect(await routes("dev", "ht10")).toContain("2001:db8:b::/48 undefined");
    expect(await addresses("ht10")).toEqual(["fe80::b/128"]);
    expect(await changes()).toEqual([]);
  });

  it("moves a route between two that are configured at once, whichever is first", async () => {
    await open("ht0");
    await open("ht1");
    const route = [parseIpv6Prefix("2001:db8:7::/48")];
    await configure({ ...spec, routes: route });
    await configure(other);
    for (const taker of ["ht1", "ht0"]) {
      const wanted = [spec, other].map((link) => ({
        ...link,
        routes: link.interfaceName === taker ? route : [],
      }));
      await ask({ configureAll: wanted });
      expect(await routes("2001:db8:7::/48")).toEqual([`2001:db8:7::/48 ${taker}`]);
    }
  });

  it("adopts the interface of a daemon that was killed, and removes what that one had more", async () => {
    await open("ht0");
    await configure(spec);
    links.kill("SIGKILL");
    await links.exited;
    const second = start();
    await open("ht0", second);
    await configure({ ...spec, routes: [parseIpv6Prefix("::/0")] }, second);
    expect(await routes()).toEqual(["default ht0", "fe80::5 ht0"]);
  });

  it("leaves the routes of others alone, also those through its interface", async () => {
    await host.run(
      "ip link add lan type veth peer name other; ip link set lan up; ip link set other up",
    );
    await host.run("ip -6 route add 2001:db8:8::/48 dev lan proto 104 metric 5");
    await open("ht0");
    await configure(spec);
    await host.run("ip -6 route add 2001:db8:9::/48 dev ht0");
    await configure({ ...spec, routes: [] });
    expect(await routes("root", "2001:db8::/32")).toEqual([
      "2001:db8:8::/48 lan",
      "2001:db8:9::/48 ht0",
    ]);
  });

  it("refuses to take another program's route, and says so", async () => {
    await host.run(
      "ip link add lan type veth peer name other; ip link set lan up; ip link set other up",
    );
    await host.run("ip -6 route add 2001:db8:7::/48 dev lan metric 1000");
    await open("ht0");
    const answer = await ask({ configure: spec });
    expect(answer).toMatchObject({ code: "EEXIST" });
    expect(answer.message).toContain("2001:db8:7::/48");
    expect(await routes("2001:db8:7::/48")).toEqual(["2001:db8:7::/48 lan"]);
  });

  it("moves a route from one tunnel to another", async () => {
    await open("ht0");
    await open("ht1");
    await configure({ ...spec, routes: [parseIpv6Prefix("2001:db8:7::/48")] });
    await configure({ ...other, routes: [parseIpv6Prefix("2001:db8:7::/48")] });
    expect(await routes("2001:db8:7::/48")).toEqual(["2001:db8:7::/48 ht1"]);
  });

  it("sets the MTU alone", async () => {
    await open("ht0");
    await configure(spec);
    expect(await ask({ setMtu: ["ht0", 1280] })).toEqual({});
    expect(await host.run("ip link show ht0")).toContain("mtu 1280");
    expect(await addresses("ht0")).toHaveLength(2);
  });

  it("tells the kernel's own reason", async () => {
    await open("ht0");
    expect(await ask({ setMtu: ["ht0", 10] })).toEqual({
      code: "EINVAL",
      message: "cannot set the MTU of ht0 to 10: EINVAL (mtu less than device minimum)",
    });
  });

  it("touches no interface that is not a tunnel's", async () => {
    await host.run("ip link add ht0 type veth peer name other");
    const before = await host.run("ip -d link show ht0");
    expect(await ask({ configure: spec })).toMatchObject({ code: "EBUSY" });
    expect(await ask({ setMtu: ["ht0", 1300] })).toMatchObject({ code: "EBUSY" });
    expect(await host.run("ip -d link show ht0")).toBe(before);
  });

  it("tells an interface that is not there", async () => {
    expect(await ask({ configure: spec })).toMatchObject({ code: "ENODEV" });
  });

  it("tells that IPv6 is disabled, and how to enable it", async () => {
    await host.run("sysctl -qw net.ipv6.conf.default.disable_ipv6=1");
    await open("ht0");
    const answer = await ask({ configure: spec });
    expect(answer.message).toContain("IPv6 is disabled");
    expect(answer.message).toContain("net.ipv6.conf.ht0.disable_ipv6=0");
  });

  it("tells which permission is missing", async () => {
    await open("ht0");
    const weak = start("setpriv", "--bounding-set=-net_admin");
    const answer = await ask({ configure: spec }, weak);
    expect(answer).toMatchObject({ code: "EPERM" });
    expect(answer.message).toContain("CAP_NET_ADMIN");
  });
});
