/**
 * Neighbor Discovery on one tunnel interface, for the home's end: an ICMPv6 socket bound to the interface, so that
 * what is sent is encrypted by the data plane like any packet, and nothing of other interfaces is heard.
 */

import type { Ipv6Address } from "../ip/address.ts";
import { Icmpv6Type } from "../ip/icmpv6.ts";
import { Icmpv6Socket } from "./icmpv6-socket.ts";
import { Icmpv6Sender } from "./linux/icmpv6-sender.ts";

export interface NeighborListeners {
  /** A Neighbor Advertisement came out of the tunnel; `icmp` begins at the ICMPv6 type. */
  readonly onAdvertisement: (icmp: Uint8Array, source: string) => void;
  /** The socket is gone. */
  readonly onError: (error: Error) => void;
}

/** Neighbor Discovery on one interface. */
export interface NeighborChannel {
  /** Sends an ICMPv6 message with hop limit 255 into the tunnel, at once; the kernel makes its checksum. */
  send(destination: Ipv6Address, icmp: Uint8Array): void;
  close(): void;
}

export class NeighborSocket extends Icmpv6Socket implements NeighborChannel {
  readonly #sender: Icmpv6Sender;

  /** Throws `SystemError`. */
  constructor(interfaceName: string, listeners: NeighborListeners) {
    super({
      interfaceName,
      type: Icmpv6Type.neighborAdvertisement,
      onMessage: listeners.onAdvertisement,
      onError: listeners.onError,
    });
    try {
      this.#sender = new Icmpv6Sender(interfaceName);
    } catch (error) {
      super.close();
      throw error;
    }
  }

  /** What the kernel would not take is as good as lost on the way: whoever sent it repeats it. */
  override send(destination: Ipv6Address, icmp: Uint8Array): void {
    this.#sender.send(0, destination, icmp);
  }

  override close(): void {
    super.close();
    this.#sender.close();
  }
}
