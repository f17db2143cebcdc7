import { MalformedError } from "../errors.ts";

/** Reads big-endian fields in order. A short read throws; it never returns less than was asked. */
export class ByteReader {
  readonly #layer: string;
  // A DataView would cost more than all that is read of a short structure.
  readonly #octets: Uint8Array;
  #offset = 0;

  /** `layer` names the protocol in the errors. */
  constructor(layer: string, octets: Uint8Array) {
    this.#layer = layer;
    this.#octets = octets;
  }

  get remaining(): number {
    return this.#octets.length - this.#offset;
  }

  u8(): number {
    return this.#at(this.#advance(1));
  }

  u16(): number {
    const at = this.#advance(2);
    return (this.#at(at) << 8) | this.#at(at + 1);
  }

  u32(): number {
    const at = this.#advance(4);
    const low = (this.#at(at + 1) << 16) | (this.#at(at + 2) << 8) | this.#at(at + 3);
    return this.#at(at) * 0x1000000 + low;
  }

  /** A view of the next `length` octets, not a copy. */
  octets(length: number): Uint8Array {
    const start = this.#advance(length);
    return this.#octets.subarray(start, start + length);
  }

  skip(length: number): void {
    this.#advance(length);
  }

  #at(offset: number): number {
    return this.#octets[offset] ?? 0;
  }

  #advance(length: number): number {
    if (length < 0 || length > this.remaining) {
      throw new MalformedError(
        this.#layer,
        "truncated",
        `need ${length} octets at offset ${this.#offset}, have ${this.remaining}`,
      );
    }
    const start = this.#offset;
    this.#offset += length;
    return start;
  }
}
