/** The client's configuration: from the text of `client.toml` to checked values, every default filled. */

import type { ManualKeys } from "../common/config/keys.ts";
import type { LogConfig } from "../common/config/schema.ts";
import type { Ipv4Address, Ipv6Address, Ipv6Prefix } from "../common/ip/address.ts";
import type { Encapsulation } from "../common/tunnel/tunnel.ts";

export interface ClientConfig {
  /** The server's static address. */
  readonly server: Ipv4Address;
  readonly tunnel: ClientTunnelConfig;
  readonly keys: ManualKeys;
  /** Where sequence numbers are reserved. */
  readonly stateDirectory: string;
  readonly controlSocket: string;
  readonly log: LogConfig;
}

export interface ClientTunnelConfig {
  readonly interfaceName: string;
  readonly linkLocal: Ipv6Address;
  readonly serverLinkLocal: Ipv6Address;
  /** At least one; none overlaps another. */
  readonly prefixes: readonly Ipv6Prefix[];
  /** Our address on the tunnel's interface; in one of `prefixes`. */
  readonly address: Ipv6Address;
  readonly encapsulation: Encapsulation;
  /** Whether `::/0` is routed into the tunnel. */
  readonly defaultRoute: boolean;
  /** Octets; absent: computed from the uplink. */
  readonly mtu: number | undefined;
  readonly clampMss: boolean;
  /** 0: none are sent. RFC 3948 section 2.3. */
  readonly natKeepaliveMs: number;
  /** How long the tunnel may be silent before the server is asked; 0: never. */
  readonly livenessIntervalMs: number;
}
