/** Sends and receives the datagrams of a UDP socket one by one, with the kernel's own calls: no event, no copy too many. */

import { formatIpv4, ipv4Octets } from "../../ip/address.ts";
import type { Endpoint } from "../../tunnel/tunnel.ts";
import { SOCKADDR_IN_LENGTH } from "./ipv4-socket.ts";
import { libcCalls, onReadable, type Readiness } from "./libc.ts";
import { Slab } from "./slab.ts";
import { AF_INET } from "./socket-numbers.ts";

const BATCH = 64; // datagrams a turn of the event loop

// offsets in the one slab: sockaddr_in, msghdr, iovec, datagram
const NAME = 0;
const HEADER = NAME + SOCKADDR_IN_LENGTH;
const HEADER_LENGTH = 56;
const VECTOR = HEADER + HEADER_LENGTH;
const VECTOR_LENGTH = 16;
const DATAGRAM = VECTOR + VECTOR_LENGTH;
/** The longest that UDP in IPv4 can carry. */
const DATAGRAM_LENGTH = 65_507;

/** Called for each datagram: its octets, which are valid during the call only, and whence it came. */
export type DatagramListener = (datagram: Uint8Array, source: Endpoint) => void;

export class DatagramSocket {
  readonly #fd: number;
  readonly #slab = new Slab(DATAGRAM + DATAGRAM_LENGTH);
  readonly #readiness: Readiness;
  #isClosed = false;

  /** Takes the descriptor over, one of `openIpv4Socket`. */
  constructor(fd: number, listener: DatagramListener) {
    this.#fd = fd;
    this.#readiness = onReadable(fd, () => this.#receive(listener));
  }

  /** What cannot go is lost, as on the way: now, or ever, since UDP cannot carry it. */
  send(datagram: Uint8Array, { address, port }: Endpoint): void {
    if (datagram.length > DATAGRAM_LENGTH) return;
    const { octets, view } = this.#slab;
    view.setUint16(NAME, AF_INET, true);
    view.setUint16(NAME + 2, port);
    octets.set(ipv4Octets(address), NAME + 4);
    octets.set(datagram, DATAGRAM);
    libcCalls.sendmsg(this.#fd, this.#header(datagram.length), 0);
  }

  close(): void {
    this.#isClosed = true;
    this.#readiness.close();
    libcCalls.close(this.#fd);
  }

  #receive(listener: DatagramListener): void {
    const { octets, view } = this.#slab;
    for (let count = 0; count < BATCH && !this.#isClosed; count++) {
      const length = libcCalls.recvmsg(this.#fd, this.#header(DATAGRAM_LENGTH), 0);
      if (length < 0) return;
      const address = formatIpv4(octets.subarray(NAME + 4, NAME + 8));
      const port = view.getUint16(NAME + 2);
      listener(octets.subarray(DATAGRAM, DATAGRAM + length), { address, port });
    }
  }

  /** `struct msghdr` of one datagram. */
  #header(length: number): number {
    const slab = this.#slab;
    slab.octets.fill(0, HEADER, DATAGRAM);
    slab.setPointer(HEADER, slab.address(NAME, SOCKADDR_IN_LENGTH));
    slab.words32[(HEADER + 8) >> 2] = SOCKADDR_IN_LENGTH;
    slab.setPointer(HEADER + 16, slab.address(VECTOR, VECTOR_LENGTH));
    slab.setPointer(HEADER + 24, 1);
    slab.setPointer(VECTOR, slab.address(DATAGRAM, length));
    slab.setPointer(VECTOR + 8, length);
    return slab.address(HEADER, HEADER_LENGTH);
  }
}
