const INITIAL_CAPACITY = 64;

/** Appends big-endian fields to a buffer that grows. */
export class ByteWriter {
  // A DataView would cost more than all that a short message writes with it.
  #octets: Uint8Array;
  #length = 0;

  /** `capacity`: octets that will be written, where that is known; more may come. */
  constructor(capacity = INITIAL_CAPACITY) {
    this.#octets = new Uint8Array(capacity);
  }

  u8(value: number): this {
    const at = this.#extend(1);
    this.#octets[at] = value;
    return this;
  }

  u16(value: number): this {
    const at = this.#extend(2);
    this.#octets[at] = value >>> 8;
    this.#octets[at + 1] = value;
    return this;
  }

  u32(value: number): this {
    const at = this.#extend(4);
    this.#octets[at] = value >>> 24;
    this.#octets[at + 1] = value >>> 16;
    this.#octets[at + 2] = value >>> 8;
    this.#octets[at + 3] = value;
    return this;
  }

  octets(value: Uint8Array): this {
    const at = this.#extend(value.length);
    this.#octets.set(value, at);
    return this;
  }

  zeros(count: number): this {
    this.#extend(count);
    return this;
  }

  /** What was written; what is written later does not change it. */
  finish(): Uint8Array {
    if (this.#length === this.#octets.length) return this.#octets; // the next octet finds no room in it
    return this.#octets.slice(0, this.#length);
  }

  /** Makes room. Call it first: it may replace the buffer. */
  #extend(count: number): number {
    const at = this.#length;
    this.#length += count;
    if (this.#length > this.#octets.length) {
      const larger = new Uint8Array(Math.max(this.#length, this.#octets.length * 2));
      larger.set(this.#octets);
      this.#octets = larger;
    }
    return at;
  }
}
