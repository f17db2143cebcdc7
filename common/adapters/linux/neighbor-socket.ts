/**
 * One ICMPv6 socket for all tunnels of a server: the kernel tells with each Neighbor Advertisement the interface
 * it came in on (the tunnel, hence the home), its hop limit and destination, and whether extension headers or
 * fragments were in the way (RFC 3542). A socket for each interface would cost every ICMPv6 packet a walk along
 * the list of all of them.
 */

import { formatIpv6 } from "../../ip/address.ts";
import { Icmpv6Type } from "../../ip/icmpv6.ts";
import type { InterfaceNeighborMessage } from "../../nd/interface-neighbor-message.ts";
import { IDENTIFIER_OFFSET, PROBE_IDENTIFIER } from "../../tunnel/probe.ts";
import { checked, libcCalls, onReadable, PERMISSION_HINTS, type Readiness } from "./libc.ts";
import { filterProgram, type Instruction, PROGRAM_LENGTH } from "./packet-filter.ts";
import { Slab } from "./slab.ts";
import {
  AF_INET6,
  IPPROTO_ICMPV6,
  SO_ATTACH_FILTER,
  SO_RCVBUF,
  SO_RCVBUFFORCE,
  SOCK_CLOEXEC,
  SOCK_NONBLOCK,
  SOCK_RAW,
  SOL_IPV6,
  SOL_SOCKET,
} from "./socket-numbers.ts";

const IPV6_RECVPKTINFO = 49;
const IPV6_PKTINFO = 50;
const IPV6_RECVHOPLIMIT = 51;
const IPV6_HOPLIMIT = 52;
const IPV6_RECVHOPOPTS = 53;
const IPV6_RECVRTHDR = 56;
const IPV6_RECVDSTOPTS = 58;
const IPV6_RECVFRAGSIZE = 77;
const SKF_AD_HATYPE = 0xfffff000 + 28; // the interface's hardware type
const SKF_NET_OFF = 0xfff00000; // the IPv6 header
const ARPHRD_NONE = 0xfffe; // tunnels have none
const ND_HOP_LIMIT = 255; // RFC 4861 section 7.1
/**
 * Classic BPF on the ICMPv6 message: advertisements, and answers to our probes among all echo replies. An advertisement
 * that came from elsewhere than a tunnel must at least be from the link it came on, or anyone on the Internet could fill
 * this socket, which all homes share.
 */
const FILTER: readonly Instruction[] = [
  [0x30, 0, 0, 0], // ldb type
  [0x15, 2, 0, Icmpv6Type.neighborAdvertisement],
  [0x15, 5, 0, Icmpv6Type.echoReply],
  [0x06, 0, 0, 0], // drop
  [0x28, 0, 0, SKF_AD_HATYPE], // ldh hardware type
  [0x15, 5, 0, ARPHRD_NONE],
  [0x30, 0, 0, SKF_NET_OFF + 7], // ldb hop limit
  [0x15, 3, 2, ND_HOP_LIMIT],
  [0x28, 0, 0, IDENTIFIER_OFFSET], // ldh identifier
  [0x15, 1, 0, PROBE_IDENTIFIER],
  [0x06, 0, 0, 0], // drop
  [0x06, 0, 0, 0xffff], // accept
];
const MSG_TRUNC = 0x20;
const MSG_CTRUNC = 0x08;

const RECEIVE_BUFFER = 4 << 20; // octets
const BATCH = 64; // messages a turn of the event loop, so that a flood cannot hold it
const MESSAGE_CAPACITY = 1280; // octets; ND is never larger, a longer one is refused as cut
const CONTROL_CAPACITY = 256;
const SOCKADDR_IN6_LENGTH = 28;

// offsets in the one slab: msghdr, name, iovec, control, message
const HEADER = 0;
const NAME = 64;
const IOVEC = 96;
const CONTROL = 112;
const MESSAGE = CONTROL + CONTROL_CAPACITY;
const CMSG_HEADER = 16; // len (8), level (4), type (4)

export class InterfaceNeighborSocket {
  readonly #fd: number;
  readonly #slab = new Slab(MESSAGE + MESSAGE_CAPACITY);
  readonly #readiness: Readiness;
  readonly #listener: (message: InterfaceNeighborMessage) => void;

  /**
   * `listener` hears every Neighbor Advertisement and every answer to a probe that reaches this host; the octets
   * are valid during the call only. Throws `SystemError`.
   */
  constructor(listener: (message: InterfaceNeighborMessage) => void) {
    const operation = "open an ICMPv6 socket for Neighbor Discovery";
    const type = SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC;
    this.#fd = checked(
      libcCalls.socket(AF_INET6, type, IPPROTO_ICMPV6),
      operation,
      PERMISSION_HINTS,
    );
    try {
      this.#prepareSocket(operation);
    } catch (error) {
      libcCalls.close(this.#fd);
      throw error;
    }
    this.#listener = listener;
    this.#readiness = onReadable(this.#fd, () => this.receive());
  }

  #prepareSocket(operation: string): void {
    const attempt = (level: number, option: number, value: number) => {
      this.#slab.view.setInt32(0, value, true);
      return libcCalls.setsockopt(this.#fd, level, option, this.#slab.address(0, 4), 4);
    };
    const set = (level: number, option: number, value: number) =>
      checked(attempt(level, option, value), operation, PERMISSION_HINTS);
    this.#attachFilter(operation);
    // Root of a user namespace may not go beyond the system's limit, and lives with it.
    if (attempt(SOL_SOCKET, SO_RCVBUFFORCE, RECEIVE_BUFFER) < 0) {
      set(SOL_SOCKET, SO_RCVBUF, RECEIVE_BUFFER);
    }
    for (const option of [
      IPV6_RECVPKTINFO,
      IPV6_RECVHOPLIMIT,
      IPV6_RECVHOPOPTS,
      IPV6_RECVRTHDR,
      IPV6_RECVDSTOPTS,
      IPV6_RECVFRAGSIZE,
    ]) {
      set(SOL_IPV6, option, 1);
    }
  }

  close(): void {
    this.#readiness.close();
    libcCalls.close(this.#fd);
  }

  /** Hands over what waits now, without waiting for the event loop. */
  receive(): void {
    for (let count = 0; count < BATCH; count++) {
      this.#prepare();
      const length = libcCalls.recvmsg(this.#fd, this.#slab.address(HEADER, 56), 0);
      if (length < 0) return;
      this.#listener(this.#message(length));
    }
  }

  #message(length: number): InterfaceNeighborMessage {
    const { octets, view, words32 } = this.#slab;
    const flags = words32[(HEADER + 48) >> 2] ?? 0;
    const end = CONTROL + Math.min(words32[(HEADER + 40) >> 2] ?? 0, CONTROL_CAPACITY);
    let interfaceIndex = 0;
    let hopLimit = 0;
    let destination = octets.subarray(0, 0);
    let extensionHeaders = false;
    for (let at = CONTROL; at + CMSG_HEADER <= end; ) {
      const size = words32[at >> 2] ?? 0;
      if (size < CMSG_HEADER || at + size > end) break;
      const type = words32[(at + 12) >> 2];
      if (words32[(at + 8) >> 2] === SOL_IPV6) {
        if (type === IPV6_PKTINFO) {
          destination = octets.subarray(at + CMSG_HEADER, at + CMSG_HEADER + 16);
          interfaceIndex = view.getInt32(at + CMSG_HEADER + 16, true);
        } else if (type === IPV6_HOPLIMIT) {
          hopLimit = view.getInt32(at + CMSG_HEADER, true);
        } else {
          extensionHeaders = true; // options, routing or fragments: whatever else we asked to be told of
        }
      }
      at += (size + 7) & ~7;
    }
    return {
      interfaceIndex,
      source: formatIpv6(octets.subarray(NAME + 8, NAME + 24)),
      destination:
        destination.length === 16 ? formatIpv6(destination) : formatIpv6(new Uint8Array(16)),
      hopLimit,
      extensionHeaders,
      truncated: (flags & (MSG_TRUNC | MSG_CTRUNC)) !== 0,
      icmp: octets.subarray(MESSAGE, MESSAGE + length),
    };
  }

  /** The kernel overwrites the lengths. */
  #prepare(): void {
    const slab = this.#slab;
    slab.setPointer(HEADER, slab.address(NAME, SOCKADDR_IN6_LENGTH));
    slab.words32[(HEADER + 8) >> 2] = SOCKADDR_IN6_LENGTH;
    slab.setPointer(HEADER + 16, slab.address(IOVEC, 16));
    slab.setPointer(HEADER + 24, 1);
    slab.setPointer(HEADER + 32, slab.address(CONTROL, CONTROL_CAPACITY));
    slab.setPointer(HEADER + 40, CONTROL_CAPACITY);
    slab.setPointer(IOVEC, slab.address(MESSAGE, MESSAGE_CAPACITY));
    slab.setPointer(IOVEC + 8, MESSAGE_CAPACITY);
  }

  #attachFilter(operation: string): void {
    const program = filterProgram(FILTER);
    const address = program.address(0, PROGRAM_LENGTH);
    checked(
      libcCalls.setsockopt(this.#fd, SOL_SOCKET, SO_ATTACH_FILTER, address, PROGRAM_LENGTH),
      operation,
      PERMISSION_HINTS,
    );
  }
}
