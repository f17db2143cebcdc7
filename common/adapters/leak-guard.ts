/**
 * Routes that say "unreachable" behind the tunnels' own: while a tunnel's interface is down or gone, by somebody's hand
 * or because it is not yet made, packets for the tunnel get an error instead of leaving in clear by another route. They
 * stay when the daemon dies, and its successor takes them up.
 *
 * What goes to a prefix is guarded by its destination. What goes everywhere is guarded by its source: ::/0 as such would
 * cut off whoever has other ways to the Internet, who may have them for everything but the home's own addresses.
 */

import type { SystemError } from "../errors.ts";
import { AddressFamily } from "../rtnetlink/address-family.ts";
import {
  decodeRouteMessage,
  encodeRouteMessage,
  encodeRoutesQuery,
  type RouteMessage,
  RouteTable,
  RouteType,
} from "../rtnetlink/route-message.ts";
import { formatRoute, type TunnelRoute } from "../tunnel/tunnel.ts";
import type { NetlinkRequest } from "./netlink-requests.ts";
import { RequestFlag, RouteMessageType, type RouteSocket } from "./netlink-socket.ts";
import { lacksSourceRoutes, ROUTE_METRIC, ROUTE_PROTOCOL, routeOf } from "./tunnel-link.ts";

/** Behind the tunnels' routes. Each owner has one of its own, so that a home and a server on one machine do not meet. */
export const GUARD_METRIC = { client: ROUTE_METRIC + 1_001, server: ROUTE_METRIC + 1_000 } as const;

export class LeakGuard {
  readonly #socket: RouteSocket;
  readonly #metric: number;
  #standing: ReadonlyMap<string, TunnelRoute> | undefined;

  constructor(socket: RouteSocket, owner: keyof typeof GUARD_METRIC) {
    this.#socket = socket;
    this.#metric = GUARD_METRIC[owner];
  }

  /**
   * Makes exactly these tunnels' routes guarded. Resolves to what is to be said where this kernel cannot guard by
   * source. Rejects with `SystemError`.
   */
  async apply(routes: readonly TunnelRoute[]): Promise<SystemError | undefined> {
    const guarded = routes.filter(({ length, source }) => length > 0 || source !== undefined);
    const wanted = new Map(guarded.map((route) => [formatRoute(route), route]));
    const standing = this.#standing ?? (await this.#present());
    this.#standing = undefined;
    const missing = [...wanted].filter(([text]) => !standing.has(text)).map(([, route]) => route);
    const surplus = [...standing].filter(([text]) => !wanted.has(text)).map(([, route]) => route);
    const lacking = await this.#add(missing);
    await this.#remove(surplus);
    this.#standing = wanted;
    return lacking;
  }

  /** What a daemon before us left. */
  async #present(): Promise<Map<string, TunnelRoute>> {
    const replies = await this.#socket.request({
      operation: "list the guarding routes",
      type: RouteMessageType.getRoute,
      flags: RequestFlag.dump,
      payload: encodeRoutesQuery(AddressFamily.ipv6, { protocol: ROUTE_PROTOCOL }),
    });
    const ours = replies.map(({ payload }) => decodeRouteMessage(payload)).filter(this.#isOurs);
    return new Map(ours.map(routeOf).map((route) => [formatRoute(route), route]));
  }

  readonly #isOurs = ({ protocol, table, metric, type }: RouteMessage): boolean =>
    protocol === ROUTE_PROTOCOL &&
    table === RouteTable.main &&
    metric === this.#metric &&
    type === RouteType.unreachable;

  async #add(routes: readonly TunnelRoute[]): Promise<SystemError | undefined> {
    const type = RouteMessageType.newRoute;
    const flags = RequestFlag.create | RequestFlag.exclusive;
    const requests = routes.map((route) => ({ ...this.#request("guard", route), type, flags }));
    let lacking: SystemError | undefined;
    for (const { error, route } of await this.#refusals(requests, routes)) {
      if (error.code === "EEXIST") continue;
      if (!lacksSourceRoutes(error, route)) throw error;
      lacking ??= error;
    }
    return lacking;
  }

  async #remove(routes: readonly TunnelRoute[]): Promise<void> {
    const type = RouteMessageType.deleteRoute;
    const requests = routes.map((route) => ({ ...this.#request("unguard", route), type }));
    for (const { error, route } of await this.#refusals(requests, routes)) {
      if (error.code !== "ESRCH" && !lacksSourceRoutes(error, route)) throw error;
    }
  }

  async #refusals(requests: readonly NetlinkRequest[], routes: readonly TunnelRoute[]) {
    const results = await this.#socket.attempt(requests);
    return routes.flatMap((route, index) => {
      const error = results[index];
      return error === undefined ? [] : [{ route, error }];
    });
  }

  #request(verb: string, route: TunnelRoute) {
    return {
      operation: `${verb} ${formatRoute(route)} against leaving in clear`,
      payload: encodeRouteMessage({
        family: AddressFamily.ipv6,
        destination: route.address,
        destinationLength: route.length,
        source: route.source,
        table: RouteTable.main,
        protocol: ROUTE_PROTOCOL,
        scope: 0,
        type: RouteType.unreachable,
        flags: 0,
        metric: this.#metric,
      }),
    };
  }
}
