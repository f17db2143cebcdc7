/** Sends and receives the datagrams of a UDP socket one by one, with the kernel's own calls. */

import { formatIpv4, ipv4Octets } from "../../ip/address.ts";
import type { Endpoint } from "../../tunnel/tunnel.ts";
import { SOCKADDR_IN_LENGTH } from "./ipv4-socket.ts";
import { libcCalls, onReadable, type Readiness } from "./libc.ts";
import { Slab } from "./slab.ts";
import { AF_INET } from "./socket-numbers.ts";

/** Datagrams a turn of the event loop. Of IKE each takes half a millisecond, and packets of tunnels wait meanwhile. */
const BATCH = 16;

// offsets in the one slab: sockaddr_in, msghdr, iovec, datagram
const NAME = 0;
const HEADER = NAME + SOCKADDR_IN_LENGTH;
const HEADER_LENGTH = 56;
const VECTOR = HEADER + HEADER_LENGTH;
const VECTOR_LENGTH = 16;
const DATAGRAM = VECTOR + VECTOR_LENGTH;
/** The longest that UDP in IPv4 can carry. */
const DATAGRAM_LENGTH = 65_507;

/** One datagram in memory, with what the kernel wants to know of it. */
export class DatagramBuffer {
  readonly #slab = new Slab(DATAGRAM + DATAGRAM_LENGTH);

  /** False when it did not go: now (errno says why), or ever, since UDP cannot carry it. */
  send(fd: number, datagram: Uint8Array, { address, port }: Endpoint): boolean {
    if (datagram.length > DATAGRAM_LENGTH) return false;
    const { octets, view } = this.#slab;
    view.setUint16(NAME, AF_INET, true);
    view.setUint16(NAME + 2, port);
    octets.set(ipv4Octets(address), NAME + 4);
    octets.set(datagram, DATAGRAM);
    return libcCalls.sendmsg(fd, this.#header(datagram.length), 0) >= 0;
  }

  /** The next datagram, a view that the next call overwrites; undefined when none waits. */
  receive(fd: number): Uint8Array | undefined {
    const length = libcCalls.recvmsg(fd, this.#header(DATAGRAM_LENGTH), 0);
    return length < 0 ? undefined : this.#slab.octets.subarray(DATAGRAM, DATAGRAM + length);
  }

  /** Whence the datagram came that was received last. */
  get source(): Endpoint {
    const { octets, view } = this.#slab;
    const address = formatIpv4(octets.subarray(NAME + 4, NAME + 8));
    return { address, port: view.getUint16(NAME + 2) };
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

/** Called for each datagram: its octets, which are valid during the call only, and whence it came. */
export type DatagramListener = (datagram: Uint8Array, source: Endpoint) => void;

export class DatagramSocket {
  readonly #fd: number;
  readonly #buffer = new DatagramBuffer();
  readonly #readiness: Readiness;
  #isClosed = false;

  /** Takes the descriptor over, one of `openIpv4Socket`. */
  constructor(fd: number, listener: DatagramListener) {
    this.#fd = fd;
    this.#readiness = onReadable(fd, () => this.#receive(listener));
  }

  /** What cannot go is lost, as on the way. */
  send(datagram: Uint8Array, remote: Endpoint): void {
    this.#buffer.send(this.#fd, datagram, remote);
  }

  close(): void {
    this.#isClosed = true;
    this.#readiness.close();
    libcCalls.close(this.#fd);
  }

  #receive(listener: DatagramListener): void {
    for (let count = 0; count < BATCH && !this.#isClosed; count++) {
      const datagram = this.#buffer.receive(this.#fd);
      if (datagram === undefined) return;
      listener(datagram, this.#buffer.source);
    }
  }
}
