/**
 * May this Neighbor Advertisement act on us? RFC 4861 section 7.1.2, and hometun's own rules on top.
 *
 * The message has come out of a tunnel: ESP has authenticated it and named the link. What is left to ask is
 * whether it is a sound advertisement, whether it speaks of the peer at the other end of *this* link, and
 * whether the IPv4 address it states is one we are willing to send ESP to. Whether another home lives at that
 * address already, and how often a home may move, is decided where all homes are known.
 *
 * Departures from the RFCs, all deliberate:
 * - RFC 4213 section 3.8 has configured tunnels ignore link-layer address options. Here they are the point.
 * - Extension headers before ICMPv6 are legal (RFC 4861 does not forbid them), and are refused: our own
 *   sender never makes them, so whatever does is not our peer's announcer. RFC 6980 section 5 refuses
 *   fragments for the same reason, that Neighbor Discovery has no use for them and attackers do.
 * - An advertisement that does not answer a solicitation must have the override flag; without it, it could
 *   only confirm what is known (RFC 4861 section 7.2.5). One that does answer never moves anything, whatever
 *   options it carries: Linux answers solicitations by itself and knows nothing of our addresses.
 */

import { MalformedError } from "../errors.ts";
import {
  ALL_NODES,
  type Ipv4Address,
  type Ipv6Address,
  type Ipv6Prefix,
  isInPrefix,
  isLinkLocal,
  isMulticast,
  UNSPECIFIED_IPV6,
} from "../ip/address.ts";
import { decodeIcmpv6, Icmpv6Type, isIcmpv6ChecksumRight } from "../ip/icmpv6.ts";
import { classifyIpv4, type UnicastScope } from "../ip/ipv4.ts";
import { decodeIpv6, IpProtocol, skipExtensionHeaders } from "../ip/ipv6.ts";
import { type ChangeId, changeOf } from "./change.ts";
import {
  decodeNeighborAdvertisement,
  type NeighborAdvertisement,
} from "./neighbor-advertisement.ts";
import { linkLayerIpv4, NdOptionType } from "./option.ts";

/** No router has touched it, RFC 4861 section 7.1.2. */
const HOP_LIMIT = 255;

/** An ICMPv6 message and what its IPv6 header said, as a raw socket with ancillary data gives it. */
export interface ReceivedNeighborMessage {
  readonly source: Ipv6Address;
  readonly destination: Ipv6Address;
  readonly hopLimit: number;
  /** Any extension header stood between the IPv6 header and the message. */
  readonly extensionHeaders: boolean;
  /** The whole message, type to last option. */
  readonly icmp: Uint8Array;
}

/** The two ends of a tunnel as Neighbor Discovery sees them. A `TunnelSpec` is one. */
export interface NeighborLink {
  /** Our addresses on the link. */
  readonly localAddresses: readonly Ipv6Address[];
  readonly peerLinkLocal: Ipv6Address;
  /** What is the peer's besides its link-local address. */
  readonly remotePrefixes: readonly Ipv6Prefix[];
}

/**
 * Which IPv4 addresses a peer may move to. 0/8, 127/8, 224/4 and 240/4 are refused whatever this says.
 */
export interface AddressPolicy {
  readonly allowed: ReadonlySet<UnicastScope>;
  /** Addresses of this machine: sending a tunnel to ourselves would loop. */
  readonly ownAddresses: ReadonlySet<Ipv4Address>;
}

/** What a policy allows when nothing else is configured. */
export const PUBLIC_ONLY: ReadonlySet<UnicastScope> = new Set<UnicastScope>(["public"]);

/** Why a message was dropped; the counters' names. Most name the field at fault. */
export type AdvertisementDropReason =
  /** Not IPv6, a length that lies, an option of length zero. */
  | "malformed"
  /** RFC 6980 section 5. */
  | "fragmented"
  | "extension-header"
  /** Not an ICMPv6 packet at all. */
  | "protocol"
  | "hop-limit"
  /** ICMPv6, but no Neighbor Advertisement. */
  | "type"
  | "code"
  | "checksum"
  /** Not an address of the link's peer. */
  | "source"
  /** Neither an address of ours nor all-nodes. */
  | "destination"
  | "target-multicast"
  /** Not an address of the link's peer. */
  | "target"
  /** An answer cannot be for everyone. */
  | "solicited-multicast"
  | "override-clear"
  | "link-layer-address-missing"
  | "link-layer-address-repeated"
  /** Not an IPv4 address in RFC 2529's form. */
  | "link-layer-address-form"
  /** This network, loopback, multicast, class E or broadcast. */
  | "address-not-unicast"
  /** Such as a private one where only public ones are allowed. */
  | "address-not-allowed"
  /** It is this machine's. */
  | "address-own";

export interface Drop {
  readonly kind: "drop";
  readonly reason: AdvertisementDropReason;
}

export type Verdict =
  /** The peer states that it is at this address now. `change` is only for the log. */
  | { readonly kind: "move"; readonly address: Ipv4Address; readonly change?: ChangeId }
  /** The peer answered a solicitation: it is reachable. Moves nothing. */
  | { readonly kind: "answer" }
  | Drop;

/** Never throws. */
export function acceptAdvertisement(
  received: ReceivedNeighborMessage,
  link: NeighborLink,
  policy: AddressPolicy,
): Verdict {
  try {
    return judge(received, link, policy);
  } catch (error) {
    if (error instanceof MalformedError) return drop("malformed");
    throw error;
  }
}

/**
 * Takes a whole IPv6 packet apart for `acceptAdvertisement`, where no socket does it. A packet that is not a
 * whole ICMPv6 message is dropped. Never throws.
 */
export function receiveNeighborMessage(
  packet: Uint8Array,
): { readonly kind: "received"; readonly message: ReceivedNeighborMessage } | Drop {
  try {
    const { nextHeader, payload, hopLimit, source, destination } = decodeIpv6(packet);
    const upper = skipExtensionHeaders(nextHeader, payload);
    if (upper.protocol === IpProtocol.fragment) return drop("fragmented");
    if (upper.protocol !== IpProtocol.icmpv6) return drop("protocol");
    const extensionHeaders = upper.skipped > 0;
    const message = { source, destination, hopLimit, extensionHeaders, icmp: upper.payload };
    return { kind: "received", message };
  } catch (error) {
    if (error instanceof MalformedError) return drop("malformed");
    throw error;
  }
}

/** The cheap questions come first: strangers cannot get here, but a broken peer can, at its own pace. */
function judge(
  received: ReceivedNeighborMessage,
  link: NeighborLink,
  policy: AddressPolicy,
): Verdict {
  const { source, destination, icmp } = received;
  if (received.extensionHeaders) return drop("extension-header");
  if (received.hopLimit !== HOP_LIMIT) return drop("hop-limit");
  const { type, code } = decodeIcmpv6(icmp);
  if (type !== Icmpv6Type.neighborAdvertisement) return drop("type");
  if (code !== 0) return drop("code");
  const advertisement = decodeNeighborAdvertisement(icmp);
  if (!isIcmpv6ChecksumRight(source, destination, icmp)) return drop("checksum");

  const isForAll = destination === ALL_NODES;
  if (!isForAll && !link.localAddresses.includes(destination)) return drop("destination");
  if (!isPeer(source, link)) return drop("source");
  if (isMulticast(advertisement.target)) return drop("target-multicast");
  if (!isPeer(advertisement.target, link)) return drop("target");
  if (advertisement.solicited) return isForAll ? drop("solicited-multicast") : { kind: "answer" };
  if (!advertisement.override) return drop("override-clear");
  return judgeAddress(advertisement, policy);
}

function judgeAddress(advertisement: NeighborAdvertisement, policy: AddressPolicy): Verdict {
  const [option, ...others] = advertisement.options.filter(
    ({ type }) => type === NdOptionType.targetLinkLayerAddress,
  );
  if (option === undefined) return drop("link-layer-address-missing");
  if (others.length > 0) return drop("link-layer-address-repeated");
  const address = linkLayerIpv4(option);
  if (address === undefined) return drop("link-layer-address-form");
  if (policy.ownAddresses.has(address)) return drop("address-own");
  const kind = classifyIpv4(address);
  switch (kind) {
    case "this-network":
    case "loopback":
    case "multicast":
    case "reserved":
      return drop("address-not-unicast");
    case "public":
    case "private":
    case "shared":
    case "link-local":
      return policy.allowed.has(kind)
        ? move(address, changeOf(advertisement.options))
        : drop("address-not-allowed");
  }
}

/**
 * A client may hold `::/0` as its peer's prefix, so the prefixes alone would let through what can belong to
 * nobody, to another link or to us.
 */
function isPeer(address: Ipv6Address, link: NeighborLink): boolean {
  if (address === link.peerLinkLocal) return true;
  if (address === UNSPECIFIED_IPV6 || isMulticast(address) || isLinkLocal(address)) return false;
  if (link.localAddresses.includes(address)) return false;
  return link.remotePrefixes.some((prefix) => isInPrefix(address, prefix));
}

function move(address: Ipv4Address, change: ChangeId | undefined): Verdict {
  return { kind: "move", address, ...(change === undefined ? {} : { change }) };
}

function drop(reason: AdvertisementDropReason): Drop {
  return { kind: "drop", reason };
}
