/** From what stands on a tunnel's interface to what should: the operations, in the order that works. Pure. */

import type { Ipv6Address } from "../ip/address.ts";
import { formatRoute, type TunnelRoute, type TunnelSpec } from "../tunnel/tunnel.ts";
import { AddressGenerationMode } from "./link-message.ts";

export interface InterfaceAddress {
  readonly address: Ipv6Address;
  readonly prefixLength: number;
}

/** What stands on an interface. */
export interface PresentLink {
  readonly up: boolean;
  readonly mtu: number | undefined;
  readonly addressGenerationMode: number | undefined;
  /** All its IPv6 addresses. */
  readonly addresses: readonly InterfaceAddress[];
  /** Those routes through it that hometun made. */
  readonly routes: readonly TunnelRoute[];
}

export type WantedLink = Pick<TunnelSpec, "localAddresses" | "peerLinkLocal" | "routes" | "mtu">;

export type LinkOperation =
  | { readonly kind: "remove-route"; readonly route: TunnelRoute }
  | { readonly kind: "remove-address"; readonly address: InterfaceAddress }
  /** The MTU, and no link-local address of the kernel's own making. */
  | { readonly kind: "set-link"; readonly mtu: number }
  | { readonly kind: "set-up" }
  | { readonly kind: "add-address"; readonly address: InterfaceAddress }
  | { readonly kind: "add-route"; readonly route: TunnelRoute };

const HOST = 128; // bits

/**
 * Nothing to do gives nothing. The order: what goes makes room for what comes; the kernel generates addresses the
 * moment a link comes up, so that is forbidden before; and routes need a link that is up.
 *
 * Each address stands alone, as /128, with a host route to the peer's: were fe80::/64 on every interface of a
 * server, each packet to a link-local address would search all of them (a ping grew linearly with the homes).
 */
export function planLink(present: PresentLink, wanted: WantedLink): LinkOperation[] {
  const addresses = unique(
    wanted.localAddresses.map((address) => ({ address, prefixLength: HOST })),
    addressKey,
  );
  const routes = unique(
    [{ address: wanted.peerLinkLocal, length: HOST }, ...wanted.routes],
    formatRoute,
  );
  const linkStands =
    present.mtu === wanted.mtu && present.addressGenerationMode === AddressGenerationMode.none;
  return [
    ...missing(present.routes, routes, formatRoute).map(
      (route) => ({ kind: "remove-route", route }) as const,
    ),
    ...missing(present.addresses, addresses, addressKey).map(
      (address) => ({ kind: "remove-address", address }) as const,
    ),
    ...(linkStands ? [] : [{ kind: "set-link", mtu: wanted.mtu } as const]),
    ...(present.up ? [] : [{ kind: "set-up" } as const]),
    ...missing(addresses, present.addresses, addressKey).map(
      (address) => ({ kind: "add-address", address }) as const,
    ),
    ...missing(routes, present.routes, formatRoute).map(
      (route) => ({ kind: "add-route", route }) as const,
    ),
  ];
}

function addressKey({ address, prefixLength }: InterfaceAddress): string {
  return `${address}/${prefixLength}`;
}

/** Those of `items` that are not in `others`. */
function missing<T>(items: readonly T[], others: readonly T[], key: (item: T) => string): T[] {
  const known = new Set(others.map(key));
  return items.filter((item) => !known.has(key(item)));
}

function unique<T>(items: readonly T[], key: (item: T) => string): T[] {
  return [...new Map(items.map((item) => [key(item), item])).values()];
}
