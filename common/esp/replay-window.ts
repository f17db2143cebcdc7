/**
 * The anti-replay window of an inbound SA: RFC 4303 section 3.4.3, as the ring of RFC 6479, with the extended
 * sequence numbers of RFC 4303 appendix A2.
 *
 * A number's bit has a fixed place in the ring, so the window moves by clearing the words it moves into; no bit
 * is ever shifted. Numbers are JavaScript numbers, exact to 2^53: at ten million packets a second that lasts 28
 * years, so the 11 bits of the 64 that are given up are never missed.
 */

import { MalformedError } from "../errors.ts";

/** Numbers the window spans when nothing else is said: about 10 ms of reordering at full speed. */
export const DEFAULT_WINDOW_SIZE = 1024;

const WORD = 32; // bits
const HALF = 2 ** 32; // the two halves of an extended sequence number
const TOP_LENGTH = 8; // octets of a snapshot before the ring

export type ReplayVerdict = "fresh" | "replayed" | "too-old";

export class ReplayWindow {
  /** How many numbers, the top included, are told apart; older ones are refused. */
  readonly size: number;
  readonly #ring: Uint32Array;
  readonly #mask: number;
  #top = 0;

  /** `size` is a multiple of 32. Throws `RangeError`. */
  constructor(size: number = DEFAULT_WINDOW_SIZE) {
    this.size = size;
    this.#ring = new Uint32Array(ringLength(size));
    this.#mask = this.#ring.length - 1;
  }

  /** The highest number recorded; 0 when none was. */
  get top(): number {
    return this.#top;
  }

  /** What is to be done with a packet of this number. Records nothing. Numbers below 1 are never valid. */
  check(sequence: number): ReplayVerdict {
    if (sequence < 1 || sequence <= this.#top - this.size) return "too-old";
    // 2^53 and beyond cannot be told apart; no honest sender gets there.
    if (!(sequence <= Number.MAX_SAFE_INTEGER)) return "too-old";
    if (sequence > this.#top) return "fresh";
    const word = this.#ring[(sequence >>> 5) & this.#mask] ?? 0;
    return (word & (1 << (sequence & 31))) === 0 ? "fresh" : "replayed";
  }

  /** Marks the number as seen. Only for packets that were `fresh` and are authentic. */
  record(sequence: number): void {
    if (this.check(sequence) !== "fresh") return;
    if (sequence > this.#top) {
      this.#clearUpTo(sequence);
      this.#top = sequence;
    }
    // `>>>` keeps the low 32 bits of a larger number, and the ring's length divides what they can name.
    const index = (sequence >>> 5) & this.#mask;
    this.#ring[index] = (this.#ring[index] ?? 0) | (1 << (sequence & 31));
  }

  /**
   * The whole number of a packet whose low 32 bits are `low`, RFC 4303 appendix A2.2: the one that lies in the
   * window or within 2^32 above it. One departure: while the high half is 0 it is never taken for -1, since
   * nothing was sent then; the ICV decides.
   */
  infer(low: number): number {
    const topLow = this.#top % HALF;
    const high = (this.#top - topLow) / HALF;
    const bottom = topLow - this.size + 1;
    if (bottom >= 0) return (low >= bottom ? high : high + 1) * HALF + low;
    return (low >= bottom + HALF && high > 0 ? high - 1 : high) * HALF + low;
  }

  /** Octets of the snapshot of a window of `size`. */
  static snapshotLength(size: number): number {
    return TOP_LENGTH + ringLength(size) * 4;
  }

  /** Writes the top (8 octets, big-endian) and the ring. Throws `RangeError` when `into` has another length. */
  snapshot(into: Uint8Array): void {
    if (into.length !== TOP_LENGTH + this.#ring.byteLength) {
      throw new RangeError(`a snapshot has ${TOP_LENGTH + this.#ring.byteLength} octets`);
    }
    const view = new DataView(into.buffer, into.byteOffset, into.byteLength);
    view.setUint32(0, Math.floor(this.#top / HALF));
    view.setUint32(4, this.#top % HALF);
    for (const [i, word] of this.#ring.entries()) view.setUint32(TOP_LENGTH + i * 4, word);
  }

  /** Takes over a snapshot of a window of the same size. Throws `MalformedError` `snapshot-length` or `snapshot-top`. */
  restore(from: Uint8Array): void {
    if (from.length !== TOP_LENGTH + this.#ring.byteLength) {
      throw malformed("snapshot-length", `snapshot of ${from.length} octets`);
    }
    const view = new DataView(from.buffer, from.byteOffset, from.byteLength);
    const top = view.getUint32(0) * HALF + view.getUint32(4);
    if (!Number.isSafeInteger(top)) throw malformed("snapshot-top", "top is beyond 2^53 - 1");
    this.#top = top;
    for (const i of this.#ring.keys()) this.#ring[i] = view.getUint32(TOP_LENGTH + i * 4);
  }

  /** Clears the words between the one that holds the top and the one that holds `sequence`, that one included. */
  #clearUpTo(sequence: number): void {
    const first = this.#top >>> 5;
    const words = Math.floor(sequence / WORD) - Math.floor(this.#top / WORD);
    if (words >= this.#ring.length) {
      this.#ring.fill(0);
      return;
    }
    for (let i = 1; i <= words; i++) this.#ring[(first + i) & this.#mask] = 0;
  }
}

/**
 * Words of the ring: one more than the size fills, because the top's word is filled from its start, rounded up to
 * a power of two so that a mask finds the word.
 */
function ringLength(size: number): number {
  if (!(Number.isSafeInteger(size) && size > 0 && size % WORD === 0 && size <= 2 ** 20)) {
    throw new RangeError(`a replay window's size is a multiple of ${WORD}, not ${size}`);
  }
  let length = 1;
  while (length < size / WORD + 1) length *= 2;
  return length;
}

function malformed(code: string, detail: string): MalformedError {
  return new MalformedError("replay-window", code, detail);
}
