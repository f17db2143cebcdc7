/**
 * Probes that only their receiver can answer: ICMPv6 Echo Requests (RFC 4443 section 4.1) with octets that cannot be
 * guessed. A Neighbor Solicitation would not do: its answer holds nothing of the question, so a home could answer
 * one that it never saw, and have its traffic sent to a stranger's address.
 *
 * What is outstanding is bounded: the last few probes of each home.
 */

import { ByteReader } from "../../common/bytes/reader.ts";
import { ByteWriter } from "../../common/bytes/writer.ts";
import { MalformedError } from "../../common/errors.ts";
import { decodeIcmpv6, encodeIcmpv6, Icmpv6Type } from "../../common/ip/icmpv6.ts";
import { PROBE_IDENTIFIER } from "../../common/tunnel/probe.ts";

/** A guess succeeds with probability 2^-64. */
const NONCE = 8; // octets
/** Probes of one home that may still be answered. */
const OUTSTANDING = 3;

interface Probe {
  readonly nonce: Uint8Array;
  readonly move: number;
}

/** The outstanding probes of one home. */
export class ProbeBook {
  readonly #probes: Probe[] = [];
  #sequence = 0;

  /** The whole ICMPv6 message of a new probe, its checksum zero. `nonce` is 8 random octets. */
  issue(move: number, nonce: Uint8Array): Uint8Array {
    if (nonce.length !== NONCE) throw new RangeError(`a nonce has ${NONCE} octets`);
    if (this.#probes.length === OUTSTANDING) this.#probes.shift();
    this.#probes.push({ nonce, move });
    this.#sequence = (this.#sequence + 1) & 0xffff;
    const body = new ByteWriter().u16(PROBE_IDENTIFIER).u16(this.#sequence).octets(nonce).finish();
    return encodeIcmpv6({ type: Icmpv6Type.echoRequest, code: 0, body });
  }

  /**
   * The move that an Echo Reply answers, or undefined when it answers none of our probes. Each probe is answered
   * once. Never throws.
   */
  redeem(icmp: Uint8Array): number | undefined {
    const nonce = nonceOf(icmp);
    if (nonce === undefined) return undefined;
    const index = this.#probes.findIndex((probe) => isEqual(probe.nonce, nonce));
    return this.#probes.splice(index, index < 0 ? 0 : 1)[0]?.move;
  }
}

function nonceOf(icmp: Uint8Array): Uint8Array | undefined {
  try {
    const { type, body } = decodeIcmpv6(icmp);
    const reader = new ByteReader("icmpv6", body);
    const identifier = reader.u16();
    reader.skip(2);
    const isOurs = type === Icmpv6Type.echoReply && identifier === PROBE_IDENTIFIER;
    return isOurs && reader.remaining === NONCE ? reader.octets(NONCE) : undefined;
  } catch (error) {
    if (error instanceof MalformedError) return undefined;
    throw error;
  }
}

function isEqual(a: Uint8Array, b: Uint8Array): boolean {
  return a.every((octet, index) => octet === b[index]);
}
