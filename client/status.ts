/** What the client tells of itself. Instants are wall-clock milliseconds since 1970. */

import type { DataPlaneStatus, MoveStatus, TrafficStatus } from "../common/control/traffic.ts";
import type { Ipv4Address, Ipv6Address } from "../common/ip/address.ts";
import type { Encapsulation } from "../common/tunnel/tunnel.ts";

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
  readonly address: Ipv6Address;
  /** As text, such as `2001:db8:a::/56`. */
  readonly prefixes: readonly string[];
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
  /** What failed last and has not succeeded since, in words. */
  readonly problem: string | undefined;
}

export interface ClientState {
  readonly kind: "no-address" | "announcing" | "confirmed" | "unanswered";
  readonly since: number;
}

export interface UplinkStatus {
  readonly address: Ipv4Address;
  readonly interface: string;
  /** Octets. */
  readonly mtu: number;
  /** Since when we have this address there. */
  readonly since: number;
}
