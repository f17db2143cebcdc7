/**
 * Neighbor Discovery on one tunnel interface, for the home's end: an ICMPv6 socket bound to the interface, so that
 * what is sent is encrypted by the data plane like any packet, and nothing of other interfaces is heard.
 */

import { AddressFamily, createSocket, Protocol, type RawSocket } from "raw-socket";
import { SystemError } from "../errors.ts";
import type { Ipv6Address } from "../ip/address.ts";
import { type Instruction, PacketFilter, PROGRAM_LENGTH } from "./linux/packet-filter.ts";

const SOL_SOCKET = 1;
const SO_BINDTODEVICE = 25;
const SO_ATTACH_FILTER = 26;
const SOL_IPV6 = 41;
const IPV6_UNICAST_HOPS = 16;
const IPV6_MULTICAST_HOPS = 18;
const ND_HOP_LIMIT = 255; // RFC 4861 section 7.1
const NEIGHBOR_ADVERTISEMENT = 136;
const ICMPV6 = 58;

/**
 * Classic BPF: only ICMPv6 type 136 that follows the IPv6 header directly with hop limit 255. raw-socket tells
 * neither, so the kernel checks them. Offsets from SKF_NET_OFF, the IPv6 header.
 */
const SKF_NET_OFF = 0xfff00000; // -0x100000
const FILTER: readonly Instruction[] = [
  [0x30, 0, 0, SKF_NET_OFF + 7], // ldb hop limit
  [0x15, 0, 5, ND_HOP_LIMIT],
  [0x30, 0, 0, SKF_NET_OFF + 6], // ldb next header
  [0x15, 0, 3, ICMPV6],
  [0x30, 0, 0, SKF_NET_OFF + 40], // ldb ICMPv6 type
  [0x15, 0, 1, NEIGHBOR_ADVERTISEMENT],
  [0x06, 0, 0, 0xffff], // accept
  [0x06, 0, 0, 0], // drop
];

export interface NeighborListeners {
  /** A Neighbor Advertisement came out of the tunnel; `icmp` begins at the ICMPv6 type. */
  readonly onAdvertisement: (icmp: Uint8Array, source: string) => void;
  /** The socket is gone. */
  readonly onError: (error: Error) => void;
}

/** Neighbor Discovery on one interface. */
export interface NeighborChannel {
  /** Sends an ICMPv6 message with hop limit 255 through the tunnel; the kernel makes its checksum. */
  send(destination: Ipv6Address, icmp: Uint8Array): void;
  close(): void;
}

export class NeighborSocket implements NeighborChannel {
  readonly #socket: RawSocket;

  /** Throws `SystemError`. */
  constructor(interfaceName: string, listeners: NeighborListeners) {
    const operation = `open an ICMPv6 socket on ${interfaceName}`;
    try {
      this.#socket = createSocket({
        protocol: Protocol.ICMPv6,
        addressFamily: AddressFamily.IPv6,
        bufferSize: 1280,
      });
    } catch (cause) {
      throw new SystemError(operation, "EPERM", {
        cause,
        hint: "run as root, or with CAP_NET_RAW",
      });
    }
    try {
      const name = Buffer.from(`${interfaceName}\0`);
      this.#socket.setOption(SOL_SOCKET, SO_BINDTODEVICE, name, name.length);
      this.#socket.setOption(SOL_IPV6, IPV6_UNICAST_HOPS, ND_HOP_LIMIT);
      this.#socket.setOption(SOL_IPV6, IPV6_MULTICAST_HOPS, ND_HOP_LIMIT);
      const { program } = new PacketFilter(FILTER);
      const octets = Buffer.from(program.octets.subarray(0, PROGRAM_LENGTH));
      this.#socket.setOption(SOL_SOCKET, SO_ATTACH_FILTER, octets, PROGRAM_LENGTH);
    } catch (cause) {
      this.#socket.close();
      throw new SystemError(operation, cause instanceof Error ? cause.message : String(cause), {
        cause,
      });
    }
    this.#socket.on("message", listeners.onAdvertisement);
    this.#socket.on("error", listeners.onError);
  }

  send(destination: Ipv6Address, icmp: Uint8Array): void {
    // A message the kernel would not take is as good as lost on the way: whoever sent it repeats it.
    this.#socket.send(Buffer.from(icmp), 0, icmp.length, destination, () => undefined);
  }

  close(): void {
    this.#socket.close();
  }
}
