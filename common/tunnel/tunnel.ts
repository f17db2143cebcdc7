/** The model of a tunnel, as configuration, data planes, daemons and status speak of it. */

import {
  formatIpv6Prefix,
  type Ipv4Address,
  type Ipv6Address,
  type Ipv6Prefix,
} from "../ip/address.ts";

/** A home's name, unique on a server: letters, digits, `-` and `_`, at most 64. */
export type TunnelName = string & { readonly __brand: "TunnelName" };

/** `esp`: IPv4 protocol 50 (RFC 4303). `udp`: ESP in UDP port 4500 (RFC 3948). */
export type Encapsulation = "esp" | "udp";

/**
 * Which way a pair of SAs carries multicast, and nothing else (draft-ietf-ipsecme-ikev2-ipv6-config section 6.4):
 * `outbound` from a server, `inbound` to a home. In the other direction nothing passes.
 */
export type MulticastDirection = "inbound" | "outbound";

/** The port of ESP in UDP, RFC 3948 section 2.1. */
export const UDP_ENCAPSULATION_PORT = 4500;
/** The port of IKE where it is not encapsulated, RFC 7296 section 2. */
export const IKE_PORT = 500;

/** What travels after the salt of AES-GCM is split off; the names are those of the files. */
export type Suite = "aes-gcm-128" | "aes-gcm-192" | "aes-gcm-256" | "aes-cbc-256-hmac-sha2-256-128";

/** One direction's security association, RFC 4301 section 4.4.2. Secret: never logged or printed. */
export interface SecurityAssociationKeys {
  /** Security Parameters Index, 256 to 2^32 - 1; 1 to 255 are reserved (RFC 4303 section 2.1). */
  readonly spi: number;
  readonly suite: Suite;
  /** Octets of the cipher's key: 16, 24 or 32. */
  readonly encryptionKey: Uint8Array;
  /** AES-GCM: 4 octets of salt (RFC 4106 section 4). CBC: 32 octets of HMAC key. */
  readonly companion: Uint8Array;
  /** Extended (64-bit) sequence numbers, RFC 4303 section 2.2.1. */
  readonly extendedSequenceNumbers: boolean;
}

/** The IPv4 end of a tunnel as ESP is sent to it. */
export interface Endpoint {
  readonly address: Ipv4Address;
  /** UDP port; used with encapsulation `udp` only. */
  readonly port: number;
}

/** A route into a tunnel: by destination and, where it has one, for packets from `source` only. */
export interface TunnelRoute extends Ipv6Prefix {
  readonly source?: Ipv6Prefix;
}

/** One wanted tunnel: all that a data plane needs to make it stand. */
export interface TunnelSpec {
  readonly name: TunnelName;
  /** Network interface, at most 15 octets. */
  readonly interfaceName: string;
  readonly encapsulation: Encapsulation;
  /** Our addresses on the interface, link-local first. */
  readonly localAddresses: readonly Ipv6Address[];
  readonly peerLinkLocal: Ipv6Address;
  /** What may be the inner source of packets that come out of the tunnel, besides the peer's link-local. */
  readonly remotePrefixes: readonly Ipv6Prefix[];
  /** What may be the inner destination of packets that come out of the tunnel, besides our addresses. */
  readonly localPrefixes: readonly Ipv6Prefix[];
  /** Routes into the tunnel. */
  readonly routes: readonly TunnelRoute[];
  /** Octets; inner packets, 1,280 or more. */
  readonly mtu: number;
  readonly clampMss: boolean;
  /** Keys of the configuration; absent: they are negotiated, and come and go while the tunnel stands. */
  readonly outbound?: SecurityAssociationKeys;
  readonly inbound?: SecurityAssociationKeys;
}

/** The SAs of a tunnel, one for each direction; the inbound SPI is what they are known by. */
export interface SaKeys {
  readonly outbound: SecurityAssociationKeys;
  readonly inbound: SecurityAssociationKeys;
  /** As negotiated; absent: the tunnel's. */
  readonly encapsulation?: Encapsulation;
  /** As negotiated; absent: a pair for all else, the link's. */
  readonly multicast?: MulticastDirection | undefined;
}

/** All key octets of a pair: whoever has them has the pair. Secret: never logged, printed or written. */
export function keyOctets({ outbound, inbound }: SaKeys): Uint8Array {
  const parts = [outbound, inbound].flatMap(({ encryptionKey, companion }) => [
    ...encryptionKey,
    ...companion,
  ]);
  return Uint8Array.from(parts);
}

/** For data planes that take no negotiated keys; configurations that would give them any are refused. */
export function requireKeys(spec: TunnelSpec): SaKeys {
  const keys = givenKeys(spec);
  if (keys === undefined) throw new Error(`tunnel ${spec.name} has no keys`);
  return keys;
}

/** The keys that the configuration gives; undefined when they are negotiated. */
export function givenKeys({ outbound, inbound }: TunnelSpec): SaKeys | undefined {
  return outbound === undefined || inbound === undefined ? undefined : { outbound, inbound };
}

/** As `ip -6 route` writes it: `::/0 from 2001:db8:a::/48`. */
export function formatRoute(route: TunnelRoute): string {
  const destination = formatIpv6Prefix(route);
  return route.source === undefined
    ? destination
    : `${destination} from ${formatIpv6Prefix(route.source)}`;
}
