/**
 * What the kernel threw away of what came for a socket, because its filter said so or its queue was full: the last word
 * of SO_MEMINFO, linux/sock_diag.h. A raw socket's filter is not counted there.
 */

import { libcCalls } from "./libc.ts";
import { Slab } from "./slab.ts";
import { SO_MEMINFO, SOL_SOCKET } from "./socket-numbers.ts";

const WORDS = 9; // SK_MEMINFO_VARS
const DROPS = 8; // SK_MEMINFO_DROPS
const WORD = 4; // octets
const VALUES = 2 ** 32;

/** A count that goes on where the kernel's 32 bits begin anew, if it is read in between. */
export class SocketDrops {
  readonly #fd: number;
  /** The words, and their length behind them. */
  readonly #memory = new Slab((WORDS + 1) * WORD);
  #last = 0;
  #count = 0;

  constructor(fd: number) {
    this.#fd = fd;
  }

  /** Packets since the socket was opened; as before where the kernel does not say (before Linux 4.12). */
  read(): number {
    const { view } = this.#memory;
    view.setUint32(WORDS * WORD, WORDS * WORD, true);
    const values = this.#memory.address(0, WORDS * WORD);
    const length = this.#memory.address(WORDS * WORD, WORD);
    const result = libcCalls.getsockopt(this.#fd, SOL_SOCKET, SO_MEMINFO, values, length);
    if (result < 0 || view.getUint32(WORDS * WORD, true) < WORDS * WORD) return this.#count;
    const drops = view.getUint32(DROPS * WORD, true);
    this.#count += (drops - this.#last + VALUES) % VALUES;
    this.#last = drops;
    return this.#count;
  }
}
