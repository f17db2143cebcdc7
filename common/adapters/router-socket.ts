/** Router Discovery on one LAN's interface, as the router: solicitations come in, advertisements go out. */

import type { Ipv6Address } from "../ip/address.ts";
import { Icmpv6Type } from "../ip/icmpv6.ts";
import type { ReceivedSolicitation } from "../nd/accept-solicitation.ts";
import { Icmpv6Socket, ND_HOP_LIMIT } from "./icmpv6-socket.ts";

/** RFC 4291 section 2.7.1. */
const ALL_ROUTERS = "ff02::2" as Ipv6Address;

export interface RouterListeners {
  readonly onSolicitation: (received: ReceivedSolicitation) => void;
  /** The socket is gone. */
  readonly onError: (error: Error) => void;
}

export interface RouterChannel {
  /** Sends an ICMPv6 message with hop limit 255 from the interface's link-local address. */
  send(destination: Ipv6Address, icmp: Uint8Array): void;
  /** Resolves when the kernel has all that was sent; `close` drops what it has not. */
  flushed(): Promise<void>;
  close(): void;
}

export interface RouterInterface {
  readonly interfaceName: string;
  readonly interfaceIndex: number;
}

export class RouterSocket extends Icmpv6Socket implements RouterChannel {
  /** Throws `SystemError`. */
  constructor({ interfaceName, interfaceIndex }: RouterInterface, listeners: RouterListeners) {
    super({
      interfaceName,
      type: Icmpv6Type.routerSolicitation,
      onMessage: (icmp, source) =>
        listeners.onSolicitation({
          source: source as Ipv6Address,
          hopLimit: ND_HOP_LIMIT, // the socket lets nothing else through
          icmp,
        }),
      onError: listeners.onError,
      join: { group: ALL_ROUTERS, interfaceIndex },
    });
  }
}
