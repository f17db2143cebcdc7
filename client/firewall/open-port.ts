/** One line of `open-ports`: `tcp 2001:db8:a:1::10 443`. Pure. */

import { MalformedError } from "../../common/errors.ts";
import {
  formatIpv6Prefix,
  type Ipv6Prefix,
  isInPrefix,
  isLinkLocal,
  isMulticast,
  parseIpv6,
  parseIpv6Prefix,
} from "../../common/ip/address.ts";

const HOST = 128; // bits
const LAST_PORT = 65_535;
const MOST_RANGES = 32;

/** Protocols with ports. */
const PORTED = ["tcp", "udp", "sctp"] as const;
/** Protocols without. */
const PLAIN = ["esp", "ah"] as const;

/** Inclusive; a single port begins and ends with itself. */
export interface PortRange {
  readonly first: number;
  readonly last: number;
}

export type OpenPort = {
  /** Who may be reached: a host, or all of a prefix. */
  readonly destination: Ipv6Prefix;
} & (
  | { readonly protocol: (typeof PORTED)[number]; readonly ports: readonly PortRange[] }
  | { readonly protocol: (typeof PLAIN)[number] }
);

/** Undefined when it has not the form; throws `MalformedError` for an address that is none. */
export function parseOpenPort(text: string): OpenPort | undefined {
  const [protocol, where, ports, ...rest] = text.trim().split(/\s+/);
  if (protocol === undefined || where === undefined || rest.length > 0) return undefined;
  const destination = readDestination(where);
  const plain = PLAIN.find((name) => name === protocol);
  if (plain !== undefined)
    return ports === undefined ? { protocol: plain, destination } : undefined;
  const ported = PORTED.find((name) => name === protocol);
  const ranges = ports === undefined ? undefined : readPorts(ports);
  if (ported === undefined || ranges === undefined) return undefined;
  return { protocol: ported, destination, ports: ranges };
}

/** Whether all it opens lies in one of the prefixes. */
export function liesWithin({ destination }: OpenPort, prefixes: readonly Ipv6Prefix[]): boolean {
  return prefixes.some(
    (prefix) => prefix.length <= destination.length && isInPrefix(destination.address, prefix),
  );
}

/** As nft(8) takes a destination: an address, or a prefix. */
/** As users write it. */
export function formatOpenPort(port: OpenPort): string {
  const to = formatDestination(port.destination);
  if (!("ports" in port)) return `${port.protocol} ${to}`;
  const ports = port.ports.map(({ first, last }) =>
    first === last ? String(first) : `${first}-${last}`,
  );
  return `${port.protocol} ${to} ${ports.join(",")}`;
}

export function formatDestination(destination: Ipv6Prefix): string {
  return destination.length === HOST ? destination.address : formatIpv6Prefix(destination);
}

function readDestination(text: string): Ipv6Prefix {
  const destination = text.includes("/")
    ? parseIpv6Prefix(text)
    : { address: parseIpv6(text), length: HOST };
  if (isMulticast(destination.address) || isLinkLocal(destination.address)) {
    throw new MalformedError("open-port", "bad-address", "not an address of the home's");
  }
  return destination;
}

/** `443`, `8000-8010`, `80,443`. */
function readPorts(text: string): PortRange[] | undefined {
  const ranges = text.split(",").map(readRange);
  if (ranges.length > MOST_RANGES) return undefined;
  const good = ranges.filter((range) => range !== undefined);
  return good.length === ranges.length ? good : undefined;
}

function readRange(text: string): PortRange | undefined {
  const match = /^(\d{1,5})(?:-(\d{1,5}))?$/.exec(text);
  if (match === null) return undefined;
  const first = Number(match[1]);
  const last = match[2] === undefined ? first : Number(match[2]);
  return first >= 1 && first <= last && last <= LAST_PORT ? { first, last } : undefined;
}
