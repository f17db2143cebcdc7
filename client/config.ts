/** The client's configuration: from the text of `client.toml` to checked values, every default filled. */

import type { z } from "zod";
import { asksToNegotiate, keysTable, type ManualKeys } from "../common/config/keys.ts";
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
  word,
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

const commonTunnelFields = {
  interface: interfaceName.default("ht0"),
  "default-route": bool.default(true),
  mtu: mtu.optional(),
  "clamp-mss": bool.default(true),
  "nat-keepalive": seconds(LONGEST_KEEPALIVE).default(20_000),
  "liveness-interval": seconds(LONGEST_LIVENESS_INTERVAL).default(60_000),
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
  "link-local": linkLocal,
  "server-link-local": linkLocal,
  prefixes,
  address: hostIpv6.optional(),
  encapsulation: encapsulation.default("udp"),
}).transform((fields) => ({
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
  "link-local": linkLocal.default(USUAL_LINK_LOCAL),
  encapsulation: word(["udp"]).default("udp"),
}).transform((fields) => ({
  ...commonTunnelOf(fields),
  linkLocal: fields["link-local"],
  serverLinkLocal: USUAL_SERVER_LINK_LOCAL,
  prefixes: [],
  address: undefined,
  encapsulation: fields.encapsulation,
}));

const clientTableWith = (tunnel: z.ZodType<ClientTunnelConfig>): z.ZodType<ClientConfig> =>
  table({
    server: hostIpv4,
    tunnel,
    keys: keysTable(negotiatedKeysTable),
    "state-directory": absolutePath.default(CLIENT_DEFAULTS.stateDirectory),
    "data-plane": dataPlane.default("auto"),
    "control-socket": socketPath.default(CLIENT_DEFAULTS.controlSocket),
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
const clientTable = chosen((document) =>
  asksToNegotiate(document) ? negotiatingClientTable : manualClientTable,
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
  const { tunnel, keys } = config;
  if (keys.mode === "ikev2" && config.dataPlane === "kernel") {
    const expectation = 'expected "userspace", the only one that takes negotiated keys yet';
    mistakes.push(mistake(file, ["data-plane"], expectation));
  }
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
