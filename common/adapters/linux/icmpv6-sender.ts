/**
 * Sends ICMPv6 at once. raw-socket waits for the event loop to find its socket writable, and what comes first there may
 * take a millisecond: too long for an advertisement, while the home's connections stand still.
 */

import { type Ipv6Address, ipv6Octets } from "../../ip/address.ts";
import { checked, libcCalls, PERMISSION_HINTS } from "./libc.ts";
import { filterProgram, type Instruction, PROGRAM_LENGTH } from "./packet-filter.ts";
import { Slab } from "./slab.ts";
import {
  AF_INET6,
  IPPROTO_ICMPV6,
  IPV6_UNICAST_HOPS,
  SO_ATTACH_FILTER,
  SO_BINDTODEVICE,
  SOCK_CLOEXEC,
  SOCK_NONBLOCK,
  SOCK_RAW,
  SOL_IPV6,
  SOL_SOCKET,
} from "./socket-numbers.ts";

const ND_HOP_LIMIT = 255; // RFC 4861 section 7.1
const LONGEST_MESSAGE = 1280; // octets
const SOCKADDR_IN6_LENGTH = 28;
/** Nothing is received here: what would wait in this socket would wait for ever. */
const DROP_ALL: readonly Instruction[] = [[0x06, 0, 0, 0]];

// offsets in the one slab: struct msghdr, name, iovec, message
const HEADER = 0;
const NAME = 64;
const IOVEC = 96;
const MESSAGE = 112;

export class Icmpv6Sender {
  readonly #fd: number;
  readonly #slab = new Slab(MESSAGE + LONGEST_MESSAGE);

  /** Sends through one interface, or through any. Throws `SystemError`. */
  constructor(interfaceName?: string) {
    const where = interfaceName === undefined ? "" : ` on ${interfaceName}`;
    const operation = `open an ICMPv6 socket${where}`;
    const type = SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC;
    this.#fd = checked(
      libcCalls.socket(AF_INET6, type, IPPROTO_ICMPV6),
      operation,
      PERMISSION_HINTS,
    );
    try {
      this.#prepare(operation, interfaceName);
    } catch (error) {
      libcCalls.close(this.#fd);
      throw error;
    }
    this.#layOut();
  }

  /**
   * Sends a message with hop limit 255; the kernel makes its checksum. `interfaceIndex` is 0 when the sender has one
   * interface. False when the kernel would not take it.
   */
  send(interfaceIndex: number, destination: Ipv6Address, icmp: Uint8Array): boolean {
    const { view, octets } = this.#slab;
    const length = Math.min(icmp.length, LONGEST_MESSAGE);
    octets.set(ipv6Octets(destination), NAME + 8);
    view.setUint32(NAME + 24, interfaceIndex, true);
    octets.set(icmp.subarray(0, length), MESSAGE);
    this.#slab.setPointer(IOVEC + 8, length);
    return libcCalls.sendmsg(this.#fd, this.#slab.address(HEADER, 56), 0) >= 0;
  }

  close(): void {
    libcCalls.close(this.#fd);
  }

  #prepare(operation: string, interfaceName: string | undefined): void {
    const set = (level: number, option: number, octets: Slab, length: number) =>
      checked(
        libcCalls.setsockopt(this.#fd, level, option, octets.address(0, length), length),
        operation,
        PERMISSION_HINTS,
      );
    set(SOL_SOCKET, SO_ATTACH_FILTER, filterProgram(DROP_ALL), PROGRAM_LENGTH);
    this.#slab.view.setInt32(0, ND_HOP_LIMIT, true);
    set(SOL_IPV6, IPV6_UNICAST_HOPS, this.#slab, 4);
    if (interfaceName !== undefined) {
      const name = new TextEncoder().encode(interfaceName);
      this.#slab.octets.fill(0, 0, name.length + 1);
      this.#slab.octets.set(name);
      set(SOL_SOCKET, SO_BINDTODEVICE, this.#slab, name.length + 1);
    }
  }

  /** Everything of `struct msghdr` that stays the same. */
  #layOut(): void {
    const slab = this.#slab;
    slab.octets.fill(0);
    slab.view.setUint16(NAME, AF_INET6, true);
    slab.setPointer(HEADER, slab.address(NAME, SOCKADDR_IN6_LENGTH));
    slab.words32[(HEADER + 8) >> 2] = SOCKADDR_IN6_LENGTH;
    slab.setPointer(HEADER + 16, slab.address(IOVEC, 16));
    slab.setPointer(HEADER + 24, 1);
    slab.setPointer(IOVEC, slab.address(MESSAGE, LONGEST_MESSAGE));
  }
}
