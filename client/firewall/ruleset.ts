/**
 * What may come out of the tunnel unasked: nothing but what keeps IPv6 working and what the user has opened. The
 * ruleset is a text for nft(8), of one table that is hometun's own and is replaced whole. Pure.
 *
 * Only what comes in by the tunnel's interface is judged. What leaves is free, and so are the LAN and the uplink: a
 * packet that this table lets through may still be stopped by another table, and the other way round.
 *
 * ICMPv6 is RFC 4890's: section 4.3.1 for what is forwarded, 4.4.1 for what is for this machine. Departures, all
 * deliberate: Router Advertisements, Redirects and Router Solicitations are not taken from the tunnel, whose ends are
 * configured (4.4.1 lets a site that does not autoconfigure drop them); Mobile IPv6 (4.3.2) is for those to open who
 * have it.
 */

import { formatDestination, type OpenPort } from "./open-port.ts";

const DEFAULT_INTERFACE = "ht0";

export interface Firewall {
  /** The tunnel's interface. */
  readonly interfaceName: string;
  readonly open: readonly OpenPort[];
}

/** The table's name; a second tunnel of the same machine has another. */
export function firewallTable(interfaceName: string): string {
  return interfaceName === DEFAULT_INTERFACE ? "hometun" : `hometun-${interfaceName}`;
}

/** Removes the table, whether or not it stands. */
export function firewallRemoval(interfaceName: string): string {
  const table = `table inet ${firewallTable(interfaceName)}`;
  // `delete` fails for a table that is not there, so it is made before.
  return `${table} {}\ndelete ${table}\n`;
}

/** Replaces the table in one step: there is no moment without. */
export function firewallRuleset({ interfaceName, open }: Firewall): string {
  const from = `iifname "${interfaceName}"`;
  return `${firewallRemoval(interfaceName)}table inet ${firewallTable(interfaceName)} {
  chain input {
    type filter hook input priority filter; policy accept;
    ${from} jump to-home
  }

  chain forward {
    type filter hook forward priority filter; policy accept;
    ${from} jump to-lan
  }

  chain to-home {
    # Neighbor Discovery of the link itself: announcing, confirming. No router has touched it.
    icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } ip6 hoplimit 255 accept
    # Multicast listeners of the link, RFC 4890 section 4.4.1.
    icmpv6 type { mld-listener-query, mld-listener-report, mld-listener-done, mld2-listener-report } ip6 saddr fe80::/10 ip6 hoplimit 1 accept
    jump asked-or-open
    counter drop comment "not asked for, not open"
  }

  chain to-lan {
    # RFC 5095.
    rt type 0 drop
    jump asked-or-open
    counter drop comment "not asked for, not open"
  }

  chain asked-or-open {
    ct state established,related accept
    # RFC 4890 section 4.3.1. The echo is also how the server sees whether the home is there.
    icmpv6 type { destination-unreachable, packet-too-big, time-exceeded, parameter-problem, echo-request, echo-reply } accept
${open.map((port) => `    ${ruleOf(port)}\n`).join("")}  }
}
`;
}

function ruleOf(port: OpenPort): string {
  const destination = `ip6 daddr ${formatDestination(port.destination)}`;
  switch (port.protocol) {
    case "esp":
    case "ah":
      return `${destination} meta l4proto ${port.protocol} accept`;
    case "tcp":
    case "udp":
    case "sctp": {
      const ports = port.ports.map(({ first, last }) =>
        first === last ? first : `${first}-${last}`,
      );
      return `${destination} ${port.protocol} dport { ${ports.join(", ")} } accept`;
    }
  }
}
