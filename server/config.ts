/** The server's configuration: `server.toml` and one file for each home, to checked values. */

import type { ManualKeys } from "../common/config/keys.ts";
import type { LogConfig } from "../common/config/schema.ts";
import type { Ipv4Address, Ipv6Address, Ipv6Prefix } from "../common/ip/address.ts";
import type { Encapsulation, TunnelName } from "../common/tunnel/tunnel.ts";

export interface ServerConfig {
  /** Our static address, from which ESP is sent. */
  readonly address: Ipv4Address;
  /** What homes may use; each says which. */
  readonly encapsulations: readonly Encapsulation[];
  /** No two share a name, an interface, an inbound SPI or an address of a prefix. */
  readonly homes: readonly HomeConfig[];
  /** Whether a home may state a private address (RFC 1918, RFC 6598). */
  readonly allowPrivateEndpoints: boolean;
  /** Whether a home may state the confirmed endpoint of another. */
  readonly sharedEndpoints: boolean;
  readonly clampMss: boolean;
  /** Neighbor Advertisements taken from each home. */
  readonly advertisements: {
    /** Per second. */
    readonly rate: number;
    readonly burst: number;
  };
  /** Where sequence numbers and endpoints are kept. */
  readonly stateDirectory: string;
  readonly controlSocket: string;
  readonly log: LogConfig;
}

export interface HomeConfig {
  readonly name: TunnelName;
  readonly interfaceName: string;
  /** The home's link-local address. */
  readonly linkLocal: Ipv6Address;
  /** Ours on the home's interface. */
  readonly serverLinkLocal: Ipv6Address;
  /** At least one. */
  readonly prefixes: readonly Ipv6Prefix[];
  readonly encapsulation: Encapsulation;
  /** Octets; absent: computed from the uplink. */
  readonly mtu: number | undefined;
  readonly keys: ManualKeys;
}
