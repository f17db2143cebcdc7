/** What the kernel's answers say about the way to an IPv4 destination. Pure. */

import type { Ipv4Address } from "../ip/address.ts";
import { AddressFamily } from "./address-family.ts";
import type { LinkMessage } from "./link-message.ts";
import { type RouteMessage, RouteType } from "./route-message.ts";

/** How packets to one destination would leave this machine now. */
export interface UplinkSnapshot {
  /** The source address they would get. */
  readonly address: Ipv4Address;
  readonly interfaceIndex: number;
  readonly interfaceName: string;
  /** Octets that reach the destination in one piece, as far as the kernel knows. */
  readonly mtu: number;
}

/**
 * The uplink that a route through a link makes; undefined when it is none: the destination is this machine
 * itself, or there is no address that anyone could answer to.
 */
export function uplinkOf(
  route: RouteMessage,
  link: Pick<LinkMessage, "index" | "name" | "mtu">,
): UplinkSnapshot | undefined {
  const { preferredSource: source } = route;
  if (route.family !== AddressFamily.ipv4 || route.type !== RouteType.unicast) return undefined;
  if (source === undefined || !isUsable(source) || link.name === undefined) return undefined;
  return {
    address: source as Ipv4Address,
    interfaceIndex: link.index,
    interfaceName: link.name,
    mtu: smallest(route.mtu, link.mtu),
  };
}

const ETHERNET_MTU = 1_500;

function smallest(...mtus: (number | undefined)[]): number {
  const known = mtus.filter((mtu) => mtu !== undefined && mtu > 0) as number[];
  return known.length === 0 ? ETHERNET_MTU : Math.min(...known);
}

/** Not 0/8 "this network" nor 127/8 loopback, RFC 1122 section 3.2.1.3. */
function isUsable(source: string): boolean {
  return !source.startsWith("0.") && !source.startsWith("127.");
}
