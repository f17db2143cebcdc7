/**
 * The packet path of a security association, RFC 4303 section 3.3 (outbound) and 3.4 (inbound), tunnel mode with
 * IPv6 inside. Packets are sealed and opened where they stand; outcomes are numbers, so that a stranger's packet
 * costs neither an allocation nor an exception.
 *
 * A received packet goes through, in this order: sizes; replay check; authentication and decryption; recording of
 * its number; padding, pad length and next header; the inner packet's own length, which cuts TFC padding
 * (RFC 4303 section 2.7). Nothing before the authentication changes any state, so that forged packets move nothing;
 * everything after it counts as received, dummies and nonsense included. With extended sequence numbers a number
 * below the window reads as one of the next lap (RFC 4303 appendix A2.2), so such a packet is refused as not
 * authentic rather than too old.
 *
 * Policy where the RFC leaves a choice: padding that is not 1, 2, 3, ... is refused, though the packet is authentic.
 * Both ends write it so, and a peer that does not is broken or is using it to carry something.
 */

import type { PacketMemory } from "../bytes/packet-memory.ts";
import type { RefusalReason } from "../tunnel/data-plane.ts";
import type { SecurityAssociationKeys } from "../tunnel/tunnel.ts";
import {
  ciphertextLength,
  ESP_HEADER_LENGTH,
  NextHeader,
  paddingLength,
  payloadLength,
  SEQUENCE_OFFSET,
  sealedLength,
  writeTrailer,
} from "./packet.ts";
import type { ReplayWindow } from "./replay-window.ts";
import type { EspTransform } from "./transform.ts";

/** The last number of an SA without extended sequence numbers; it never wraps (RFC 4303 section 3.3.3). */
export const MAX_SEQUENCE = 2 ** 32 - 1;
/** The last number we use of an SA with them, which the RFC ends at 2^64 - 1. */
export const MAX_EXTENDED_SEQUENCE = Number.MAX_SAFE_INTEGER;

const HALF = 2 ** 32;
const IPV6_HEADER_LENGTH = 40;
const IPV6_PAYLOAD_LENGTH_OFFSET = 4;

/** The reasons for which `InboundSa.open` refuses; the code of each is minus its place, counted from 1. */
const REFUSALS = [
  "malformed",
  "replayed",
  "too-old",
  "not-authentic",
  "dummy",
  "unexpected-next-header",
  "inner-malformed",
] as const satisfies readonly RefusalReason[];

const codeOf = (reason: (typeof REFUSALS)[number]): number => -(REFUSALS.indexOf(reason) + 1);
const MALFORMED = codeOf("malformed");
const REPLAYED = codeOf("replayed");
const TOO_OLD = codeOf("too-old");
const NOT_AUTHENTIC = codeOf("not-authentic");
const DUMMY = codeOf("dummy");
const UNEXPECTED_NEXT_HEADER = codeOf("unexpected-next-header");
const INNER_MALFORMED = codeOf("inner-malformed");

/** The reason for a negative `open`. */
export function refusalOf(code: number): RefusalReason {
  return REFUSALS[-code - 1] ?? "malformed";
}

/** Seals packets; owns its transform. */
export class OutboundSa<M extends PacketMemory> {
  readonly spi: number;
  /** Where the inner packet stands in the ESP packet, in octets. */
  readonly innerOffset: number;
  /**
   * Numbers from here on are never used. Whoever keeps numbers across restarts reserves some ahead, in a file, and
   * then raises it.
   */
  limit: number;
  readonly #transform: EspTransform<M>;
  readonly #end: number;
  #next: number;

  /** `next` is the first number to use, 1 for new keys. Throws `RangeError` when it is no sequence number. */
  constructor(options: {
    keys: SecurityAssociationKeys;
    transform: EspTransform<M>;
    next: number;
    limit: number;
  }) {
    const { keys, transform, next, limit } = options;
    if (!(Number.isSafeInteger(next) && next >= 1)) {
      throw new RangeError(`${next} is not a sequence number`);
    }
    this.spi = keys.spi;
    this.innerOffset = ESP_HEADER_LENGTH + transform.sizes.iv;
    this.limit = limit;
    this.#transform = transform;
    this.#end = (keys.extendedSequenceNumbers ? MAX_EXTENDED_SEQUENCE : MAX_SEQUENCE) + 1;
    this.#next = next;
  }

  /** The number of the next packet. */
  get next(): number {
    return this.#next;
  }

  /** Octets of the ESP packet that an inner packet of `length` becomes. */
  sealedLength(length: number): number {
    return sealedLength(length, this.#transform.sizes);
  }

  /**
   * Seals the inner packet of `length` octets that stands at `offset + innerOffset`; the ESP packet begins at
   * `offset`. Returns its octets, or 0, with nothing written, when the numbers are exhausted. Throws `RangeError`
   * when the packet would not fit the memory, which is the caller's mistake.
   */
  seal(memory: M, offset: number, length: number, nextHeader: number = NextHeader.ipv6): number {
    const sequence = this.#next;
    if (!(sequence < this.limit && sequence < this.#end)) return 0;
    const { sizes } = this.#transform;
    const total = sealedLength(length, sizes);
    if (!(offset >= 0 && length >= 0 && offset + total <= memory.octets.length)) {
      throw new RangeError(`no room for an ESP packet of ${total} octets at ${offset}`);
    }
    // Used up before it is used: whatever fails from here on, a nonce is never used twice.
    this.#next = sequence + 1;
    const low = sequence % HALF;
    const inner = offset + this.innerOffset;
    const padding = paddingLength(length, sizes.block);
    const end = writeTrailer(memory, inner + length, padding, nextHeader);
    memory.view.setUint32(offset, this.spi);
    memory.view.setUint32(offset + SEQUENCE_OFFSET, low);
    this.#transform.seal(memory, offset, end - inner, (sequence - low) / HALF, low);
    return total;
  }

  /** Forgets the keys. */
  close(): void {
    this.#transform.close();
  }
}

/** Opens packets; owns its transform and records in its window. */
export class InboundSa<M extends PacketMemory> {
  readonly spi: number;
  /** Where the inner packet stands in the ESP packet, in octets. */
  readonly innerOffset: number;
  readonly window: ReplayWindow;
  readonly #transform: EspTransform<M>;
  readonly #extended: boolean;
  #sequence = 0;

  constructor(options: {
    keys: SecurityAssociationKeys;
    transform: EspTransform<M>;
    window: ReplayWindow;
  }) {
    this.spi = options.keys.spi;
    this.innerOffset = ESP_HEADER_LENGTH + options.transform.sizes.iv;
    this.window = options.window;
    this.#transform = options.transform;
    this.#extended = options.keys.extendedSequenceNumbers;
  }

  /** The number of the last authentic packet, 0 before the first. */
  get sequence(): number {
    return this.#sequence;
  }

  /**
   * Opens the ESP packet of `length` octets at `offset`. Returns the octets of the inner packet, which then stands
   * at `offset + innerOffset`, or a negative number that `refusalOf` explains.
   */
  open(memory: M, offset: number, length: number): number {
    const ciphertext = ciphertextLength(length, this.#transform.sizes);
    if (ciphertext < 0 || !(offset >= 0 && offset + length <= memory.octets.length)) {
      return MALFORMED;
    }
    const low = memory.view.getUint32(offset + SEQUENCE_OFFSET);
    const sequence = this.#extended ? this.window.infer(low) : low;
    const verdict = this.window.check(sequence);
    if (verdict !== "fresh") return verdict === "replayed" ? REPLAYED : TOO_OLD;
    const high = (sequence - low) / HALF;
    if (!this.#transform.open(memory, offset, ciphertext, high)) return NOT_AUTHENTIC;
    this.window.record(sequence);
    this.#sequence = sequence;

    const inner = offset + this.innerOffset;
    const payload = payloadLength(memory, inner, ciphertext);
    if (payload < 0) return MALFORMED;
    const nextHeader = memory.octets[inner + ciphertext - 1];
    if (nextHeader !== NextHeader.ipv6) {
      return nextHeader === NextHeader.none ? DUMMY : UNEXPECTED_NEXT_HEADER;
    }
    return innerLength(memory, inner, payload);
  }

  /** Forgets the keys. */
  close(): void {
    this.#transform.close();
  }
}

/** Octets of the IPv6 packet that begins a payload of `length` octets; what follows it is TFC padding. */
function innerLength(memory: PacketMemory, offset: number, length: number): number {
  if (length < IPV6_HEADER_LENGTH || memory.view.getUint8(offset) >> 4 !== 6) {
    return INNER_MALFORMED;
  }
  const inner = IPV6_HEADER_LENGTH + memory.view.getUint16(offset + IPV6_PAYLOAD_LENGTH_OFFSET);
  return inner <= length ? inner : INNER_MALFORMED;
}
