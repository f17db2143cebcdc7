/** `firewall` and `open-ports` in `client.toml`. */

import { mistake } from "../../common/config/mistakes.ts";
import { bool, field, list } from "../../common/config/schema.ts";
import type { ConfigError } from "../../common/errors.ts";
import { formatIpv6Prefix, type Ipv6Prefix } from "../../common/ip/address.ts";
import { liesWithin, type OpenPort, parseOpenPort } from "./open-port.ts";

const openPort = field(
  'a protocol, an address and ports such as "tcp 2001:db8:a:1::10 443"',
  (raw): OpenPort | undefined => (typeof raw === "string" ? parseOpenPort(raw) : undefined),
);

/** For the table they stand in. */
export const firewallFields = {
  firewall: bool.optional().meta({
    description:
      "Whether what nobody asked for is kept out of the LAN and of this machine. By default true as soon as there is a `lan`.",
    example: "true",
  }),
  "open-ports": list(openPort, 'a list such as ["tcp 2001:db8:a:1::10 443"]').optional().meta({
    description: "What is let in nevertheless: protocol, address or prefix of the home's, ports.",
    example: '["tcp 2001:db8:a:1::10 443", "udp 2001:db8:a:1::/64 6000-6010"]',
  }),
};

export interface FirewallConfig {
  /** Whether what nobody asked for is kept out; absent in the file: as soon as there is a LAN. */
  readonly enabled: boolean;
  readonly open: readonly OpenPort[];
}

export function firewallOf(fields: {
  readonly firewall?: boolean | undefined;
  readonly "open-ports"?: readonly OpenPort[] | undefined;
  readonly lan?: unknown;
}): FirewallConfig {
  return {
    enabled: fields.firewall ?? fields.lan !== undefined,
    open: fields["open-ports"] ?? [],
  };
}

/** What is wrong between the firewall and the home's prefixes. */
export function firewallMistakes(
  config: {
    readonly firewall: FirewallConfig;
    readonly tunnel: { readonly prefixes: readonly Ipv6Prefix[] };
  },
  file: string,
): ConfigError[] {
  const { enabled, open } = config.firewall;
  const { prefixes } = config.tunnel;
  if (!enabled && open.length > 0) {
    return [
      mistake(file, ["open-ports"], "without a firewall all ports are open: firewall = true"),
    ];
  }
  // The server assigns them later; what lies elsewhere then opens nothing.
  if (prefixes.length === 0) return [];
  const ours = prefixes.map(formatIpv6Prefix).join(", ");
  return open.flatMap((port, place) =>
    liesWithin(port, prefixes)
      ? []
      : [mistake(file, ["open-ports", place], `expected an address in the home's ${ours}`)],
  );
}
