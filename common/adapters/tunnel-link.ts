/**
 * Addresses, MTU and routes of the tunnels' interfaces. What should stand is declared; `rtnetlink/link-plan.ts`
 * says what is to be done about it.
 */

import { randomInt } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import { SystemError } from "../errors.ts";
import { formatIpv6Prefix, type Ipv6Address, type Ipv6Prefix, isLinkLocal } from "../ip/address.ts";
import { AddressFamily } from "../rtnetlink/address-family.ts";
import {
  AddressFlag,
  decodeAddressMessage,
  encodeAddressMessage,
  encodeAddressQuery,
} from "../rtnetlink/address-message.ts";
import {
  AddressGenerationMode,
  decodeLinkMessage,
  encodeLinkMessage,
  encodeLinkQuery,
  LinkFlag,
  type LinkMessage,
} from "../rtnetlink/link-message.ts";
import { type InterfaceAddress, type LinkOperation, planLink } from "../rtnetlink/link-plan.ts";
import {
  decodeRouteMessage,
  encodeRouteMessage,
  encodeRoutesQuery,
  type RouteMessage,
  RouteTable,
  RouteType,
} from "../rtnetlink/route-message.ts";
import type { TunnelSpec } from "../tunnel/tunnel.ts";
import { RequestFlag, RouteMessageType, type RouteSocket } from "./netlink-socket.ts";

/** Marks the routes that hometun made, and only those are ever removed: `ip -6 route show proto 104`. */
export const ROUTE_PROTOCOL = 104;
/**
 * Of the tunnels' routes. Just below 1,024, which the kernel gives to a default route learned from a router: who
 * asks for ::/0 through the tunnel means it, and two equal routes would share the traffic.
 */
export const ROUTE_METRIC = 1_000;

/** For thousands of interfaces, in milliseconds. */
const REMOVAL_TIMEOUT = 60_000;

/** Drivers whose interfaces may be a tunnel's. */
const TUNNEL_KINDS = new Set(["tun", "xfrm"]);

export type LinkSpec = Pick<
  TunnelSpec,
  "interfaceName" | "localAddresses" | "peerLinkLocal" | "routes" | "mtu"
>;

export interface TunnelLinks {
  /**
   * Makes the interface, which must exist, have these addresses, this MTU and these routes, and removes others of
   * its addresses and of hometun's routes through it. Done twice it changes nothing. Other interfaces and routes
   * are left alone. Rejects with `SystemError`.
   */
  configure(spec: LinkSpec): Promise<{ interfaceIndex: number }>;
  /** Rejects with `SystemError`. */
  setMtu(interfaceName: string, mtu: number): Promise<void>;
  /**
   * Removes interfaces with their addresses and routes, thousands in the time of one: the kernel waits some 20 ms
   * for each that goes alone. Those that are gone already are passed over. Rejects with `SystemError`.
   */
  remove(interfaceNames: readonly string[]): Promise<void>;
}

export function openTunnelLinks(socket: RouteSocket): TunnelLinks {
  return new NetlinkTunnelLinks(socket);
}

class NetlinkTunnelLinks implements TunnelLinks {
  readonly #socket: RouteSocket;
  /**
   * Routes of hometun that stood at the start, by interface. To list one interface's routes the kernel walks all
   * of them, which for thousands of new interfaces would take thousands of times as long: so they are listed
   * once, and again only for an interface that is configured for a second time.
   */
  #atStart: Promise<Map<number, Ipv6Prefix[]>> | undefined;
  readonly #configured = new Set<number>();

  constructor(socket: RouteSocket) {
    this.#socket = socket;
  }

  async configure(spec: LinkSpec): Promise<{ interfaceIndex: number }> {
    const operation = `configure the tunnel interface ${spec.interfaceName}`;
    const link = await this.#link(spec.interfaceName, operation);
    const { index } = link;
    try {
      const operations = planLink(
        {
          up: (link.flags & LinkFlag.up) !== 0,
          mtu: link.mtu,
          addressGenerationMode: link.addressGenerationMode,
          addresses: await this.#addresses(index, operation),
          routes: await this.#routes(index, operation),
        },
        spec,
      );
      refuseRouterAdvertisements(spec.interfaceName, operation);
      for (const step of operations) await this.#perform(step, index, operation);
    } catch (error) {
      throw explained(error, spec.interfaceName, operation);
    }
    this.#configured.add(index);
    return { interfaceIndex: index };
  }

  async setMtu(interfaceName: string, mtu: number): Promise<void> {
    const operation = `set the MTU of ${interfaceName} to ${mtu}`;
    const { index } = await this.#link(interfaceName, operation);
    await this.#changeLink({ index, flags: 0, change: 0, mtu }, operation);
  }

  async remove(interfaceNames: readonly string[]): Promise<void> {
    const operation = "remove the tunnel interfaces";
    // A number that nobody else has: whatever is in the group goes.
    const group = randomInt(2 ** 30, 2 ** 31);
    let grouped = 0;
    for (const name of interfaceNames) {
      try {
        const { index } = await this.#link(name, operation);
        await this.#changeLink({ index, flags: 0, change: 0, group }, operation);
        grouped += 1;
      } catch (error) {
        if (!hasCode(error, "ENODEV")) throw error;
      }
    }
    if (grouped === 0) return;
    const payload = encodeLinkMessage({ index: 0, flags: 0, change: 0, group });
    const type = RouteMessageType.deleteLink;
    await this.#socket.request({ operation, type, payload, timeoutMs: REMOVAL_TIMEOUT });
  }

  /** The interface, if it is one a tunnel may have. */
  async #link(name: string, operation: string): Promise<LinkMessage> {
    const [reply] = await this.#socket.request({
      operation,
      type: RouteMessageType.getLink,
      payload: encodeLinkQuery({ name }),
    });
    if (reply === undefined) throw new SystemError(operation, "ENODEV");
    const link = decodeLinkMessage(reply.payload);
    if (link.kind === undefined || !TUNNEL_KINDS.has(link.kind)) {
      const hint = `${name} is no tunnel interface; choose another name`;
      throw new SystemError(operation, "EBUSY", { hint });
    }
    return link;
  }

  async #addresses(index: number, operation: string): Promise<InterfaceAddress[]> {
    const replies = await this.#socket.request({
      operation,
      type: RouteMessageType.getAddress,
      flags: RequestFlag.dump,
      payload: encodeAddressQuery(AddressFamily.ipv6, index),
    });
    return replies
      .map(({ payload }) => decodeAddressMessage(payload))
      .filter(({ interfaceIndex }) => interfaceIndex === index)
      .map(({ address, prefixLength }) => ({ address: address as Ipv6Address, prefixLength }));
  }

  async #routes(index: number, operation: string): Promise<readonly Ipv6Prefix[]> {
    if (this.#configured.has(index)) {
      return (await this.#ourRoutes(operation, index)).map(prefixOf);
    }
    this.#atStart ??= this.#allRoutes(operation);
    return (await this.#atStart).get(index) ?? [];
  }

  async #allRoutes(operation: string): Promise<Map<number, Ipv6Prefix[]>> {
    try {
      const byInterface = new Map<number, Ipv6Prefix[]>();
      for (const route of await this.#ourRoutes(operation)) {
        const { interfaceIndex = 0 } = route;
        const others = byInterface.get(interfaceIndex) ?? [];
        byInterface.set(interfaceIndex, [...others, prefixOf(route)]);
      }
      return byInterface;
    } catch (error) {
      this.#atStart = undefined;
      throw error;
    }
  }

  /** The routes that hometun made, through one interface or through any. */
  async #ourRoutes(operation: string, interfaceIndex?: number): Promise<RouteMessage[]> {
    const replies = await this.#socket.request({
      operation,
      type: RouteMessageType.getRoute,
      flags: RequestFlag.dump,
      payload: encodeRoutesQuery(AddressFamily.ipv6, { protocol: ROUTE_PROTOCOL, interfaceIndex }),
    });
    // Kernels before 4.20 do not filter.
    return replies
      .map(({ payload }) => decodeRouteMessage(payload))
      .filter(isOurs)
      .filter((route) => interfaceIndex === undefined || route.interfaceIndex === interfaceIndex);
  }

  async #perform(step: LinkOperation, index: number, operation: string): Promise<void> {
    switch (step.kind) {
      case "remove-route":
        return await ignoring(["ESRCH"], this.#removeRoute(step.route, index, operation));
      case "remove-address":
        return await ignoring(
          ["EADDRNOTAVAIL"],
          this.#changeAddress(RouteMessageType.deleteAddress, step.address, index, operation),
        );
      case "set-link":
        return await this.#changeLink(
          {
            index,
            flags: 0,
            change: 0,
            mtu: step.mtu,
            addressGenerationMode: AddressGenerationMode.none,
          },
          operation,
        );
      case "set-up":
        return await this.#changeLink(
          { index, flags: LinkFlag.up, change: LinkFlag.up },
          operation,
        );
      case "add-address":
        return await ignoring(
          ["EEXIST"],
          this.#changeAddress(RouteMessageType.newAddress, step.address, index, operation),
        );
      case "add-route":
        return await this.#addRoute(step.route, index, operation);
    }
  }

  async #changeLink(payload: LinkMessage, operation: string): Promise<void> {
    const type = RouteMessageType.newLink;
    await this.#socket.request({ operation, type, payload: encodeLinkMessage(payload) });
  }

  async #changeAddress(type: number, item: InterfaceAddress, index: number, operation: string) {
    await this.#socket.request({
      operation,
      type,
      flags: type === RouteMessageType.newAddress ? CREATE_ONLY : 0,
      payload: encodeAddressMessage({
        family: AddressFamily.ipv6,
        prefixLength: item.prefixLength,
        // Nobody else is on a point-to-point link, and an address on trial cannot be sent from for a second.
        flags: AddressFlag.noDad | AddressFlag.noPrefixRoute,
        scope: 0,
        interfaceIndex: index,
        address: item.address,
      }),
    });
  }

  async #addRoute(route: Ipv6Prefix, index: number, operation: string): Promise<void> {
    const request = {
      operation,
      type: RouteMessageType.newRoute,
      flags: CREATE_ONLY, // replacing would take over whoever's route it is
      payload: routePayload(route, index, RouteType.unicast),
    };
    if (isLinkLocal(route.address)) {
      // Each link has its own fe80::2: the other tunnels' routes to theirs stay beside it.
      const flags = RequestFlag.create | RequestFlag.append;
      await ignoring(["EEXIST"], this.#socket.request({ ...request, flags }));
      return;
    }
    try {
      await this.#socket.request(request);
    } catch (error) {
      if (!hasCode(error, "EEXIST")) throw error;
      await this.#takeRoute(route, index, operation);
      await ignoring(["EEXIST"], this.#socket.request(request));
    }
  }

  /** A route to the same prefix stands: if another tunnel of ours had it, it moves; someone else's stays. */
  async #takeRoute(route: Ipv6Prefix, index: number, operation: string): Promise<void> {
    const same = (await this.#ourRoutes(operation)).filter(
      (other) => formatIpv6Prefix(prefixOf(other)) === formatIpv6Prefix(route),
    );
    if (same.length === 0) {
      const hint = `another program's route to ${formatIpv6Prefix(route)} with metric ${ROUTE_METRIC} stands`;
      throw new SystemError(operation, "EEXIST", { hint });
    }
    for (const { interfaceIndex } of same) {
      if (interfaceIndex === undefined || interfaceIndex === index) continue;
      await ignoring(["ESRCH"], this.#removeRoute(route, interfaceIndex, operation));
    }
  }

  async #removeRoute(route: Ipv6Prefix, index: number, operation: string): Promise<void> {
    await this.#socket.request({
      operation,
      type: RouteMessageType.deleteRoute,
      payload: routePayload(route, index, RouteType.unspecified),
    });
  }
}

const CREATE_ONLY = RequestFlag.create | RequestFlag.exclusive;

function routePayload(route: Ipv6Prefix, interfaceIndex: number, type: number): Uint8Array {
  return encodeRouteMessage({
    family: AddressFamily.ipv6,
    destination: route.address,
    destinationLength: route.length,
    table: RouteTable.main,
    protocol: ROUTE_PROTOCOL,
    scope: 0,
    type,
    flags: 0,
    metric: ROUTE_METRIC,
    interfaceIndex,
  });
}

function isOurs({ protocol, table, metric }: RouteMessage): boolean {
  return protocol === ROUTE_PROTOCOL && table === RouteTable.main && metric === ROUTE_METRIC;
}

function prefixOf(route: RouteMessage): Ipv6Prefix {
  return { address: route.destination as Ipv6Address, length: route.destinationLength };
}

/**
 * The peer is a router of prefixes, not of this host: its Router Advertisements must not make default routes or
 * addresses. rtnetlink has no attribute for that.
 */
function refuseRouterAdvertisements(interfaceName: string, operation: string): void {
  if (sysctl(interfaceName, "accept_ra") === "0") return;
  try {
    writeFileSync(sysctlPath(interfaceName, "accept_ra"), "0\n");
  } catch (cause) {
    const code = (cause as NodeJS.ErrnoException).code ?? "unknown";
    // No IPv6 on this interface: adding an address fails next and is explained then.
    if (code === "ENOENT") return;
    // A forwarding host ignores Router Advertisements unless told otherwise.
    const ignored = sysctl(interfaceName, "accept_ra") === "1";
    if (ignored && sysctl(interfaceName, "forwarding") === "1") return;
    const hint = `let /proc/sys/net be written, or set net.ipv6.conf.default.accept_ra=0`;
    throw new SystemError(operation, code, { cause, hint });
  }
}

/** An error that says more where IPv6 is switched off. */
export function explained(error: unknown, interfaceName: string, operation: string): unknown {
  if (!(error instanceof SystemError)) return error;
  const disabled = sysctl(interfaceName, "disable_ipv6");
  if (disabled === "0") return error;
  const hint =
    disabled === undefined
      ? "this host has no IPv6: is ipv6.disable=1 on the kernel's command line?"
      : `IPv6 is disabled: set sysctl net.ipv6.conf.default.disable_ipv6=0 and net.ipv6.conf.${interfaceName}.disable_ipv6=0`;
  return new SystemError(operation, error.code, { cause: error, hint });
}

/** Undefined where the interface has no IPv6. */
function sysctl(interfaceName: string, key: string): string | undefined {
  try {
    return readFileSync(sysctlPath(interfaceName, key), "utf8").trim();
  } catch {
    return undefined;
  }
}

function sysctlPath(interfaceName: string, key: string): string {
  return `/proc/sys/net/ipv6/conf/${interfaceName}/${key}`;
}

export function hasCode(error: unknown, ...codes: readonly string[]): boolean {
  return error instanceof SystemError && codes.includes(error.code);
}

/** For what may be so already: it vanished, or was made, while we looked elsewhere. */
export async function ignoring(codes: readonly string[], work: Promise<unknown>): Promise<void> {
  try {
    await work;
  } catch (error) {
    if (!hasCode(error, ...codes)) throw error;
  }
}
