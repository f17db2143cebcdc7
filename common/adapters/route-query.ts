/** Asks the kernel how packets to an IPv4 destination would leave now. */

import { SystemError } from "../errors.ts";
import type { Ipv4Address } from "../ip/address.ts";
import { AddressFamily } from "../rtnetlink/address-family.ts";
import { decodeRouteMessage, encodeRouteMessage } from "../rtnetlink/route-message.ts";
import { type UplinkSnapshot, uplinkOf } from "../rtnetlink/uplink.ts";
import { interfaceFacts } from "./linux/interface.ts";
import { RouteMessageType, type RouteSocket } from "./netlink-socket.ts";

const RTM_F_LOOKUP_TABLE = 0x1000;

/**
 * What the kernel says when no route leads there: none, an `unreachable`, `prohibit` or `blackhole` one (in that
 * order), or the interface went away between the two questions.
 */
const NO_WAY = new Set(["ENETUNREACH", "EHOSTUNREACH", "EACCES", "EINVAL", "ENETDOWN", "ENODEV"]);

/**
 * The uplink to `destination`; undefined when there is none, or when it is `excludeInterface`, which is the tunnel
 * that has to be carried. Its MTU is the route's own or the one path MTU discovery found, else the interface's.
 * Throws `SystemError`.
 */
export function queryRoute(
  socket: RouteSocket,
  destination: Ipv4Address,
  options: { excludeInterface?: string } = {},
): UplinkSnapshot | undefined {
  const operation = `ask for the route to ${destination}`;
  try {
    const answer = socket.ask({
      operation,
      type: RouteMessageType.getRoute,
      payload: encodeRouteMessage({
        family: AddressFamily.ipv4,
        destination,
        destinationLength: 32,
        table: 0,
        protocol: 0,
        scope: 0,
        type: 0,
        flags: RTM_F_LOOKUP_TABLE,
      }),
    });
    const route = decodeRouteMessage(answer);
    if (route.interfaceIndex === undefined) return undefined;
    const link = interfaceFacts(route.interfaceIndex);
    if (link === undefined || link.name === options.excludeInterface) return undefined;
    return uplinkOf(route, link);
  } catch (error) {
    if (error instanceof SystemError && NO_WAY.has(error.code)) return undefined;
    throw error;
  }
}
