/** What the server tells of itself and its homes. Instants are wall-clock milliseconds since 1970. */

import type {
  DataPlaneStatus,
  MoveStatus,
  Refusals,
  TrafficStatus,
} from "../common/control/traffic.ts";
import type { Ipv4Address, Ipv6Address } from "../common/ip/address.ts";
import type { RefusalReason } from "../common/tunnel/data-plane.ts";
import type { Encapsulation, Endpoint, TunnelName } from "../common/tunnel/tunnel.ts";

export interface ServerStatus {
  readonly version: string;
  readonly pid: number;
  readonly startedAt: number;
  readonly address: Ipv4Address;
  readonly dataPlane: DataPlaneStatus;
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
  readonly traffic: TrafficStatus;
}

export interface HomeState {
  /** `held`: the home does not answer at its endpoint, and nothing but probes is sent there. */
  readonly kind: "never-heard" | "unconfirmed" | "confirmed" | "held";
  readonly since: number;
}
