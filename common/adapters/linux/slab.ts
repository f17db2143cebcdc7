/**
 * Off-heap memory that never moves, with its address, for system calls and OpenSSL. `address()` is the only place
 * where a pointer is made, and it checks the bounds: nothing outside a slab can be named.
 */

import { endianness } from "node:os";
import koffi from "koffi";
import type { PacketMemory } from "../../bytes/packet-memory.ts";
import { SystemError } from "../../errors.ts";

if (endianness() !== "LE" || koffi.sizeof("void *") !== 8) {
  throw new SystemError("lay out system call structures", "ENOTSUP", {
    hint: "hometun needs a 64-bit little-endian machine",
  });
}

/** A region of zeroed memory; it lives as long as this object is referenced. */
export class Slab implements PacketMemory {
  readonly octets: Uint8Array;
  readonly view: DataView;
  readonly words16: Uint16Array;
  readonly words32: Uint32Array;
  readonly #base: number;
  readonly #length: number;

  /** `length` in octets is rounded up to a multiple of eight. */
  constructor(length: number) {
    // An ArrayBuffer of at least this size lies outside V8's heap, which may move what lies inside.
    const buffer = new ArrayBuffer(Math.max(MINIMUM, (length + 7) & ~7));
    this.octets = new Uint8Array(buffer);
    this.view = new DataView(buffer);
    this.words16 = new Uint16Array(buffer);
    this.words32 = new Uint32Array(buffer);
    this.#base = Number(koffi.address(this.octets));
    this.#length = buffer.byteLength;
  }

  /** The address of `length` octets at `offset`. Throws `RangeError` when they are not all inside. */
  address(offset: number, length: number): number {
    if (!(offset >= 0 && length >= 0 && offset + length <= this.#length)) {
      throw new RangeError(`octets ${offset} to ${offset + length} of a slab of ${this.#length}`);
    }
    return this.#base + offset;
  }

  /** Writes a pointer or a `size_t` at `offset`, a multiple of four. */
  setPointer(offset: number, value: number): void {
    this.words32[offset >> 2] = value >>> 0;
    this.words32[(offset >> 2) + 1] = Math.floor(value / 2 ** 32);
  }
}

const MINIMUM = 128;
