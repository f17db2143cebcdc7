/** How the LANs are, for `status` and `doctor`. */

import type { Style } from "../../common/text/style.ts";
import type { Fact } from "../../common/text/table.ts";
import type { FirewallConfig } from "../firewall/firewall-config.ts";
import { formatOpenPort } from "../firewall/open-port.ts";
import type { LanMode } from "./lan-config.ts";

export type LanInterfaceState =
  /** The server has assigned no prefix to the home yet. */
  | "unassigned"
  /** The home's prefixes have no /64 for it. */
  | "no-prefix"
  /** It leads to the ISP, where nobody wants another router. */
  | "uplink"
  /** There is no such interface. */
  | "missing"
  /** No carrier, or no link-local address. */
  | "waiting"
  /** The kernel refuses something; `trouble` says what. */
  | "failing"
  /** Hosts are told nothing yet: the tunnel was not up since the start. */
  | "silent"
  | "advertising"
  /** Hosts are told that the tunnel is dead. */
  | "withdrawn"
  /** Another program tells the hosts. */
  | "exported";

export interface LanInterfaceStatus {
  readonly interface: string;
  /** As text, such as `2001:db8:a:1::/64`. */
  readonly prefix: string | undefined;
  readonly state: LanInterfaceState;
  readonly trouble?: string | undefined;
}

export interface LanStatus {
  readonly mode: LanMode;
  readonly interfaces: readonly LanInterfaceStatus[];
  /** With mode `export`. */
  readonly exportFile?: string | undefined;
}

export interface FirewallStatus {
  readonly enabled: boolean;
  /** As in the configuration. */
  readonly open: readonly string[];
}

export function firewallStatus({ enabled, open }: FirewallConfig): FirewallStatus {
  return { enabled, open: open.map(formatOpenPort) };
}

const WORDS: Readonly<Record<LanInterfaceState, string>> = {
  unassigned: "no prefix from the server yet",
  "no-prefix": "the home has no /64 for it",
  uplink: "it is the uplink: nothing is told there",
  missing: "missing: there is no such interface, waiting",
  waiting: "waiting: no carrier, or no link-local address",
  failing: "failing",
  silent: "hosts are told nothing before the tunnel is up",
  advertising: "hosts are told",
  withdrawn: "hosts are told that the tunnel is dead",
  exported: "left to another daemon",
};

/** What people call the state; `advertising` and `exported` are as they should be. */
export function describeLanState({ state, trouble }: LanInterfaceStatus): string {
  return trouble === undefined ? WORDS[state] : trouble;
}

export function describeLan({ interfaces, exportFile }: LanStatus, style: Style): Fact[] {
  const lines = interfaces.map((each) => {
    const { state, prefix } = each;
    const isWell = state === "advertising" || state === "exported";
    const words = describeLanState(each);
    const where = prefix === undefined ? each.interface : `${each.interface} ${prefix}`;
    return `${where}, ${isWell ? words : style.pending(words)}`;
  });
  if (exportFile !== undefined) lines.push(`by ${exportFile}`);
  return lines.map((line, index) => [index === 0 ? "LAN" : "", line]);
}

export function describeFirewall({ enabled, open }: FirewallStatus): Fact[] {
  if (!enabled) return [["Firewall", "off: whoever is behind the tunnel can be reached"]];
  if (open.length === 0) return [["Firewall", "on: nobody gets in unasked"]];
  return open.map((port, index) => [
    index === 0 ? "Firewall" : "",
    index === 0 ? `on, open: ${port}` : `          ${port}`,
  ]);
}
