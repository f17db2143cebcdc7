/** Raw ICMPv6 sockets on one interface, for Neighbor and Router Discovery: RFC 4861, RFC 3542. */

import { AddressFamily, createSocket, Protocol, type RawSocket } from "raw-socket";
import { SystemError } from "../errors.ts";
import { type Ipv6Address, ipv6Octets } from "../ip/address.ts";
import { filterProgram, type Instruction, PROGRAM_LENGTH } from "./linux/packet-filter.ts";
import {
  IPV6_UNICAST_HOPS,
  SO_ATTACH_FILTER,
  SO_BINDTODEVICE,
  SOL_IPV6,
  SOL_SOCKET,
} from "./linux/socket-numbers.ts";

const IPV6_MULTICAST_HOPS = 18;
const IPV6_MULTICAST_LOOP = 19;
const IPV6_ADD_MEMBERSHIP = 20;
export const ND_HOP_LIMIT = 255; // RFC 4861 sections 6.1 and 7.1
const ICMPV6 = 58;
/** Longer messages are cut: Neighbor Discovery has none. */
const LONGEST_MESSAGE = 1_280; // octets

/** Offsets from SKF_NET_OFF, the IPv6 header. */
const SKF_NET_OFF = 0xfff00000; // -0x100000

/**
 * Classic BPF: only ICMPv6 of one type that follows the IPv6 header directly with hop limit 255. raw-socket tells
 * neither, so the kernel checks them.
 */
function filterOf(type: number): readonly Instruction[] {
  return [
    [0x30, 0, 0, SKF_NET_OFF + 7], // ldb hop limit
    [0x15, 0, 5, ND_HOP_LIMIT],
    [0x30, 0, 0, SKF_NET_OFF + 6], // ldb next header
    [0x15, 0, 3, ICMPV6],
    [0x30, 0, 0, SKF_NET_OFF + 40], // ldb ICMPv6 type
    [0x15, 0, 1, type],
    [0x06, 0, 0, 0xffff], // accept
    [0x06, 0, 0, 0], // drop
  ];
}

export interface Icmpv6SocketOptions {
  readonly interfaceName: string;
  /** The one ICMPv6 type that is heard. */
  readonly type: number;
  /** `icmp` begins at the ICMPv6 type; its hop limit was 255 and its checksum right. */
  readonly onMessage: (icmp: Uint8Array, source: string) => void;
  /** The socket is gone. */
  readonly onError: (error: Error) => void;
  /** A multicast group to be heard on the interface, whose index that is. */
  readonly join?: { readonly group: Ipv6Address; readonly interfaceIndex: number };
}

export class Icmpv6Socket {
  readonly #socket: RawSocket;
  /** Messages the package still has. */
  #sending = 0;
  #sent: (() => void) | undefined;

  /** Throws `SystemError`. */
  constructor(options: Icmpv6SocketOptions) {
    const operation = `open an ICMPv6 socket on ${options.interfaceName}`;
    try {
      this.#socket = createSocket({
        protocol: Protocol.ICMPv6,
        addressFamily: AddressFamily.IPv6,
        bufferSize: LONGEST_MESSAGE,
      });
    } catch (cause) {
      throw new SystemError(operation, "EPERM", {
        cause,
        hint: "run as root, or with CAP_NET_RAW",
      });
    }
    try {
      this.#prepare(options);
    } catch (cause) {
      this.#socket.close();
      throw new SystemError(operation, cause instanceof Error ? cause.message : String(cause), {
        cause,
      });
    }
    this.#socket.on("message", options.onMessage);
    this.#socket.on("error", options.onError);
  }

  /** Sends an ICMPv6 message with hop limit 255; the kernel makes its checksum. */
  send(destination: Ipv6Address, icmp: Uint8Array): void {
    this.#sending += 1;
    // A message the kernel would not take is as good as lost on the way: whoever sent it repeats it.
    this.#socket.send(Buffer.from(icmp), 0, icmp.length, destination, () => {
      this.#sending -= 1;
      if (this.#sending === 0) this.#sent?.();
    });
  }

  /** Resolves when the kernel has all that was sent; `close` drops what it has not. */
  async flushed(): Promise<void> {
    if (this.#sending === 0) return;
    await new Promise<void>((resolve) => {
      this.#sent = resolve;
    });
  }

  close(): void {
    this.#socket.close();
  }

  #prepare({ interfaceName, type, join }: Icmpv6SocketOptions): void {
    const name = Buffer.from(`${interfaceName}\0`);
    this.#socket.setOption(SOL_SOCKET, SO_BINDTODEVICE, name, name.length);
    this.#socket.setOption(SOL_IPV6, IPV6_UNICAST_HOPS, ND_HOP_LIMIT);
    this.#socket.setOption(SOL_IPV6, IPV6_MULTICAST_HOPS, ND_HOP_LIMIT);
    this.#socket.setOption(SOL_IPV6, IPV6_MULTICAST_LOOP, 0);
    const program = filterProgram(filterOf(type));
    // The very memory, not a copy: it must live until the kernel has read the instructions behind it.
    const octets = Buffer.from(program.octets.buffer);
    this.#socket.setOption(SOL_SOCKET, SO_ATTACH_FILTER, octets, PROGRAM_LENGTH);
    if (join === undefined) return;
    const membership = Buffer.alloc(20); // struct ipv6_mreq: the group, the interface's index
    membership.set(ipv6Octets(join.group));
    membership.writeUInt32LE(join.interfaceIndex, 16);
    this.#socket.setOption(SOL_IPV6, IPV6_ADD_MEMBERSHIP, membership, membership.length);
  }
}
