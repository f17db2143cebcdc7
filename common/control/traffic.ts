/** What `status` tells of packets and moves, in both daemons. Instants are wall-clock milliseconds since 1970. */

import type { Ipv4Address } from "../ip/address.ts";
import type { Instant } from "../time.ts";
import type { DataPlane, RefusalReason, TunnelCounters } from "../tunnel/data-plane.ts";
import type { Endpoint } from "../tunnel/tunnel.ts";

/** Packets refused, by reason. */
export type Refusals<Reason extends string = string> = Readonly<Partial<Record<Reason, number>>>;

export interface TrafficStatus {
  readonly sentPackets: number;
  readonly sentOctets: number;
  readonly receivedPackets: number;
  readonly receivedOctets: number;
  readonly refused: Refusals<RefusalReason>;
  /** When a packet was last sent, and when an authentic one last came. */
  readonly sentAt: number | undefined;
  readonly heardAt: number | undefined;
  /** Where the last authentic packet came from. Information only. */
  readonly observedSource: Endpoint | undefined;
}

/** The last time the home's IPv4 address changed. */
export interface MoveStatus {
  readonly from: Ipv4Address | undefined;
  readonly to: Ipv4Address;
  readonly at: number;
  /** How long the other side took to confirm it; absent while it has not. */
  readonly confirmedInMs: number | undefined;
  /** What both daemons' logs call it; a server knows it if the client told. */
  readonly change?: string | undefined;
}

export interface DataPlaneStatus {
  readonly kind: "kernel" | "userspace";
  /** What encrypts, such as `OpenSSL EVP` or `node:crypto`. */
  readonly crypto: string;
  /** Why it is this one. */
  readonly reason?: string | undefined;
}

export function dataPlaneStatusOf({ kind, crypto, reason }: DataPlane): DataPlaneStatus {
  return { kind, crypto, reason };
}

/** `wallOffset` is what to add to the monotonic clock to get wall-clock milliseconds. */
export function trafficOf(counters: TunnelCounters, wallOffset: number): TrafficStatus {
  const wall = (instant: Instant | undefined) =>
    instant === undefined ? undefined : Math.round(instant + wallOffset);
  return { ...counters, sentAt: wall(counters.sentAt), heardAt: wall(counters.heardAt) };
}
