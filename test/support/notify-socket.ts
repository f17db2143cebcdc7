/** A service manager's end of sd_notify(3), for tests: a Unix datagram socket that remembers what it was told. */

import {
  checked,
  libcCalls,
  onReadable,
  type Readiness,
} from "../../common/adapters/linux/libc.ts";
import { Slab } from "../../common/adapters/linux/slab.ts";

const AF_UNIX = 1;
const SOCK_DGRAM = 2;
const LONGEST = 4096;

export class NotifySocket {
  /** Datagrams in the order they came, each split into its assignments. */
  readonly heard: string[][] = [];
  readonly #fd: number;
  readonly #slab = new Slab(LONGEST);
  readonly #readiness: Readiness;

  /** `address` as in `NOTIFY_SOCKET`. */
  constructor(address: string) {
    const abstract = address.startsWith("@");
    const name = Buffer.from(abstract ? `\0${address.slice(1)}` : `${address}\0`);
    this.#fd = checked(libcCalls.socket(AF_UNIX, SOCK_DGRAM, 0), "open");
    this.#slab.octets.set([AF_UNIX, 0, ...name]);
    const length = 2 + name.length;
    checked(libcCalls.bind(this.#fd, this.#slab.address(0, length), length), "bind");
    this.#readiness = onReadable(this.#fd, () => {
      const got = libcCalls.read(this.#fd, this.#slab.address(0, LONGEST), LONGEST);
      this.heard.push(Buffer.from(this.#slab.octets.subarray(0, got)).toString().split("\n"));
    });
  }

  close(): void {
    this.#readiness.close();
    libcCalls.close(this.#fd);
  }
}
