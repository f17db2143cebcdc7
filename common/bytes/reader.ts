import { MalformedError } from "../errors.ts";

/** Reads big-endian fields in order. A short read throws; it never returns less than was asked. */
export class ByteReader {
  readonly #layer: string;
  readonly #octets: Uint8Array;
  readonly #view: DataView;
  #offset = 0;

  /** `layer` names the protocol in the errors. */
  constructor(layer: string, octets: Uint8Array) {
    this.#layer = layer;
    this.#octets = octets;
    this.#view = new DataView(octets.buffer, octets.byteOffset, octets.byteLength);
  }

  get remaining(): number {
    return this.#octets.byteLength - this.#offset;
  }

  u8(): number {
    return this.#view.getUint8(this.#advance(1));
  }

  u16(): number {
    return this.#view.getUint16(this.#advance(2));
  }

  u32(): number {
    return this.#view.getUint32(this.#advance(4));
  }

  /** A view of the next `length` octets, not a copy. */
  octets(length: number): Uint8Array {
    const start = this.#advance(length);
    return this.#octets.subarray(start, start + length);
  }

  skip(length: number): void {
    this.#advance(length);
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
