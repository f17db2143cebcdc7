/**
 * `struct mmsghdr` arrays for sendmmsg(2) and recvmmsg(2), laid out once; per call only lengths change.
 *
 *     headers (64 octets each) │ iovecs (16) │ names (16) │ control (32)
 */

import { Slab } from "./slab.ts";

const HEADER = 64; // struct mmsghdr: struct msghdr (56), msg_len (4), padding
const IOVEC = 16;
const NAME = 16; // struct sockaddr_in
const CONTROL = 32; // room for one control message with an int

// struct msghdr
const MSG_NAME = 0;
const MSG_NAMELEN = 8;
const MSG_IOV = 16;
const MSG_IOVLEN = 24;
const MSG_CONTROL = 32;
const MSG_CONTROLLEN = 40;
// struct mmsghdr
const MSG_LEN = 56;

export class MessageVector {
  readonly count: number;
  readonly #slab: Slab;
  readonly #iovecs: number;
  readonly #names: number;
  readonly #controls: number;

  /** Each message has one buffer: `bufferOf(index)` says where and how long it is. */
  constructor(count: number, bufferOf: (index: number) => { address: number; length: number }) {
    this.count = count;
    this.#iovecs = count * HEADER;
    this.#names = this.#iovecs + count * IOVEC;
    this.#controls = this.#names + count * NAME;
    this.#slab = new Slab(this.#controls + count * CONTROL);
    for (let index = 0; index < count; index++) {
      const { address, length } = bufferOf(index);
      const header = index * HEADER;
      const iovec = this.#iovecs + index * IOVEC;
      this.#slab.setPointer(iovec, address);
      this.#slab.setPointer(iovec + 8, length);
      this.#slab.setPointer(
        header + MSG_NAME,
        this.#slab.address(this.#names + index * NAME, NAME),
      );
      this.#slab.words32[(header + MSG_NAMELEN) >> 2] = NAME;
      this.#slab.setPointer(header + MSG_IOV, this.#slab.address(iovec, IOVEC));
      this.#slab.setPointer(header + MSG_IOVLEN, 1);
    }
  }

  /** For sendmmsg and recvmmsg: the address of message `first`; the messages after it follow. */
  address(first: number): number {
    return this.#slab.address(first * HEADER, (this.count - first) * HEADER);
  }

  /** Octets that recvmmsg put into message `index`. */
  receivedLength(index: number): number {
    return this.#slab.words32[(index * HEADER + MSG_LEN) >> 2] ?? 0;
  }

  /** Octets of message `index` to send. */
  setLength(index: number, length: number): void {
    this.#slab.words32[(this.#iovecs + index * IOVEC + 8) >> 2] = length;
  }

  length(index: number): number {
    return this.#slab.words32[(this.#iovecs + index * IOVEC + 8) >> 2] ?? 0;
  }

  /** The iovec of message `first`; those of the messages after it follow. */
  iovecAddress(first: number): number {
    return this.#slab.address(this.#iovecs + first * IOVEC, (this.count - first) * IOVEC);
  }

  /** Sets where messages 0 to `count` - 1 go: `sockaddr_in`'s first two words, native order. */
  setDestination(count: number, familyAndPort: number, address: number): void {
    for (let index = 0; index < count; index++) {
      const name = (this.#names + index * NAME) >> 2;
      this.#slab.words32[name] = familyAndPort;
      this.#slab.words32[name + 1] = address;
    }
  }

  /** Family and port of a received message's source, native order as it lies in memory. */
  sourceFamilyAndPort(index: number): number {
    return this.#slab.words32[(this.#names + index * NAME) >> 2] ?? 0;
  }

  /** IPv4 address of a received message's source, as it lies in memory. */
  sourceAddress(index: number): number {
    return this.#slab.words32[((this.#names + index * NAME) >> 2) + 1] ?? 0;
  }

  /** Makes every message ready to receive again: the kernel overwrote these lengths. */
  prepareToReceive(withControl: boolean): void {
    for (let index = 0; index < this.count; index++) {
      const header = index * HEADER;
      this.#slab.words32[(header + MSG_NAMELEN) >> 2] = NAME;
      if (withControl) {
        const control = this.#controls + index * CONTROL;
        this.#slab.setPointer(header + MSG_CONTROL, this.#slab.address(control, CONTROL));
        this.#slab.setPointer(header + MSG_CONTROLLEN, CONTROL);
      }
    }
  }

  /** The int of a received control message of this level and type, or undefined. */
  receivedControl(index: number, level: number, type: number): number | undefined {
    const words = this.#slab.words32;
    // struct cmsghdr: cmsg_len (8), cmsg_level (4), cmsg_type (4), then the data
    if ((words[(index * HEADER + MSG_CONTROLLEN) >> 2] ?? 0) < 20) return undefined;
    const control = (this.#controls + index * CONTROL) >> 2;
    if (words[control + 2] !== level || words[control + 3] !== type) return undefined;
    return words[control + 4];
  }
}

/** One `struct msghdr` with several iovecs and one control message of two octets, for UDP_SEGMENT. */
export class SegmentedMessage {
  readonly #slab = new Slab(HEADER + NAME + CONTROL);

  constructor(level: number, type: number) {
    const control = HEADER + NAME;
    this.#slab.setPointer(MSG_NAME, this.#slab.address(HEADER, NAME));
    this.#slab.words32[MSG_NAMELEN >> 2] = NAME;
    this.#slab.setPointer(MSG_CONTROL, this.#slab.address(control, CONTROL));
    this.#slab.setPointer(MSG_CONTROLLEN, 24); // CMSG_SPACE(2)
    this.#slab.setPointer(control, 18); // CMSG_LEN(2)
    this.#slab.view.setInt32(control + 8, level, true);
    this.#slab.view.setInt32(control + 12, type, true);
  }

  /** The message's address for sendmsg, once it says: these iovecs, in segments of so many octets, to there. */
  prepare(message: {
    iovecs: number;
    count: number;
    segment: number;
    familyAndPort: number;
    address: number;
  }): number {
    this.#slab.words32[HEADER >> 2] = message.familyAndPort;
    this.#slab.words32[(HEADER >> 2) + 1] = message.address;
    this.#slab.setPointer(MSG_IOV, message.iovecs);
    this.#slab.setPointer(MSG_IOVLEN, message.count);
    this.#slab.view.setUint16(HEADER + NAME + 16, message.segment, true);
    return this.#slab.address(0, HEADER);
  }
}
