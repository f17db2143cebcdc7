/** Traffic selectors as sets of addresses: made of prefixes, narrowed, compared. RFC 7296 section 2.9. */

import { type Ipv6Address, type Ipv6Prefix, ipv6Octets } from "../ip/address.ts";
import type { TrafficSelector } from "./wire/payloads/traffic-selectors.ts";

const ANY_PROTOCOL = 0;
const LAST_PORT = 65535;

/** Everything in a prefix, all protocols and ports. */
export function prefixSelector({ address, length }: Ipv6Prefix): TrafficSelector {
  const start = ipv6Octets(address);
  const end = start.map((octet, index) => {
    const bits = Math.min(8, Math.max(0, length - 8 * index));
    return octet | (0xff >> bits);
  });
  return { protocol: ANY_PROTOCOL, startPort: 0, endPort: LAST_PORT, start, end };
}

export function addressSelector(address: Ipv6Address): TrafficSelector {
  return prefixSelector({ address, length: 128 });
}

/** All of IPv6. */
export const EVERYTHING: TrafficSelector = prefixSelector({
  address: "::" as Ipv6Address,
  length: 0,
});

/** All of multicast, ff00::/8: the seed's section 6.4. */
export const MULTICAST: TrafficSelector = prefixSelector({
  address: "ff00::" as Ipv6Address,
  length: 8,
});

/** Whether this end of a Child SA is groups and nothing else. */
export function isMulticast(selectors: readonly TrafficSelector[]): boolean {
  return isWithin(selectors, [MULTICAST]);
}

/** What an authenticated peer can make us hold, and tell it back in one message. */
const MAXIMUM_NARROWED = 64;

/** What is in both lists, in the order of `allowed`; empty when nothing is. Beyond `MAXIMUM_NARROWED` it is cut off. */
export function narrow(
  proposed: readonly TrafficSelector[],
  allowed: readonly TrafficSelector[],
): TrafficSelector[] {
  const narrowed: TrafficSelector[] = [];
  for (const limit of allowed) {
    for (const selector of proposed) {
      if (narrowed.length === MAXIMUM_NARROWED) return narrowed;
      const both = intersection(selector, limit);
      if (both !== undefined && !narrowed.some((one) => contains(one, both))) narrowed.push(both);
    }
  }
  return narrowed;
}

/** Whether each of `inner` is within one of `outer`. */
export function isWithin(
  inner: readonly TrafficSelector[],
  outer: readonly TrafficSelector[],
): boolean {
  return inner.every((selector) => outer.some((one) => contains(one, selector)));
}

function intersection(a: TrafficSelector, b: TrafficSelector): TrafficSelector | undefined {
  if (a.start.length !== b.start.length) return undefined;
  if (a.protocol !== b.protocol && a.protocol !== ANY_PROTOCOL && b.protocol !== ANY_PROTOCOL) {
    return undefined;
  }
  const startPort = Math.max(a.startPort, b.startPort);
  const endPort = Math.min(a.endPort, b.endPort);
  const start = compareOctets(a.start, b.start) > 0 ? a.start : b.start;
  const end = compareOctets(a.end, b.end) < 0 ? a.end : b.end;
  if (startPort > endPort || compareOctets(start, end) > 0) return undefined;
  return { protocol: a.protocol || b.protocol, startPort, endPort, start, end };
}

function contains(outer: TrafficSelector, inner: TrafficSelector): boolean {
  return (
    outer.start.length === inner.start.length &&
    (outer.protocol === ANY_PROTOCOL || outer.protocol === inner.protocol) &&
    outer.startPort <= inner.startPort &&
    inner.endPort <= outer.endPort &&
    compareOctets(outer.start, inner.start) <= 0 &&
    compareOctets(inner.end, outer.end) <= 0
  );
}

/** As numbers; of two that begin alike the shorter is the less. */
export function compareOctets(a: Uint8Array, b: Uint8Array): number {
  const common = Math.min(a.length, b.length);
  for (let index = 0; index < common; index++) {
    const difference = (a[index] ?? 0) - (b[index] ?? 0);
    if (difference !== 0) return difference;
  }
  return a.length - b.length;
}
