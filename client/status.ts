/** What the client tells of itself. Instants are wall-clock milliseconds since 1970. */

import {
  describeDataPlane,
  describeEncapsulation,
  describeMove,
  describeSince,
  describeTraffic,
  type Reading,
} from "../common/control/describe.ts";
import { describeKeys, type KeyStatus } from "../common/control/key-status.ts";
import type { DataPlaneStatus, MoveStatus, TrafficStatus } from "../common/control/traffic.ts";
import type { Ipv4Address, Ipv6Address } from "../common/ip/address.ts";
import type { Style } from "../common/text/style.ts";
import { type Fact, formatFacts } from "../common/text/table.ts";
import { formatCount, formatDuration, formatQuantity } from "../common/text/units.ts";
import type { Encapsulation } from "../common/tunnel/tunnel.ts";
import {
  describeFirewall,
  describeLan,
  type FirewallStatus,
  type LanStatus,
} from "./lan/lan-status.ts";

export interface ClientStatus {
  readonly version: string;
  readonly pid: number;
  readonly startedAt: number;
  readonly server: Ipv4Address;
  /** The tunnel's interface. */
  readonly interface: string;
  readonly linkLocal: Ipv6Address;
  readonly serverLinkLocal: Ipv6Address;
  /** Our address on the tunnel's interface. */
  readonly address: Ipv6Address | undefined;
  /** As text, such as `2001:db8:a::/56`. */
  readonly prefixes: readonly string[];
  /** Name servers that the server told; absent: it tells none. */
  readonly dns?: readonly Ipv6Address[];
  readonly encapsulation: Encapsulation;
  /** Octets; of the tunnel's interface. */
  readonly mtu: number;
  readonly dataPlane: DataPlaneStatus;
  readonly state: ClientState;
  /** Absent while no route leads to the server. */
  readonly uplink: UplinkStatus | undefined;
  readonly moves: number;
  readonly lastMove: MoveStatus | undefined;
  /** Neighbor Advertisements sent. */
  readonly advertisementsSent: number;
  /** How often the system said that addresses, links or routes may have changed. */
  readonly hints: number;
  readonly traffic: TrafficStatus;
  /** Absent when the home has no LAN. */
  readonly lan?: LanStatus | undefined;
  readonly firewall?: FirewallStatus | undefined;
  /** Absent when the configuration gives the keys. */
  readonly keys?: KeyStatus | undefined;
  /** What failed last and has not succeeded since, in words. */
  readonly problem: string | undefined;
}

export interface ClientState {
  readonly kind: "no-address" | "announcing" | "confirmed" | "unanswered";
  readonly since: number;
}

/** What came of asking for an announcement. */
export interface Announcement {
  /** Absent: there is none to announce. */
  readonly address?: Ipv4Address | undefined;
  /** As of then. */
  readonly problem?: string | undefined;
}

export interface UplinkStatus {
  readonly address: Ipv4Address;
  readonly interface: string;
  /** Octets. */
  readonly mtu: number;
  /** Since when we have this address there. */
  readonly since: number;
}

/** The status for people, aligned, ending in a newline. */
export function formatClientStatus(status: ClientStatus, reading: Reading): string {
  const { style } = reading;
  const { uplink, lastMove, problem, dns = [] } = status;
  const { text, why } = describeState(status, reading);
  const facts: Fact[] = [["State", STATE_STYLES[status.state.kind](style)(text)]];
  for (const line of why) facts.push(["", line]);
  if (problem !== undefined) facts.push(["Problem", style.bad(problem)]);
  facts.push(
    ["Since", describeSince(status.state.since, reading)],
    ["Our IPv4", uplink === undefined ? "none" : `${uplink.address} on ${uplink.interface}`],
  );
  if (uplink !== undefined) facts.push(["", `since ${describeSince(uplink.since, reading)}`]);
  facts.push(
    ["Last move", lastMove === undefined ? "none" : describeMove(lastMove, reading)],
    ["Moves", formatCount(status.moves)],
    ["Server", status.server],
    ["Prefixes", status.prefixes.join(", ") || "none yet"],
    ...(dns.length === 0 ? [] : [["Name servers", dns.join(", ")] satisfies Fact]),
    ["Interface", `${status.interface}, ${status.address ?? "no address"}, MTU ${status.mtu}`],
    ["Link", `${status.linkLocal} to ${status.serverLinkLocal}`],
    ...(status.lan === undefined ? [] : describeLan(status.lan, style)),
    ...(status.firewall === undefined ? [] : describeFirewall(status.firewall)),
    ["Carried by", describeEncapsulation(status.encapsulation)],
    ...(status.keys === undefined ? [] : describeKeys(status.keys, reading)),
    ["Data plane", describeDataPlane(status.dataPlane)],
    ...describeTraffic(status.traffic, status.encapsulation, reading),
    ["Announced", formatQuantity(status.advertisementsSent, "advertisement")],
    ["Daemon", `hometun ${status.version}, process ${status.pid}`],
    ["", `started ${describeSince(status.startedAt, reading)}`],
  );
  return formatFacts(facts, style.faint);
}

/** How the tunnel is, in one line for people. */
export function summarizeClient(status: ClientStatus): string {
  const { problem } = status;
  return problem === undefined ? summarizeState(status) : `${summarizeState(status)}; ${problem}`;
}

function summarizeState({ state, uplink, prefixes }: ClientStatus): string {
  const home = prefixes.length === 0 ? "no prefix yet" : prefixes.join(", ");
  switch (state.kind) {
    case "confirmed":
      return `confirmed: ${home} by ${uplink?.address ?? "no address"}`;
    case "announcing":
      return `announcing ${uplink?.address ?? "no address"} for ${home}`;
    case "no-address":
      return `no address: waiting for a route to the server, for ${home}`;
    case "unanswered":
      return `unanswered: the server has not confirmed ${uplink?.address ?? "no address"} for ${home}`;
  }
}

/** One line for who asked for it. */
export function describeAnnouncement({ address, problem }: Announcement): string {
  if (address === undefined) return "nothing to announce: no address";
  return problem === undefined
    ? `${address} is announced`
    : `${address} is announced, but ${problem}`;
}

const STATE_STYLES: Readonly<Record<ClientState["kind"], (style: Style) => Style["good"]>> = {
  "no-address": (style) => style.bad,
  announcing: (style) => style.pending,
  confirmed: (style) => style.good,
  unanswered: (style) => style.bad,
};

/** What is so; and when it is not as it should be, what to look at. */
function describeState(
  status: ClientStatus,
  reading: Reading,
): { text: string; why: readonly string[] } {
  const address = status.uplink?.address ?? "our address";
  switch (status.state.kind) {
    case "confirmed":
      return { text: `confirmed: the server sends to ${address}`, why: [] };
    case "announcing":
      return { text: `announcing ${address}: the server has not confirmed it yet`, why: [] };
    case "no-address":
      return {
        text: `no address: no route leads to the server ${status.server}`,
        why: ["hometun goes on by itself as soon as one does (ip route get tells)"],
      };
    case "unanswered":
      return {
        text: `unanswered: the server has not confirmed ${address} for ${formatDuration(reading.now - status.state.since)}`,
        why: [
          "hometun goes on asking; look whether the server runs, whether both have",
          `the same keys, and whether a firewall stops ${describeEncapsulation(status.encapsulation)}`,
        ],
      };
  }
}
