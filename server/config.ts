/** The server's configuration: `server.toml` and one file for each home, to checked values. */

import { createHash } from "node:crypto";
import type { z } from "zod";
import {
  asksToNegotiate,
  byMode,
  hexText,
  keysTable,
  type ManualKeys,
} from "../common/config/keys.ts";
import { type MetricsListen, metricsFields, remoteMetrics } from "../common/config/metrics.ts";
import { type KeyPath, mistake, type Outcome, outcomeOf } from "../common/config/mistakes.ts";
import {
  dnsServers,
  type HomeNegotiatedKeys,
  homeNegotiatedKeysTable,
  MOST_DNS_SERVERS,
  type ServerNegotiation,
  serverNegotiationTable,
} from "../common/config/negotiated-keys.ts";
import {
  absolutePath,
  bool,
  checkWith,
  chosen,
  type DataPlaneSetting,
  dataPlane,
  encapsulation,
  exposedFile,
  homeName,
  hostIpv4,
  integer,
  interfaceName,
  interfacePrefix,
  type LogConfig,
  linkLocal,
  list,
  logTable,
  MOST_INTERFACE_NAME,
  mtu,
  overlaps,
  parseToml,
  prefixes,
  type Source,
  socketPath,
  table,
} from "../common/config/schema.ts";
import type { ConfigError } from "../common/errors.ts";
import { formatIdentification } from "../common/ikev2/identity.ts";
import {
  formatIpv6Prefix,
  type Ipv4Address,
  type Ipv6Address,
  type Ipv6Prefix,
} from "../common/ip/address.ts";
import type { Encapsulation, TunnelName } from "../common/tunnel/tunnel.ts";

export const SERVER_DEFAULTS = {
  file: "/etc/hometun/server.toml",
  homes: "/etc/hometun/homes",
  stateDirectory: "/var/lib/hometun-server",
  controlSocket: "/run/hometun-server/server.sock",
  interfacePrefix: "ht-",
} as const;

/** The two ends of a link that nobody has named: each tunnel is a link of its own. */
const USUAL_LINK_LOCAL = "fe80::2" as Ipv6Address;
const USUAL_SERVER_LINK_LOCAL = "fe80::1" as Ipv6Address;
const MOST_ADVERTISEMENTS = 1_000_000;
/** Hexadecimal digits that stand for the rest of a long name: among 10,000 homes one in 100 finds a double. */
const DIGEST_DIGITS = 8;

/** The files of a directory of homes; `undefined` when there is no such directory. */
export type HomeFiles = (directory: string) => readonly (Source | ConfigError)[] | undefined;

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
  /** Whether a home behind a NAT is where its authentic packets come from, address and port. */
  readonly followNat: boolean;
  readonly clampMss: boolean;
  /** Neighbor Advertisements taken from each home. */
  readonly advertisements: {
    /** Per second. */
    readonly rate: number;
    readonly burst: number;
  };
  /** Who we are to homes that negotiate their keys; absent: there is none. */
  readonly ikev2: ServerNegotiation | undefined;
  /** Where sequence numbers and endpoints are kept. */
  readonly stateDirectory: string;
  readonly dataPlane: DataPlaneSetting;
  readonly controlSocket: string;
  /** Where metrics are served; absent: nowhere. */
  readonly metrics: MetricsListen | undefined;
  /** Whether they may be served beyond this machine. */
  readonly allowRemoteMetrics: boolean;
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
  /** Name servers the home is told; undefined: the server's for all. */
  readonly dns: readonly Ipv6Address[] | undefined;
  readonly keys: ManualKeys | HomeNegotiatedKeys;
}

/** What a file says of a home; its interface may be named for it. */
type HomeFields = Omit<HomeConfig, "interfaceName"> & {
  readonly interfaceName: string | undefined;
};

const homeTableWith = (link: {
  readonly "link-local": z.ZodType<Ipv6Address>;
  readonly "server-link-local": z.ZodType<Ipv6Address>;
  readonly encapsulation: z.ZodType<Encapsulation>;
}): z.ZodType<HomeFields> =>
  table({
    name: homeName.meta({
      description: "The home's, in `status`, log and metrics.",
      example: '"alice"',
    }),
    "link-local": link["link-local"].meta({
      description: "The home's address on the point-to-point link, as in the home's file.",
      example: '"fe80::c"',
    }),
    "server-link-local": link["server-link-local"].meta({
      description: "Our address on the link, as in the home's file.",
      example: '"fe80::5"',
    }),
    encapsulation: link.encapsulation.meta({
      description:
        "How ESP travels to and from the home: in UDP port 4500, or as IPv4 protocol 50. As in the home's file.",
      example: '"udp"',
    }),
    prefixes: prefixes.meta({
      description: "The home's IPv6 prefixes: routed to it, and the only ones it may send from.",
      example: '["2001:db8:a::/56"]',
    }),
    interface: interfaceName.optional().meta({
      description:
        "The interface's name. Absent: `interface-prefix` and the home's name; a long one is cut and ends in a digest.",
      example: '"ht-alice"',
    }),
    mtu: mtu.optional().meta({
      description: "The tunnel's, in octets. Absent: what fits the uplink.",
      example: "1400",
    }),
    dns: dnsServers.optional().meta({
      description: `With \`keys.mode = "ikev2"\`: name servers the home is told, at most ${MOST_DNS_SERVERS}. Absent: \`ikev2.dns\`.`,
    }),
    keys: keysTable(homeNegotiatedKeysTable),
  }).transform(
    (fields): HomeFields => ({
      name: fields.name,
      interfaceName: fields.interface,
      linkLocal: fields["link-local"],
      serverLinkLocal: fields["server-link-local"],
      prefixes: fields.prefixes,
      encapsulation: fields.encapsulation,
      mtu: fields.mtu,
      dns: fields.dns,
      keys: fields.keys,
    }),
  );

const manualHomeTable = homeTableWith({
  "link-local": linkLocal,
  "server-link-local": linkLocal,
  encapsulation: encapsulation.default("udp"),
});
const negotiatingHomeTable = homeTableWith({
  "link-local": linkLocal.default(USUAL_LINK_LOCAL),
  "server-link-local": linkLocal.default(USUAL_SERVER_LINK_LOCAL),
  encapsulation: encapsulation.default("udp"),
});
/** A file of a home, and a table `[[home]]`. */
export const homeTable = chosen(
  (document) => (asksToNegotiate(document) ? negotiatingHomeTable : manualHomeTable),
  byMode({ manual: manualHomeTable, ikev2: negotiatingHomeTable }),
);

const advertisementsTable = table({
  rate: integer(1, MOST_ADVERTISEMENTS)
    .default(10)
    .meta({ description: "Neighbor Advertisements taken per second.", example: "10" }),
  burst: integer(1, MOST_ADVERTISEMENTS)
    .default(20)
    .meta({ description: "How many of them at once.", example: "20" }),
});

export const serverTable = table({
  address: hostIpv4.meta({
    description: "Our static IPv4 address, from which ESP is sent.",
    example: '"203.0.113.1"',
  }),
  homes: absolutePath.optional().meta({
    description:
      "The directory of the homes' files, `*.toml`. Absent: `/etc/hometun/homes`, if there is one.",
    example: '"/etc/hometun/homes"',
  }),
  home: list(homeTable, "a list of tables [[home]]").default([]).meta({
    description:
      "Homes in this file instead of one file each; it then holds keys and wants mode 0600.",
  }),
  encapsulations: list(encapsulation, 'a list of "udp" and "esp"', 1).default(["udp", "esp"]).meta({
    description: "What homes may use. What is not in the list is not listened for.",
    example: '["udp", "esp"]',
  }),
  "allow-private-endpoints": bool.default(false).meta({
    description:
      "Whether a home may state an address of 10.0.0.0/8 and the like (RFC 1918, RFC 6598): for networks in which the server reaches them.",
    example: "true",
  }),
  "shared-endpoints": bool.default(false).meta({
    description:
      "Whether a home may state the confirmed address of another, port and all. Homes behind one NAT need it only with `follow-nat = false`.",
    example: "true",
  }),
  "follow-nat": bool.default(true).meta({
    description:
      'Whether a home behind a NAT is taken to be where its authentic packets come from, address and port (RFC 7296 section 2.23), with `encapsulation = "udp"`. It is asked there before it is believed. With false only what advertisements state counts.',
    example: "false",
  }),
  "clamp-mss": bool.default(true).meta({
    description:
      "Whether TCP of hosts with a larger MTU is made to fit. Userspace data plane only: the kernel's does not.",
    example: "true",
  }),
  advertisements: advertisementsTable.prefault({}).meta({
    description:
      "How often a home may say that it moved. Each home has its own measure; the others notice nothing.",
  }),
  ikev2: serverNegotiationTable.optional().meta({
    description: "Who the server is to homes that negotiate their keys; needed when there are any.",
  }),
  "state-directory": absolutePath.default(SERVER_DEFAULTS.stateDirectory).meta({
    description:
      "Where sequence numbers and the homes' addresses live. With the same keys it must not be lost, nor restored from an older copy.",
    example: '"/var/lib/hometun-server"',
  }),
  "data-plane": dataPlane.default("auto").meta({
    description:
      "What carries the packets: the kernel (xfrm) or this process. `auto`: the kernel if it can.",
    example: '"auto"',
  }),
  "control-socket": socketPath.default(SERVER_DEFAULTS.controlSocket).meta({
    description: "Where `hometun-server status` reaches the daemon.",
    example: '"/run/hometun-server/server.sock"',
  }),
  ...metricsFields,
  "interface-prefix": interfacePrefix
    .default(SERVER_DEFAULTS.interfacePrefix)
    .meta({ description: "What the names of the homes' interfaces begin with.", example: '"ht-"' }),
  log: logTable,
});

/** A home and where it is written, for messages about it. */
interface PlacedHome {
  readonly home: HomeConfig;
  readonly file: string;
  readonly path: KeyPath;
}

/** Reads `server.toml` and the homes it names. Never throws for what is in them. */
export function parseServerConfig(source: Source, homeFiles: HomeFiles): Outcome<ServerConfig> {
  const document = parseToml(source);
  if (document.kind === "mistaken") return document;
  const { home: inlineHomes, homes: directory } = document.value;
  const mistakes: ConfigError[] = [];
  if (source.exposed && inlineHomes !== undefined) {
    mistakes.push(exposedFile(source.file));
  }
  const main = checkWith(serverTable, document.value, source.file);
  if (main.kind === "mistaken") mistakes.push(...main.mistakes);
  const files = readHomes(directory, source.file, homeFiles);
  mistakes.push(...files.mistakes);
  // Homes are compared with each other only when all of them could be read.
  if (main.kind === "mistaken" || mistakes.length > 0) return { kind: "mistaken", mistakes };

  const { value: fields } = main;
  const place = (entry: PlacedFields): PlacedHome => ({
    ...entry,
    home: withInterface(entry.home, fields["interface-prefix"]),
  });
  const inline = fields.home.map((home, index) => ({
    home,
    file: source.file,
    path: ["home", index],
  }));
  const homes = [...inline, ...files.homes].map(place);
  const config: ServerConfig = {
    address: fields.address,
    encapsulations: fields.encapsulations,
    homes: homes.map(({ home }) => home),
    allowPrivateEndpoints: fields["allow-private-endpoints"],
    sharedEndpoints: fields["shared-endpoints"],
    followNat: fields["follow-nat"],
    clampMss: fields["clamp-mss"],
    advertisements: fields.advertisements,
    ikev2: fields.ikev2,
    stateDirectory: fields["state-directory"],
    dataPlane: fields["data-plane"],
    controlSocket: fields["control-socket"],
    metrics: fields.metrics,
    allowRemoteMetrics: fields["allow-remote-metrics"],
    log: fields.log,
  };
  return outcomeOf(config, [
    ...remoteMetrics(config, source.file),
    ...homes.flatMap((entry) => contradictions(entry, config)),
    ...unprovable(config, source.file),
    ...collisions(homes),
  ]);
}

interface PlacedFields {
  readonly home: HomeFields;
  readonly file: string;
  readonly path: KeyPath;
}

/** The homes of the directory that the key `homes` names, and all that is wrong in it. */
function readHomes(
  raw: unknown,
  file: string,
  homeFiles: HomeFiles,
): { homes: readonly PlacedFields[]; mistakes: readonly ConfigError[] } {
  const directory = raw === undefined ? SERVER_DEFAULTS.homes : raw;
  // Anything else is the main file's mistake, and told there.
  if (typeof directory !== "string" || !directory.startsWith("/"))
    return { homes: [], mistakes: [] };
  const entries = homeFiles(directory);
  if (entries === undefined) {
    const missing = mistake(file, ["homes"], "expected a directory that exists");
    return { homes: [], mistakes: raw === undefined ? [] : [missing] };
  }
  const homes: PlacedFields[] = [];
  const mistakes: ConfigError[] = [];
  for (const entry of entries) {
    const outcome = entry instanceof Error ? wrong(entry) : parseHome(entry);
    if (outcome.kind === "mistaken") mistakes.push(...outcome.mistakes);
    else homes.push(outcome.value);
  }
  return { homes, mistakes };
}

function parseHome(source: Source): Outcome<PlacedFields> {
  const exposed = source.exposed ? [exposedFile(source.file)] : [];
  const document = parseToml(source);
  const home =
    document.kind === "good" ? checkWith(homeTable, document.value, source.file) : document;
  if (home.kind === "mistaken") return { ...home, mistakes: [...exposed, ...home.mistakes] };
  return outcomeOf({ home: home.value, file: source.file, path: [] }, exposed);
}

function wrong(error: ConfigError): { kind: "mistaken"; mistakes: readonly ConfigError[] } {
  return { kind: "mistaken", mistakes: [error] };
}

/** The interface's name, made from the home's where none is given; a long one is cut and told apart by digest. */
function withInterface(home: HomeFields, prefix: string): HomeConfig {
  if (home.interfaceName !== undefined) return { ...home, interfaceName: home.interfaceName };
  const whole = `${prefix}${home.name}`;
  if (whole.length <= MOST_INTERFACE_NAME) return { ...home, interfaceName: whole };
  const digest = createHash("sha256").update(home.name).digest("hex").slice(0, DIGEST_DIGITS);
  return {
    ...home,
    interfaceName: `${whole.slice(0, MOST_INTERFACE_NAME - DIGEST_DIGITS)}${digest}`,
  };
}

/** What is wrong between the values of one home. */
function contradictions({ home, file, path }: PlacedHome, config: ServerConfig): ConfigError[] {
  const mistakes: ConfigError[] = [];
  if (home.linkLocal === home.serverLinkLocal) {
    const expectation = "expected another address than link-local";
    mistakes.push(mistake(file, [...path, "server-link-local"], expectation));
  }
  if (home.dns !== undefined && home.keys.mode === "manual") {
    const expectation = 'expected keys.mode = "ikev2" with it: manual keys tell the home nothing';
    mistakes.push(mistake(file, [...path, "dns"], expectation));
  }
  const isUncertified =
    home.keys.mode === "ikev2" &&
    home.keys.proof.kind === "certificate" &&
    config.ikev2?.authorityFile === undefined;
  if (isUncertified) {
    const expectation = "expected psk-file, or public-key, or ca-file in the server's [ikev2]";
    mistakes.push(mistake(file, [...path, "keys"], expectation));
  }
  if (!config.encapsulations.includes(home.encapsulation)) {
    const expectation = `expected one of the server's encapsulations, got "${home.encapsulation}"`;
    mistakes.push(mistake(file, [...path, "encapsulation"], expectation));
  }
  return mistakes;
}

/** What homes that negotiate their keys need of the server. */
function unprovable({ homes, ikev2 }: ServerConfig, file: string): ConfigError[] {
  const proofs = homes.flatMap(({ keys }) => (keys.mode === "ikev2" ? [keys.proof] : []));
  if (proofs.length === 0) return [];
  const mistakes: ConfigError[] = [];
  if (ikev2 === undefined) {
    const expectation = 'missing, expected a table, since homes have keys.mode = "ikev2"';
    mistakes.push(mistake(file, ["ikev2"], expectation));
  } else if (
    ikev2.privateKeyFile === undefined &&
    proofs.some(({ kind }) => kind !== "shared-key")
  ) {
    const expectation = "missing, expected a path, since homes have a public-key or a certificate";
    mistakes.push(mistake(file, ["ikev2", "private-key-file"], expectation));
  }
  return mistakes;
}

const NAME: KeyPath = ["name"];

/** What only one home may have. The secrets among it are compared, never told. */
const UNIQUE: readonly { key: KeyPath; of: (home: HomeConfig) => string | undefined }[] = [
  { key: NAME, of: (home) => home.name },
  { key: ["interface"], of: (home) => home.interfaceName },
  { key: ["keys", "inbound", "spi"], of: manual(({ inbound }) => String(inbound.spi)) },
  { key: ["keys", "inbound", "key"], of: manual(({ inbound }) => hexText(inbound.encryptionKey)) },
  {
    key: ["keys", "outbound", "key"],
    of: manual(({ outbound }) => hexText(outbound.encryptionKey)),
  },
  {
    key: ["keys", "identity"],
    of: ({ keys }) => (keys.mode === "ikev2" ? formatIdentification(keys.identity) : undefined),
  },
];

function manual(of: (keys: ManualKeys) => string): (home: HomeConfig) => string | undefined {
  return ({ keys }) => (keys.mode === "manual" ? of(keys) : undefined);
}

/** What is wrong between homes. Of two with one name only that is told: they are the same file twice. */
function collisions(homes: readonly PlacedHome[]): ConfigError[] {
  const doubles = UNIQUE.flatMap(({ key, of }) => {
    const owners = new Map<string, PlacedHome>();
    return homes.flatMap((entry) => {
      const value = of(entry.home);
      if (value === undefined) return [];
      const owner = owners.get(value);
      if (owner === undefined) owners.set(value, entry);
      const said = key !== NAME && owner?.home.name === entry.home.name;
      return owner === undefined || said ? [] : [taken(entry, key, owner)];
    });
  });
  const entries = homes.flatMap((owner) =>
    owner.home.prefixes.map((prefix, place) => ({ prefix, place, owner })),
  );
  for (const { entry, other } of overlaps(entries)) {
    const { file, path, home } = entry.owner;
    if (entry.owner !== other.owner && home.name === other.owner.home.name) continue;
    const expectation = `overlaps ${formatIpv6Prefix(other.prefix)} of home ${other.owner.home.name}`;
    doubles.push(mistake(file, [...path, "prefixes", entry.place], expectation));
  }
  return doubles;
}

function taken(entry: PlacedHome, key: KeyPath, owner: PlacedHome): ConfigError {
  const expectation = `expected one of its own, home ${owner.home.name} in ${owner.file} has the same`;
  return mistake(entry.file, [...entry.path, ...key], expectation);
}
