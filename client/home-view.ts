/** What the home's tunnel tells those who follow it: the LAN, the hooks. */

import type { Ipv4Address, Ipv6Address, Ipv6Prefix } from "../common/ip/address.ts";

export interface HomeView {
  /** Whether the server confirms us. */
  readonly confirmed: boolean;
  /** Ours, towards the server; absent while no route leads there. */
  readonly address: Ipv4Address | undefined;
  /** The interface to the ISP; absent also where it leads to a network of somebody's own, with private addresses. */
  readonly ispInterface?: string | undefined;
  /** Of the tunnel's interface, in octets. */
  readonly mtu: number;
  readonly prefixes: readonly Ipv6Prefix[];
  /** Name servers that the server told (INTERNAL_IP6_DNS); absent: it tells none. */
  readonly dns?: readonly Ipv6Address[];
  /** From the latest change of address to its confirmation. */
  readonly confirmedInMs: number | undefined;
}
