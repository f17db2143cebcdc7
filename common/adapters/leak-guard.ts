/**
 * Routes that say "unreachable" behind the tunnels' own: while a tunnel's interface is gone, deleted by hand or not yet
 * made, packets for the home get an error instead of leaving in clear by the default route.
 */

import { formatIpv6Prefix, type Ipv6Address, type Ipv6Prefix } from "../ip/address.ts";
import { AddressFamily } from "../rtnetlink/address-family.ts";
import {
  decodeRouteMessage,
  encodeRouteMessage,
  encodeRoutesQuery,
  type RouteMessage,
  RouteTable,
  RouteType,
} from "../rtnetlink/route-message.ts";
import type { NetlinkRequest } from "./netlink-requests.ts";
import { RequestFlag, RouteMessageType, type RouteSocket } from "./netlink-socket.ts";
import { ROUTE_METRIC, ROUTE_PROTOCOL } from "./tunnel-link.ts";

/** Behind the tunnels' routes. Each owner has one of its own, so that a home and a server on one machine do not meet. */
export const GUARD_METRIC = { client: ROUTE_METRIC + 1_001, server: ROUTE_METRIC + 1_000 } as const;

export class LeakGuard {
  readonly #socket: RouteSocket;
  readonly #metric: number;
  #standing: ReadonlyMap<string, Ipv6Prefix> | undefined;

  constructor(socket: RouteSocket, owner: keyof typeof GUARD_METRIC) {
    this.#socket = socket;
    this.#metric = GUARD_METRIC[owner];
  }

  /**
   * Makes exactly these prefixes guarded. ::/0 never is: it would cut off whoever has other ways to the Internet.
   * Rejects with `SystemError`.
   */
  async apply(prefixes: readonly Ipv6Prefix[]): Promise<void> {
    const guarded = prefixes.filter(({ length }) => length > 0);
    const wanted = new Map(guarded.map((prefix) => [formatIpv6Prefix(prefix), prefix]));
    const standing = this.#standing ?? (await this.#present());
    this.#standing = undefined;
    const missing = [...wanted].filter(([text]) => !standing.has(text));
    const surplus = [...standing].filter(([text]) => !wanted.has(text));
    await this.#perform(
      missing.map(([, prefix]) => this.#addition(prefix)),
      "EEXIST",
    );
    await this.#perform(
      surplus.map(([, prefix]) => this.#removal(prefix)),
      "ESRCH",
    );
    this.#standing = wanted;
  }

  /** What a daemon before us left. */
  async #present(): Promise<Map<string, Ipv6Prefix>> {
    const replies = await this.#socket.request({
      operation: "list the guarding routes",
      type: RouteMessageType.getRoute,
      flags: RequestFlag.dump,
      payload: encodeRoutesQuery(AddressFamily.ipv6, { protocol: ROUTE_PROTOCOL }),
    });
    const ours = replies.map(({ payload }) => decodeRouteMessage(payload)).filter(this.#isOurs);
    const prefixes = ours.map(({ destination, destinationLength }) => ({
      address: destination as Ipv6Address,
      length: destinationLength,
    }));
    return new Map(prefixes.map((prefix) => [formatIpv6Prefix(prefix), prefix]));
  }

  readonly #isOurs = ({ protocol, table, metric, type }: RouteMessage): boolean =>
    protocol === ROUTE_PROTOCOL &&
    table === RouteTable.main &&
    metric === this.#metric &&
    type === RouteType.unreachable;

  #addition(prefix: Ipv6Prefix): NetlinkRequest {
    const flags = RequestFlag.create | RequestFlag.exclusive;
    return { ...this.#route("guard", prefix), type: RouteMessageType.newRoute, flags };
  }

  #removal(prefix: Ipv6Prefix): NetlinkRequest {
    return { ...this.#route("unguard", prefix), type: RouteMessageType.deleteRoute };
  }

  #route(verb: string, prefix: Ipv6Prefix) {
    return {
      operation: `${verb} ${formatIpv6Prefix(prefix)} against leaving in clear`,
      payload: encodeRouteMessage({
        family: AddressFamily.ipv6,
        destination: prefix.address,
        destinationLength: prefix.length,
        table: RouteTable.main,
        protocol: ROUTE_PROTOCOL,
        scope: 0,
        type: RouteType.unreachable,
        flags: 0,
        metric: this.#metric,
      }),
    };
  }

  /** `fine` is the refusal that says it is so already. */
  async #perform(requests: readonly NetlinkRequest[], fine: string): Promise<void> {
    for (const error of await this.#socket.attempt(requests)) {
      if (error !== undefined && error.code !== fine) throw error;
    }
  }
}
