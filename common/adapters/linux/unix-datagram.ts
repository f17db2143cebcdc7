/** Datagrams to Unix sockets, unix(7), which Node does not have. */

import { checked, Errno, errno, libcCalls } from "./libc.ts";
import { Slab } from "./slab.ts";
import { MSG_DONTWAIT, SOCK_CLOEXEC, SOCK_DGRAM, SOL_SOCKET } from "./socket-numbers.ts";

const AF_UNIX = 1;
const MSG_NOSIGNAL = 0x4000;
const SCM_RIGHTS = 1;

// struct sockaddr_un
const FAMILY = 2;
const LONGEST_PATH = 108;
// struct msghdr, struct iovec
const MSG_NAME = 0;
const MSG_NAMELEN = 8;
const MSG_IOV = 16;
const MSG_IOVLEN = 24;
const MSG_CONTROL = 32;
const MSG_CONTROLLEN = 40;
const HEADER = 56;
const IOVEC = 16;
// struct cmsghdr with one descriptor, padded to eight octets
const CMSG_LENGTH = 20;
const CMSG_SPACE = 24;
const CONTROL = HEADER + IOVEC;
const ADDRESS = CONTROL + CMSG_SPACE;
const PAYLOAD = ADDRESS + 112;

/** A socket that sends to one address: a path, or with a leading `@` a name in the abstract namespace. */
export class UnixDatagramSender {
  readonly #fd: number;
  readonly #address: Uint8Array;
  readonly #operation: string;

  /** Throws `SystemError`, and `RangeError` for an address longer than the kernel takes. */
  constructor(address: string) {
    this.#operation = `send to the socket ${address}`;
    this.#address = encodeAddress(address);
    this.#fd = checked(
      libcCalls.socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0),
      `open a socket to ${address}`,
    );
  }

  /**
   * Never waits: false when the receiver's queue is full. The receiver gets a copy of `descriptor`, if there is one. Throws
   * `SystemError` when there is no receiver.
   */
  send(payload: Uint8Array, descriptor?: number): boolean {
    const slab = new Slab(PAYLOAD + payload.length);
    slab.octets.set(this.#address, ADDRESS);
    slab.octets.set(payload, PAYLOAD);
    slab.setPointer(MSG_NAME, slab.address(ADDRESS, this.#address.length));
    slab.words32[MSG_NAMELEN >> 2] = this.#address.length;
    slab.setPointer(MSG_IOV, slab.address(HEADER, IOVEC));
    slab.setPointer(MSG_IOVLEN, 1);
    slab.setPointer(HEADER, slab.address(PAYLOAD, payload.length));
    slab.setPointer(HEADER + 8, payload.length);
    if (descriptor !== undefined) {
      slab.setPointer(CONTROL, CMSG_LENGTH);
      slab.view.setInt32(CONTROL + 8, SOL_SOCKET, true);
      slab.view.setInt32(CONTROL + 12, SCM_RIGHTS, true);
      slab.view.setInt32(CONTROL + 16, descriptor, true);
      slab.setPointer(MSG_CONTROL, slab.address(CONTROL, CMSG_SPACE));
      slab.setPointer(MSG_CONTROLLEN, CMSG_SPACE);
    }
    const message = slab.address(0, HEADER);
    const sent = libcCalls.sendmsg(this.#fd, message, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent < 0 && errno() === Errno.again) return false;
    checked(sent, this.#operation);
    return true;
  }

  close(): void {
    libcCalls.close(this.#fd);
  }
}

/** A path ends in a zero octet; an abstract name begins with one and has all the octets it is given. */
function encodeAddress(address: string): Uint8Array {
  const name = new TextEncoder().encode(address.startsWith("@") ? address : `${address}\0`);
  if (name.length > LONGEST_PATH) throw new RangeError(`socket address too long: ${address}`);
  if (address.startsWith("@")) name[0] = 0;
  const encoded = new Uint8Array(FAMILY + name.length);
  encoded[0] = AF_UNIX;
  encoded.set(name, FAMILY);
  return encoded;
}
