/**
 * A whole IPv6 link by configuration payloads, RFC 5739: what the home asks for, what the gateway gives, what the
 * home takes. Where the seed (draft-ietf-ipsecme-ikev2-ipv6-config-00) differs, the RFC is followed.
 */

import {
  formatIpv6,
  IPV6_LENGTH,
  type Ipv6Address,
  type Ipv6Prefix,
  ipv6Octets,
} from "../ip/address.ts";
import { addressSelector, EVERYTHING, prefixSelector } from "./selectors.ts";
import {
  type Configuration,
  type ConfigurationAttribute,
  ConfigurationAttributeType,
  ConfigurationType,
  decodeInternalIp6Address,
  decodeInternalIp6Link,
  decodeInternalIp6Prefix,
  encodeInternalIp6Link,
  encodeInternalIp6Prefix,
  INTERFACE_ID_LENGTH,
} from "./wire/payloads/configuration.ts";
import type { TrafficSelector } from "./wire/payloads/traffic-selectors.ts";

const { internalIp6Address, internalIp6Dns, internalIp6Dhcp, internalIp6Link, internalIp6Prefix } =
  ConfigurationAttributeType;

const NOTHING = new Uint8Array(0);

/** What the home wants. */
export interface LinkRequest {
  /** Of the home's link-local address; 8 octets, not all zero. */
  readonly interfaceId: Uint8Array;
  /** The link it had before, when it authenticates again (RFC 5739 section 4.2). */
  readonly linkId?: Uint8Array;
  /** Also take a single address, from a gateway that does not know RFC 5739 (section 4.5). */
  readonly fallback: boolean;
}

/** What a gateway gives to one home. */
export interface LinkOffer {
  /** Of the gateway's link-local address on this link. */
  readonly interfaceId: Uint8Array;
  /** The only interface identifier the home may have; absent: any but the gateway's own. */
  readonly peerInterfaceId?: Uint8Array;
  readonly prefixes: readonly Ipv6Prefix[];
  readonly dns: readonly Ipv6Address[];
  readonly dhcp: readonly Ipv6Address[];
  /** For homes that do not know RFC 5739; absent: they are refused. */
  readonly fallback?: { readonly address: Ipv6Address; readonly length: number };
}

/** What the home has, as either end sees it. */
export type Assignment =
  | {
      readonly kind: "link";
      readonly linkId: Uint8Array;
      readonly localInterfaceId: Uint8Array;
      readonly peerInterfaceId: Uint8Array;
      readonly prefixes: readonly Ipv6Prefix[];
      readonly dns: readonly Ipv6Address[];
      readonly dhcp: readonly Ipv6Address[];
    }
  | {
      readonly kind: "address";
      readonly address: Ipv6Address;
      /** Bits. */
      readonly prefixLength: number;
      readonly dns: readonly Ipv6Address[];
    };

/** CP(CFG_REQUEST) of the home. */
export function requestConfiguration(request: LinkRequest): Configuration {
  const link = encodeInternalIp6Link({
    interfaceId: request.interfaceId,
    linkId: request.linkId ?? NOTHING,
  });
  const attributes: ConfigurationAttribute[] = [
    { type: internalIp6Link, value: link },
    ...(request.fallback ? [{ type: internalIp6Address, value: NOTHING }] : []),
    { type: internalIp6Dns, value: NOTHING },
    { type: internalIp6Dhcp, value: NOTHING },
  ];
  return { type: ConfigurationType.request, attributes };
}

/** What the gateway answers, and what it is bound to from then on. */
export interface Grant {
  readonly reply: Configuration;
  readonly assignment: Assignment;
  /** What the home may send from: its link-local address and its prefixes. */
  readonly homeSelectors: readonly TrafficSelector[];
}

/**
 * The gateway's part. `claimLink` says which Link ID the home gets for the one it asks for: the same if that
 * link is its own, another if not (RFC 5739 section 4.2). Undefined is INTERNAL_ADDRESS_FAILURE. Throws
 * `MalformedError` for a request without a whole interface identifier.
 */
export function grantLink(
  request: Configuration,
  offer: LinkOffer,
  claimLink: (requested: Uint8Array) => Uint8Array,
): Grant | undefined {
  const asked = firstValue(request, internalIp6Link);
  // INTERNAL_IP6_ADDRESS beside INTERNAL_IP6_LINK is ignored, RFC 5739 section 4.1.
  if (asked === undefined) return grantAddress(request, offer);
  const { interfaceId, linkId: requested } = decodeInternalIp6Link(asked);
  if (!isAcceptable(interfaceId, offer)) return undefined;
  const linkId = claimLink(requested);
  const attributes: ConfigurationAttribute[] = [
    {
      type: internalIp6Link,
      value: encodeInternalIp6Link({ interfaceId: offer.interfaceId, linkId }),
    },
    ...offer.prefixes.map((prefix) => ({
      type: internalIp6Prefix,
      value: encodeInternalIp6Prefix(prefix),
    })),
    ...addressAttributes(request, offer),
  ];
  return {
    reply: { type: ConfigurationType.reply, attributes },
    assignment: {
      kind: "link",
      linkId,
      localInterfaceId: offer.interfaceId,
      peerInterfaceId: interfaceId,
      prefixes: offer.prefixes,
      dns: offer.dns,
      dhcp: offer.dhcp,
    },
    homeSelectors: [
      addressSelector(linkLocalAddress(interfaceId)),
      ...offer.prefixes.map(prefixSelector),
    ],
  };
}

/** The home's part: what it was given. Undefined when that is nothing it can use. Throws `MalformedError`. */
export function acceptConfiguration(
  request: LinkRequest,
  reply: Configuration,
): Assignment | undefined {
  const dns = addressesOf(reply, internalIp6Dns);
  const link = firstValue(reply, internalIp6Link);
  if (link !== undefined) {
    const { interfaceId, linkId } = decodeInternalIp6Link(link);
    // Both ends with one address: the gateway did not keep to RFC 5739 section 4.1.
    if (isEqual(interfaceId, request.interfaceId)) return undefined;
    return {
      kind: "link",
      linkId,
      localInterfaceId: request.interfaceId,
      peerInterfaceId: interfaceId,
      prefixes: allValues(reply, internalIp6Prefix).map(decodeInternalIp6Prefix),
      dns,
      dhcp: addressesOf(reply, internalIp6Dhcp),
    };
  }
  const address = firstValue(reply, internalIp6Address);
  if (address === undefined || !request.fallback) return undefined;
  const { address: given, length } = decodeInternalIp6Address(address);
  return { kind: "address", address: given, prefixLength: length, dns };
}

/** What the home asks to send from and to: everything, which the gateway narrows. */
export const HOME_PROPOSES: readonly TrafficSelector[] = [EVERYTHING];

/** fe80::/64 and the interface identifier. */
export function linkLocalAddress(interfaceId: Uint8Array): Ipv6Address {
  const octets = new Uint8Array(IPV6_LENGTH);
  octets.set([0xfe, 0x80]);
  octets.set(interfaceId, IPV6_LENGTH - INTERFACE_ID_LENGTH);
  return formatIpv6(octets);
}

function grantAddress(request: Configuration, offer: LinkOffer): Grant | undefined {
  const { fallback } = offer;
  if (fallback === undefined || firstValue(request, internalIp6Address) === undefined) {
    return undefined;
  }
  const { address, length } = fallback;
  return {
    reply: {
      type: ConfigurationType.reply,
      attributes: [
        { type: internalIp6Address, value: encodeInternalIp6Prefix({ address, length }) },
        ...addressAttributes(request, offer),
      ],
    },
    assignment: { kind: "address", address, prefixLength: length, dns: offer.dns },
    homeSelectors: [addressSelector(address)],
  };
}

/** Name servers and DHCPv6 servers, for those who asked. */
function addressAttributes(request: Configuration, offer: LinkOffer): ConfigurationAttribute[] {
  const answer = (type: number, addresses: readonly Ipv6Address[]) =>
    firstValue(request, type) === undefined
      ? []
      : addresses.map((address) => ({ type, value: ipv6Octets(address) }));
  return [...answer(internalIp6Dns, offer.dns), ...answer(internalIp6Dhcp, offer.dhcp)];
}

function isAcceptable(interfaceId: Uint8Array, offer: LinkOffer): boolean {
  if (interfaceId.every((octet) => octet === 0)) return false;
  if (isEqual(interfaceId, offer.interfaceId)) return false;
  return offer.peerInterfaceId === undefined || isEqual(interfaceId, offer.peerInterfaceId);
}

function addressesOf(configuration: Configuration, type: number): Ipv6Address[] {
  return allValues(configuration, type).map(formatIpv6);
}

function firstValue(configuration: Configuration, type: number): Uint8Array | undefined {
  return configuration.attributes.find((attribute) => attribute.type === type)?.value;
}

function allValues(configuration: Configuration, type: number): Uint8Array[] {
  return configuration.attributes
    .filter((attribute) => attribute.type === type)
    .map((attribute) => attribute.value);
}

function isEqual(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((octet, index) => octet === b[index]);
}
