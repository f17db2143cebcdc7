/**
 * The machines of the demonstration, each a network namespace, and the cables between them.
 *
 *     laptop ──── home ════ wan0, wan1 ════ isp ──── server ──── website
 *            IPv6            IPv4 only          IPv4        IPv6
 */

import type { Lab, Namespace } from "../test/support/namespace.ts";

export const PREFIX = "2001:db8:a::/56";
export const LAPTOP = "2001:db8:a:1::10";
export const WEBSITE = "2001:db8:f::80";
export const SERVER = "203.0.113.1";

/**
 * The home's two uplinks, of which the second is not plugged in yet; the ISP's router is at their other ends.
 * `addresses` are what the home gets there.
 */
export const UPLINKS = {
  first: {
    interface: "wan0",
    router: "198.51.100.1",
    addresses: ["198.51.100.7", "198.51.100.99", "198.51.100.23"],
  },
  second: { interface: "wan1", router: "192.0.2.1", addresses: ["192.0.2.7"] },
} as const;

export interface Network {
  readonly laptop: Namespace;
  readonly home: Namespace;
  readonly isp: Namespace;
  readonly server: Namespace;
  readonly website: Namespace;
}

export async function buildNetwork(lab: Lab): Promise<Network> {
  const { first, second } = UPLINKS;
  const laptop = await lab.namespace("laptop");
  const home = await lab.namespace("home");
  const isp = await lab.namespace("isp");
  const server = await lab.namespace("server");
  const website = await lab.namespace("website");
  await lab.connect(laptop, "eth0", home, "lan");
  await lab.connect(home, first.interface, isp, "home0");
  await lab.connect(home, second.interface, isp, "home1");
  await lab.connect(isp, "core", server, "wan");
  await lab.connect(server, "lan", website, "eth0");
  await Promise.all([
    configure(laptop, `addr add ${LAPTOP}/64 dev eth0`, "route add default via 2001:db8:a:1::1"),
    configure(
      home,
      "addr add 2001:db8:a:1::1/64 dev lan",
      `addr add ${first.addresses[0]}/24 dev ${first.interface}`,
      `addr add ${second.addresses[0]}/24 dev ${second.interface}`,
      `route add default via ${first.router}`,
      `link set ${second.interface} down`,
    ),
    configure(
      isp,
      `addr add ${first.router}/24 dev home0`,
      `addr add ${second.router}/24 dev home1`,
      "addr add 203.0.113.254/24 dev core",
    ),
    configure(
      server,
      `addr add ${SERVER}/24 dev wan`,
      "addr add 2001:db8:f::1/64 dev lan",
      "route add default via 203.0.113.254",
    ),
    configure(website, `addr add ${WEBSITE}/64 dev eth0`, "route add default via 2001:db8:f::1"),
    home.set("net.ipv6.conf.all.forwarding", 1),
    server.set("net.ipv6.conf.all.forwarding", 1),
    isp.set("net.ipv4.ip_forward", 1),
  ]);
  return { laptop, home, isp, server, website };
}

/** Runs commands of ip(8) in one process, so that they follow each other within microseconds. */
export async function configure(machine: Namespace, ...commands: string[]): Promise<void> {
  await machine.run(`ip -batch - <<'END'\n${commands.join("\n")}\nEND`);
}
