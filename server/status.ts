/** What the server tells of itself and its homes. Instants are wall-clock milliseconds since 1970. */

import {
  describeDataPlane,
  describeEncapsulation,
  describeEndpoint,
  describeMove,
  describeRefusals,
  describeSince,
  describeTraffic,
  listRefusals,
  type Reading,
} from "../common/control/describe.ts";
import { HOME_STATES, type HomeStateKind } from "../common/control/home-query.ts";
import { describeKeys, type KeyStatus } from "../common/control/key-status.ts";
import type {
  DataPlaneStatus,
  MoveStatus,
  Refusals,
  TrafficStatus,
} from "../common/control/traffic.ts";
import type { Ipv4Address, Ipv6Address } from "../common/ip/address.ts";
import type { Style } from "../common/text/style.ts";
import { type Column, type Fact, formatFacts, formatTable } from "../common/text/table.ts";
import { formatCount, formatDuration, formatOctets, formatQuantity } from "../common/text/units.ts";
import type { RefusalReason } from "../common/tunnel/data-plane.ts";
import type { Encapsulation, Endpoint, TunnelName } from "../common/tunnel/tunnel.ts";
import type { HomeCounts } from "./home-list.ts";

export interface ServerStatus {
  readonly version: string;
  readonly pid: number;
  readonly startedAt: number;
  readonly address: Ipv4Address;
  readonly dataPlane: DataPlaneStatus;
  /** Why state cannot be kept, in words, if it cannot. */
  readonly problem?: string | undefined;
  /** All homes, by state. */
  readonly counts: HomeCounts;
  /** How many homes the query fits. */
  readonly matching: number;
  /** Those that were asked for, in the order that was asked for. */
  readonly homes: readonly HomeStatus[];
  /** Of no home: packets whose SPI is unknown, advertisements that came through no tunnel. */
  readonly unattributed: {
    readonly packets: Refusals<RefusalReason>;
    readonly advertisements: Refusals;
  };
}

export interface HomeStatus {
  readonly name: TunnelName;
  readonly interface: string;
  readonly linkLocal: Ipv6Address;
  readonly serverLinkLocal: Ipv6Address;
  /** As text, such as `2001:db8:a::/56`. */
  readonly prefixes: readonly string[];
  readonly encapsulation: Encapsulation;
  /** Octets; of the home's interface. */
  readonly mtu: number;
  readonly state: HomeState;
  /** Where ESP is sent; absent until the home has said. */
  readonly endpoint: Endpoint | undefined;
  /** Since when `endpoint` is its endpoint. */
  readonly since: number | undefined;
  readonly moves: number;
  readonly lastMove: MoveStatus | undefined;
  readonly advertisements: {
    readonly accepted: number;
    readonly refused: Refusals;
  };
  /** Absent when the configuration gives the keys. */
  readonly keys?: KeyStatus | undefined;
  /** What keeps the tunnel from working, in words. */
  readonly problem?: string | undefined;
  readonly traffic: TrafficStatus;
}

export interface HomeState {
  readonly kind: HomeStateKind;
  readonly since: number;
}

const COLUMNS: readonly Column[] = [
  { heading: "HOME" },
  { heading: "STATE" },
  { heading: "ENDPOINT" },
  { heading: "SINCE" },
  { heading: "LAST MOVE", align: "right" },
  { heading: "RX", align: "right" },
  { heading: "TX", align: "right" },
];

const STATES: Readonly<
  Record<
    HomeState["kind"],
    { word: string; sentence: string; style: (style: Style) => Style["good"] }
  >
> = {
  confirmed: {
    word: "confirmed",
    sentence: "confirmed: the home answered at its endpoint",
    style: (style) => style.good,
  },
  unconfirmed: {
    word: "unconfirmed",
    sentence: "unconfirmed: the home has not answered at its endpoint yet",
    style: (style) => style.pending,
  },
  held: {
    word: "held",
    sentence: "held: the home does not answer at its endpoint, only probes are sent there",
    style: (style) => style.bad,
  },
  "never-heard": {
    word: "never heard",
    sentence: "never heard: the home has not announced an address yet",
    style: (style) => style.faint,
  },
};

/** The status for people: a table of homes. */
export function formatServerStatus(status: ServerStatus, reading: Reading): string {
  const { style } = reading;
  const heading = formatFacts(
    [
      ["Daemon", `hometun-server ${status.version}, process ${status.pid}`],
      ["", `started ${describeSince(status.startedAt, reading)}`],
      ...(status.problem === undefined
        ? []
        : [["Problem", style.bad(status.problem)] satisfies Fact]),
      ["Address", status.address],
      ["Data plane", describeDataPlane(status.dataPlane)],
      ["Homes", describeCounts(status.counts)],
      ["Refused", `packets of no home: ${listRefusals(status.unattributed.packets)}`],
      ["", `advertisements of no home: ${listRefusals(status.unattributed.advertisements)}`],
    ],
    style.faint,
  );
  const more = status.matching - status.homes.length;
  const rest = more > 0 ? `... ${formatCount(more)} more (--all)\n` : "";
  const isNoneFitting = status.matching === 0 && totalOf(status.counts) > 0;
  if (isNoneFitting) return `${heading}\nNo home is in that state.\n`;
  if (status.homes.length === 0) return heading + rest;
  const table = formatTable(
    COLUMNS,
    status.homes.map((home) => rowOf(home, reading)),
  );
  return `${heading}\n${table}${rest}`;
}

/** One home for people. */
export function formatHomeStatus(home: HomeStatus, reading: Reading): string {
  const { style } = reading;
  const { endpoint, since, lastMove, advertisements } = home;
  const state = STATES[home.state.kind];
  const facts: Fact[] = [
    ["Home", style.strong(home.name)],
    ["State", state.style(style)(state.sentence)],
    ...(home.problem === undefined ? [] : [["Problem", style.bad(home.problem)] as const]),
    ["Since", describeSince(home.state.since, reading)],
    ["Endpoint", endpoint === undefined ? "none" : describeEndpoint(endpoint, home.encapsulation)],
  ];
  if (since !== undefined) facts.push(["", `since ${describeSince(since, reading)}`]);
  facts.push(
    ["Last move", lastMove === undefined ? "none" : describeMove(lastMove, reading)],
    ["Moves", formatCount(home.moves)],
    ["Prefixes", home.prefixes.join(", ")],
    ["Interface", `${home.interface}, MTU ${home.mtu}`],
    ["Link", `${home.serverLinkLocal} to ${home.linkLocal}`],
    ["Carried by", describeEncapsulation(home.encapsulation)],
    ...(home.keys === undefined ? [] : describeKeys(home.keys, reading)),
    ...describeTraffic(home.traffic, home.encapsulation, reading),
    ["Announced", `${formatQuantity(advertisements.accepted, "advertisement")} accepted`],
    ["", `refused: ${describeRefusals(advertisements.refused, "advertisement")}`],
  );
  return formatFacts(facts, style.faint);
}

function rowOf(home: HomeStatus, reading: Reading): string[] {
  const { endpoint, since, lastMove, traffic } = home;
  const state = STATES[home.state.kind];
  const confirmedInMs = lastMove?.confirmedInMs;
  return [
    home.name,
    state.style(reading.style)(state.word),
    endpoint === undefined ? "-" : describeEndpoint(endpoint, home.encapsulation),
    since === undefined ? "-" : formatDuration(reading.now - since),
    confirmedInMs === undefined ? "-" : formatDuration(confirmedInMs),
    formatOctets(traffic.receivedOctets),
    formatOctets(traffic.sentOctets),
  ];
}

/** The homes counted: `4: 2 confirmed, 1 held, 1 never heard` */
export function describeCounts(counts: HomeCounts): string {
  const total = totalOf(counts);
  const parts = HOME_STATES.filter((kind) => counts[kind] > 0).map(
    (kind) => `${formatCount(counts[kind])} ${STATES[kind].word}`,
  );
  return total === 0 ? "none" : `${formatCount(total)}: ${parts.join(", ")}`;
}

function totalOf(counts: HomeCounts): number {
  return HOME_STATES.reduce((sum, kind) => sum + counts[kind], 0);
}
