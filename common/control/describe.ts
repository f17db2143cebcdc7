/** The parts of a status for people that both daemons have. */

import type { Style } from "../text/style.ts";
import type { Fact } from "../text/table.ts";
import { formatCount, formatDuration, formatOctets, formatQuantity } from "../text/units.ts";
import type { Encapsulation, Endpoint } from "../tunnel/tunnel.ts";
import type { DataPlaneStatus, MoveStatus, Refusals, TrafficStatus } from "./traffic.ts";

/** To whom and when a status is told. */
export interface Reading {
  /** Wall clock, milliseconds since 1970. */
  readonly now: number;
  readonly style: Style;
  /** Such as `UTC`; absent: the system's. */
  readonly timeZone?: string;
}

/** `2026-11-21 07:05:03 (2 h 10 min)` */
export function describeSince(since: number, { now, timeZone }: Reading): string {
  return `${formatTime(since, timeZone)} (${formatDuration(now - since)})`;
}

/** `3 min 5 s ago` */
export function describeAgo(at: number, { now }: Reading): string {
  return `${formatDuration(now - at)} ago`;
}

export function describeEncapsulation(encapsulation: Encapsulation): string {
  return encapsulation === "udp" ? "ESP in UDP port 4500" : "ESP (IPv4 protocol 50)";
}

/** The port says something only where ESP travels in UDP. */
export function describeEndpoint(endpoint: Endpoint, encapsulation: Encapsulation): string {
  return encapsulation === "udp" ? `${endpoint.address}:${endpoint.port}` : endpoint.address;
}

/** Why a tunnel carries nothing while its interface is down, and what to do. */
export function describeInterfaceDown(interfaceName: string): string {
  return `the tunnel interface is down; run \`ip link set ${interfaceName} up\``;
}

export function describeDataPlane({ kind, crypto, reason }: DataPlaneStatus): string {
  const why = reason === undefined ? "" : ` (${reason})`;
  return `${kind}, encrypted by ${crypto}${why}`;
}

/** `192.0.2.7 -> 192.0.2.9, confirmed in 4.2 ms, 5 s ago` */
export function describeMove(move: MoveStatus, reading: Reading): string {
  const way = move.from === undefined ? `to ${move.to}` : `${move.from} -> ${move.to}`;
  return `${way}, ${describeConfirmation(move)}, ${describeAgo(move.at, reading)}`;
}

function describeConfirmation({ confirmedInMs }: MoveStatus): string {
  return confirmedInMs === undefined
    ? "not confirmed yet"
    : `confirmed in ${formatDuration(confirmedInMs)}`;
}

export function describeTraffic(
  traffic: TrafficStatus,
  encapsulation: Encapsulation,
  reading: Reading,
): Fact[] {
  const { heardAt, observedSource } = traffic;
  const from =
    observedSource === undefined ? "" : `, from ${describeEndpoint(observedSource, encapsulation)}`;
  return [
    ["Sent", describeVolume(traffic.sentPackets, traffic.sentOctets)],
    ["Received", describeVolume(traffic.receivedPackets, traffic.receivedOctets)],
    ["Heard", heardAt === undefined ? "never" : `${describeAgo(heardAt, reading)}${from}`],
    ["Refused", describeRefusals(traffic.refused, "packet")],
  ];
}

/** `3 packets: 2 replayed, 1 not-authentic` */
export function describeRefusals(refusals: Refusals, noun: string): string {
  const total = Object.values(refusals).reduce<number>((sum, count = 0) => sum + count, 0);
  return total === 0 ? "none" : `${formatQuantity(total, noun)}: ${listRefusals(refusals)}`;
}

/** `2 replayed, 1 not-authentic`: the most frequent reason first. */
export function listRefusals(refusals: Refusals): string {
  const reasons = Object.entries(refusals)
    .map(([reason, count = 0]) => ({ reason, count }))
    .filter(({ count }) => count > 0)
    .sort((a, b) => b.count - a.count || (a.reason < b.reason ? -1 : 1));
  if (reasons.length === 0) return "none";
  return reasons.map(({ reason, count }) => `${formatCount(count)} ${reason}`).join(", ");
}

function describeVolume(packets: number, octets: number): string {
  return `${formatQuantity(packets, "packet")}, ${formatOctets(octets)}`;
}

/** Swedish is how ECMA-402 spells ISO 8601 with a space. */
function formatTime(at: number, timeZone: string | undefined): string {
  const format = new Intl.DateTimeFormat("sv-SE", {
    dateStyle: "short",
    timeStyle: "medium",
    ...(timeZone === undefined ? {} : { timeZone }),
  });
  return format.format(at);
}
