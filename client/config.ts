/** The client's configuration: from the text of `client.toml` to checked values, every default filled. */

import type { z } from "zod";
import { asksToNegotiate, byMode, keysTable, type ManualKeys } from "../common/config/keys.ts";
import { type MetricsListen, metricsFields, remoteMetrics } from "../common/config/metrics.ts";
import { mistake, type Outcome, outcomeOf } from "../common/config/mistakes.ts";
import { type NegotiatedKeys, negotiatedKeysTable } from "../common/config/negotiated-keys.ts";
import {
  absolutePath,
  bool,
  checkWith,
  chosen,
  type DataPlaneSetting,
  dataPlane,
  encapsulation,
  exposedFile,
  firstHost,
  hostIpv4,
  hostIpv6,
  interfaceName,
  type LogConfig,
  linkLocal,
  logTable,
  mtu,
  overlaps,
  parseToml,
  prefixes,
  type Source,
  seconds,
  socketPath,
  table,
} from "../common/config/schema.ts";
import type { ConfigError } from "../common/errors.ts";
import {
  formatIpv6Prefix,
  type Ipv4Address,
  type Ipv6Address,
  type Ipv6Prefix,
  isInPrefix,
} from "../common/ip/address.ts";
import type { Encapsulation } from "../common/tunnel/tunnel.ts";
import {
  type FirewallConfig,
  firewallFields,
  firewallMistakes,
  firewallOf,
} from "./firewall/firewall-config.ts";
import { type HooksConfig, hookFields, hooksOf } from "./hooks/hook-config.ts";
import { type LanConfig, lanFields, lanMistakes, lanOf } from "./lan/lan-config.ts";

export const CLIENT_DEFAULTS = {
  file: "/etc/hometun/client.toml",
  stateDirectory: "/var/lib/hometun",
  controlSocket: "/run/hometun/client.sock",
} as const;

const LONGEST_KEEPALIVE = 3_600; // seconds
const LONGEST_LIVENESS_INTERVAL = 86_400; // seconds
/** The two ends of a link that nobody has named: each tunnel is a link of its own. */
const USUAL_LINK_LOCAL = "fe80::2" as Ipv6Address;
const USUAL_SERVER_LINK_LOCAL = "fe80::1" as Ipv6Address;

export interface ClientConfig {
  /** The server's static address. */
  readonly server: Ipv4Address;
  readonly tunnel: ClientTunnelConfig;
  readonly keys: ManualKeys | NegotiatedKeys;
  /** Where sequence numbers are reserved. */
  readonly stateDirectory: string;
  readonly dataPlane: DataPlaneSetting;
  readonly controlSocket: string;
  /** The home's LAN, if hometun looks after it. */
  readonly lan: LanConfig | undefined;
  /** What keeps out of it what nobody asked for. */
  readonly firewall: FirewallConfig;
  /** What the user wants run when the tunnel comes, goes and moves. */
  readonly hooks: HooksConfig;
  /** Where metrics are served; absent: nowhere. */
  readonly metrics: MetricsListen | undefined;
  /** Whether they may be served beyond this machine. */
  readonly allowRemoteMetrics: boolean;
  readonly log: LogConfig;
}

export interface ClientTunnelConfig {
  readonly interfaceName: string;
  readonly linkLocal: Ipv6Address;
  readonly serverLinkLocal: Ipv6Address;
  /** None overlaps another. At least one; none when the server assigns them. */
  readonly prefixes: readonly Ipv6Prefix[];
  /** Our address on the tunnel's interface; in one of `prefixes`. Absent: the first of what is assigned. */
  readonly address: Ipv6Address | undefined;
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

const TUNNEL = { description: "The tunnel, and the link in it." };
const LINK_LOCAL = {
  description: "Our address on the point-to-point link, as in the server's file.",
  example: '"fe80::c"',
};
const ENCAPSULATION = {
  description:
    "How ESP travels: in UDP port 4500, or as IPv4 protocol 50, which no NAT lets pass. As in the server's file.",
  example: '"udp"',
};

const commonTunnelFields = {
  interface: interfaceName
    .default("ht0")
    .meta({ description: "The name of the tunnel's interface.", example: '"ht0"' }),
  "default-route": bool
    .default(true)
    .meta({ description: "Whether all IPv6 is routed into the tunnel.", example: "true" }),
  mtu: mtu.optional().meta({
    description: "The tunnel's, in octets. Absent: what fits the uplink.",
    example: "1400",
  }),
  "clamp-mss": bool.default(true).meta({
    description:
      "Whether TCP of hosts with a larger MTU is made to fit. Userspace data plane only: the kernel's does not.",
    example: "true",
  }),
  "nat-keepalive": seconds(LONGEST_KEEPALIVE).prefault(20).meta({
    description:
      'After how long without a packet sent a NAT is reminded of us (RFC 3948 section 2.3), with `encapsulation = "udp"`; 0: never.',
    example: "20",
  }),
  "liveness-interval": seconds(LONGEST_LIVENESS_INTERVAL).prefault(60).meta({
    description:
      "After how long without a packet received the server is asked whether it is there; 0: never.",
    example: "60",
  }),
};

const commonTunnelOf = (fields: z.infer<z.ZodObject<typeof commonTunnelFields>>) => ({
  interfaceName: fields.interface,
  defaultRoute: fields["default-route"],
  mtu: fields.mtu,
  clampMss: fields["clamp-mss"],
  natKeepaliveMs: fields["nat-keepalive"],
  livenessIntervalMs: fields["liveness-interval"],
});

const tunnelTable: z.ZodType<ClientTunnelConfig> = table({
  ...commonTunnelFields,
  "link-local": linkLocal.meta(LINK_LOCAL),
  "server-link-local": linkLocal.meta({
    description: "The server's address on the link, as in the server's file.",
    example: '"fe80::5"',
  }),
  prefixes: prefixes.meta({
    description: "The home's IPv6 prefixes, as in the server's file.",
    example: '["2001:db8:a::/56"]',
  }),
  address: hostIpv6.optional().meta({
    description:
      "This machine's address on the tunnel's interface, in the first prefix. Absent: its first host.",
    example: '"2001:db8:a::1"',
  }),
  encapsulation: encapsulation.default("udp").meta(ENCAPSULATION),
})
  .meta(TUNNEL)
  .transform((fields) => ({
    ...commonTunnelOf(fields),
    linkLocal: fields["link-local"],
    serverLinkLocal: fields["server-link-local"],
    prefixes: fields.prefixes,
    address: fields.address ?? firstHost(fields.prefixes[0]),
    encapsulation: fields.encapsulation,
  }));

/** With negotiated keys the server assigns the prefixes and says its own address. */
const assignedTunnelTable: z.ZodType<ClientTunnelConfig> = table({
  ...commonTunnelFields,
  "link-local": linkLocal.default(USUAL_LINK_LOCAL).meta(LINK_LOCAL),
  encapsulation: encapsulation.default("udp").meta(ENCAPSULATION),
})
  .meta(TUNNEL)
  .transform((fields) => ({
    ...commonTunnelOf(fields),
    linkLocal: fields["link-local"],
    serverLinkLocal: USUAL_SERVER_LINK_LOCAL,
    prefixes: [],
    address: undefined,
    encapsulation: fields.encapsulation,
  }));

const clientTableWith = (tunnel: z.ZodType<ClientTunnelConfig>): z.ZodType<ClientConfig> =>
  table({
    server: hostIpv4.meta({
      description: "The server's static IPv4 address.",
      example: '"203.0.113.1"',
    }),
    tunnel,
    keys: keysTable(negotiatedKeysTable),
    "state-directory": absolutePath.default(CLIENT_DEFAULTS.stateDirectory).meta({
      description:
        "Where sequence numbers live. With the same keys it must not be lost, nor restored from an older copy.",
      example: '"/var/lib/hometun"',
    }),
    "data-plane": dataPlane.default("auto").meta({
      description:
        "What carries the packets: the kernel (xfrm) or this process. `auto`: the kernel if it can.",
      example: '"auto"',
    }),
    "control-socket": socketPath.default(CLIENT_DEFAULTS.controlSocket).meta({
      description: "Where `hometun status` and `hometun announce` reach the daemon.",
      example: '"/run/hometun/client.sock"',
    }),
    ...metricsFields,
    ...lanFields,
    ...firewallFields,
    ...hookFields,
    log: logTable,
  }).transform(
    (fields): ClientConfig => ({
      server: fields.server,
      tunnel: fields.tunnel,
      keys: fields.keys,
      stateDirectory: fields["state-directory"],
      dataPlane: fields["data-plane"],
      controlSocket: fields["control-socket"],
      lan: lanOf(fields),
      firewall: firewallOf(fields),
      hooks: hooksOf(fields),
      metrics: fields.metrics,
      allowRemoteMetrics: fields["allow-remote-metrics"],
      log: fields.log,
    }),
  );

const manualClientTable = clientTableWith(tunnelTable);
const negotiatingClientTable = clientTableWith(assignedTunnelTable.prefault({}));
export const clientTable = chosen(
  (document) => (asksToNegotiate(document) ? negotiatingClientTable : manualClientTable),
  byMode<z.ZodType>({ manual: manualClientTable, ikev2: negotiatingClientTable }),
);

/** Reads `client.toml`. Never throws for what is in it. */
export function parseClientConfig(source: Source): Outcome<ClientConfig> {
  const exposed = source.exposed ? [exposedFile(source.file)] : [];
  const document = parseToml(source);
  const checked =
    document.kind === "good" ? checkWith(clientTable, document.value, source.file) : document;
  if (checked.kind === "mistaken")
    return { ...checked, mistakes: [...exposed, ...checked.mistakes] };
  return outcomeOf(checked.value, [
    ...exposed,
    ...remoteMetrics(checked.value, source.file),
    ...contradictions(checked.value, source.file),
    ...lanMistakes(checked.value, source.file),
    ...firewallMistakes(checked.value, source.file),
  ]);
}

/** What is wrong between values that are each right. */
function contradictions(config: ClientConfig, file: string): ConfigError[] {
  const mistakes: ConfigError[] = [];
  const { tunnel } = config;
  const say = (key: string | number, expectation: string, ...rest: number[]) =>
    mistakes.push(mistake(file, ["tunnel", key, ...rest], expectation));
  if (tunnel.linkLocal === tunnel.serverLinkLocal) {
    say("server-link-local", "expected another address than link-local");
  }
  const [first] = tunnel.prefixes;
  if (first !== undefined && tunnel.address !== undefined && !isInPrefix(tunnel.address, first)) {
    say("address", `expected an address in ${formatIpv6Prefix(first)}, the first of prefixes`);
  }
  const entries = tunnel.prefixes.map((prefix, place) => ({ prefix, place }));
  for (const { entry, other } of overlaps(entries)) {
    say("prefixes", `overlaps ${formatIpv6Prefix(other.prefix)}`, entry.place);
  }
  return mistakes;
}
