/** The client's configuration: from the text of `client.toml` to checked values, every default filled. */

import { keysTable, type ManualKeys } from "../common/config/keys.ts";
import { type MetricsListen, metricsFields, remoteMetrics } from "../common/config/metrics.ts";
import { mistake, type Outcome, outcomeOf } from "../common/config/mistakes.ts";
import {
  absolutePath,
  bool,
  checkWith,
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

export interface ClientConfig {
  /** The server's static address. */
  readonly server: Ipv4Address;
  readonly tunnel: ClientTunnelConfig;
  readonly keys: ManualKeys;
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

const tunnelTable = table({
  interface: interfaceName.default("ht0"),
  "link-local": linkLocal,
  "server-link-local": linkLocal,
  prefixes,
  address: hostIpv6.optional(),
  encapsulation: encapsulation.default("udp"),
  "default-route": bool.default(true),
  mtu: mtu.optional(),
  "clamp-mss": bool.default(true),
  "nat-keepalive": seconds(LONGEST_KEEPALIVE).default(20_000),
  "liveness-interval": seconds(LONGEST_LIVENESS_INTERVAL).default(60_000),
}).transform(
  (fields): ClientTunnelConfig => ({
    interfaceName: fields.interface,
    linkLocal: fields["link-local"],
    serverLinkLocal: fields["server-link-local"],
    prefixes: fields.prefixes,
    address: fields.address ?? firstHost(fields.prefixes[0]),
    encapsulation: fields.encapsulation,
    defaultRoute: fields["default-route"],
    mtu: fields.mtu,
    clampMss: fields["clamp-mss"],
    natKeepaliveMs: fields["nat-keepalive"],
    livenessIntervalMs: fields["liveness-interval"],
  }),
);

const clientTable = table({
  server: hostIpv4,
  tunnel: tunnelTable,
  keys: keysTable,
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
function contradictions({ tunnel }: ClientConfig, file: string): ConfigError[] {
  const mistakes: ConfigError[] = [];
  const say = (key: string | number, expectation: string, ...rest: number[]) =>
    mistakes.push(mistake(file, ["tunnel", key, ...rest], expectation));
  if (tunnel.linkLocal === tunnel.serverLinkLocal) {
    say("server-link-local", "expected another address than link-local");
  }
  const [first] = tunnel.prefixes;
  if (first !== undefined && !isInPrefix(tunnel.address, first)) {
    say("address", `expected an address in ${formatIpv6Prefix(first)}, the first of prefixes`);
  }
  const entries = tunnel.prefixes.map((prefix, place) => ({ prefix, place }));
  for (const { entry, other } of overlaps(entries)) {
    say("prefixes", `overlaps ${formatIpv6Prefix(other.prefix)}`, entry.place);
  }
  return mistakes;
}
