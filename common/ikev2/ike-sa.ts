/**
 * One IKE SA as messages see it: who may say what when. It counts message IDs, keeps the window of one request
 * in each direction (RFC 7296 section 2.3), repeats requests until they are answered and answers to requests that
 * come again (section 2.1), seals and opens, cuts into fragments and puts them together (RFC 7383). What the
 * messages mean is the session's affair.
 */

import { MalformedError } from "../errors.ts";
import type { Instant } from "../time.ts";
import type { IkeSuite } from "./algorithms.ts";
import type { RandomSource } from "./key-agreement.ts";
import type { IkeKeys } from "./keys.ts";
import { type DirectionKeys, openSealed, Sealer } from "./protection.ts";
import { Retransmission, type RetransmissionTimes } from "./retransmission.ts";
import { HEADER_LENGTH, type IkeHeader, type IkeSpi } from "./wire/header.ts";
import { decodePayloads, encodePayloads, firstPayloadType, type Payload } from "./wire/message.ts";
import { decodePayloadChain, PayloadType } from "./wire/payload-chain.ts";
import {
  decodeEncryptedFragment,
  FRAGMENT_HEADER_LENGTH,
} from "./wire/payloads/encrypted-fragment.ts";

/** Message IDs never wrap, section 2.2: long before that the SA must have been rekeyed. */
const MAXIMUM_MESSAGE_ID = 0xffffffff;
/** Fragments of one message, and octets of it put together: what an authenticated peer can make us hold. */
const MAXIMUM_FRAGMENTS = 64;
const MAXIMUM_MESSAGE_LENGTH = 65_536;

export interface IkeSaOptions {
  /** Whether we began the IKE SA: for a rekeyed one, whether we began the rekey. */
  readonly isInitiator: boolean;
  readonly initiatorSpi: IkeSpi;
  readonly responderSpi: IkeSpi;
  readonly suite: IkeSuite;
  readonly keys: IkeKeys;
  /** Our next request's number, and that of the peer's: 1 and 1 after IKE_SA_INIT of an initiator. */
  readonly firstMessageIds: { readonly ours: number; readonly peers: number };
  /** The peer puts fragments together, RFC 7383 section 2.3. */
  readonly fragmentation: boolean;
  /** Octets of a message beyond which it is sent in fragments. */
  readonly fragmentLimit: number;
  readonly times: RetransmissionTimes;
  readonly random: RandomSource;
}

export type DropReason =
  | "not-encrypted"
  | "wrong-direction"
  | "unexpected-message-id"
  | "unexpected-response"
  | "not-authentic"
  | "malformed";

export type Received =
  | {
      readonly kind: "request" | "response";
      readonly exchange: number;
      readonly payloads: readonly Payload[];
      readonly unsupportedCritical: readonly number[];
    }
  /** The peer asks again what was answered: the same answer, once more. */
  | { readonly kind: "repeated"; readonly answer: readonly Uint8Array[] }
  /** A fragment; others are missing. */
  | { readonly kind: "fragment" }
  /** Authentic, but it breaks its format: a request is answered with INVALID_SYNTAX (section 2.21.3). */
  | {
      readonly kind: "invalid";
      readonly response: boolean;
      readonly exchange: number;
      readonly error: MalformedError;
    }
  | { readonly kind: "drop"; readonly reason: DropReason };

/** What a retransmission timer did. */
export type Repetition =
  | { readonly kind: "repeat"; readonly messages: readonly Uint8Array[] }
  | { readonly kind: "gave-up" };

interface PendingRequest {
  readonly messageId: number;
  readonly exchange: number;
  readonly retransmission: Retransmission;
}

interface Assembly {
  readonly messageId: number;
  readonly response: boolean;
  readonly total: number;
  readonly pieces: Map<number, Uint8Array>;
  first: number;
  length: number;
}

export class IkeSa {
  readonly isInitiator: boolean;
  readonly initiatorSpi: IkeSpi;
  readonly responderSpi: IkeSpi;
  readonly suite: IkeSuite;
  readonly keys: IkeKeys;
  readonly fragmentation: boolean;
  readonly #options: IkeSaOptions;
  readonly #sealer: Sealer;
  readonly #inbound: DirectionKeys;
  #nextRequest: number;
  #expectedRequest: number;
  #pending: PendingRequest | undefined;
  #lastAnswer: readonly Uint8Array[] = [];
  /** At most one in each direction, since the window is one. */
  #assemblies: Assembly[] = [];

  constructor(options: IkeSaOptions) {
    const { keys, suite, isInitiator } = options;
    const ofInitiator = { encryption: keys.ei, integrity: keys.ai };
    const ofResponder = { encryption: keys.er, integrity: keys.ar };
    this.isInitiator = isInitiator;
    this.initiatorSpi = options.initiatorSpi;
    this.responderSpi = options.responderSpi;
    this.suite = suite;
    this.keys = keys;
    this.fragmentation = options.fragmentation;
    this.#options = options;
    this.#sealer = new Sealer(
      suite.encryption,
      isInitiator ? ofInitiator : ofResponder,
      options.random,
    );
    this.#inbound = isInitiator ? ofResponder : ofInitiator;
    this.#nextRequest = options.firstMessageIds.ours;
    this.#expectedRequest = options.firstMessageIds.peers;
  }

  /** By which of its SPIs the peer's messages find this SA. */
  get localSpi(): IkeSpi {
    return this.isInitiator ? this.initiatorSpi : this.responderSpi;
  }

  /** A request of ours is not answered yet: another has to wait. */
  get isWaiting(): boolean {
    return this.#pending !== undefined;
  }

  get deadline(): Instant | undefined {
    return this.#pending?.retransmission.deadline;
  }

  /** The messages to send. The caller has seen that `isWaiting` is false. */
  request(exchange: number, payloads: readonly Payload[], now: Instant): readonly Uint8Array[] {
    if (this.#pending !== undefined) throw new Error("a request is pending already");
    if (this.#nextRequest > MAXIMUM_MESSAGE_ID) throw new RangeError("message IDs are used up");
    const messageId = this.#nextRequest++;
    const messages = this.#sealed({ exchange, messageId, response: false }, payloads);
    const retransmission = new Retransmission(messages, this.#options.times, now);
    this.#pending = { messageId, exchange, retransmission };
    return messages;
  }

  /** Answers the request that `receive` gave last. */
  respond(exchange: number, payloads: readonly Payload[]): readonly Uint8Array[] {
    const messageId = this.#expectedRequest++;
    this.#lastAnswer = this.#sealed({ exchange, messageId, response: true }, payloads);
    return this.#lastAnswer;
  }

  receive(header: IkeHeader, message: Uint8Array): Received {
    if (header.fromInitiator === this.isInitiator) return drop("wrong-direction");
    const isExpected = header.response
      ? header.messageId === this.#pending?.messageId && header.exchange === this.#pending.exchange
      : header.messageId === this.#expectedRequest;
    const isRepeated =
      !header.response &&
      header.messageId === this.#expectedRequest - 1 &&
      this.#lastAnswer.length > 0;
    if (!isExpected && !isRepeated) {
      return drop(header.response ? "unexpected-response" : "unexpected-message-id");
    }
    try {
      return this.#open(header, message, isRepeated);
    } catch (error) {
      if (error instanceof MalformedError) return drop("malformed");
      throw error;
    }
  }

  /** What of ours is not answered yet, to be sent again. */
  get pending(): readonly Uint8Array[] {
    return this.#pending?.retransmission.messages ?? [];
  }

  /** Sends the pending request again at once, as after an address change; its tries start anew. */
  repeatNow(now: Instant): readonly Uint8Array[] {
    return this.#pending?.retransmission.restart(now) ?? [];
  }

  handleDeadline(now: Instant): Repetition | undefined {
    const pending = this.#pending;
    if (pending === undefined || pending.retransmission.deadline > now) return undefined;
    const messages = pending.retransmission.handleDeadline(now);
    if (messages !== undefined) return { kind: "repeat", messages };
    this.#pending = undefined;
    return { kind: "gave-up" };
  }

  #open(header: IkeHeader, message: Uint8Array, isRepeated: boolean): Received {
    const outer = decodePayloadChain(header.nextPayload, message.subarray(HEADER_LENGTH));
    const last = outer.payloads.at(-1);
    if (last === undefined) return drop("not-encrypted");
    const bodyAt = message.length - last.body.length;
    if (last.type === PayloadType.encrypted) {
      const plain = this.#decrypted(message.subarray(0, bodyAt), last.body);
      if (plain === undefined) return drop("not-authentic");
      if (isRepeated) return { kind: "repeated", answer: this.#lastAnswer };
      return this.#understood(header, outer.inner, plain);
    }
    if (last.type !== PayloadType.encryptedFragment) return drop("not-encrypted");
    const fragment = decodeEncryptedFragment(last.body);
    const associated = message.subarray(0, bodyAt + FRAGMENT_HEADER_LENGTH);
    const plain = this.#decrypted(associated, fragment.sealed);
    if (plain === undefined) return drop("not-authentic");
    if (isRepeated) {
      // One answer for all the fragments of a repeated request, RFC 7383 section 2.6.1.
      return fragment.number === 1
        ? { kind: "repeated", answer: this.#lastAnswer }
        : { kind: "fragment" };
    }
    return this.#assembled(header, outer.inner, fragment.number, fragment.total, plain);
  }

  #decrypted(associated: Uint8Array, sealed: Uint8Array): Uint8Array | undefined {
    return openSealed(this.suite.encryption, this.#inbound, associated, sealed);
  }

  /** RFC 7383 section 2.6: only authentic fragments are kept. */
  #assembled(
    header: IkeHeader,
    inner: number,
    number: number,
    total: number,
    plain: Uint8Array,
  ): Received {
    const { messageId, response } = header;
    if (total > MAXIMUM_FRAGMENTS) return drop("malformed");
    let assembly = this.#assemblies.find(
      (one) => one.messageId === messageId && one.response === response,
    );
    if (assembly !== undefined && total < assembly.total) return { kind: "fragment" };
    if (assembly === undefined || total > assembly.total) {
      // More fragments than before: the sender found out that the path is narrower.
      assembly = { messageId, response, total, pieces: new Map(), first: 0, length: 0 };
      this.#assemblies = [...this.#assemblies.filter((one) => one.response !== response), assembly];
    }
    if (!assembly.pieces.has(number)) {
      assembly.length += plain.length;
      if (assembly.length > MAXIMUM_MESSAGE_LENGTH) return drop("malformed");
      assembly.pieces.set(number, plain);
      if (number === 1) assembly.first = inner;
    }
    if (assembly.pieces.size < total) return { kind: "fragment" };
    const whole = new Uint8Array(assembly.length);
    let offset = 0;
    for (let piece = 1; piece <= total; piece++) {
      const octets = assembly.pieces.get(piece) ?? new Uint8Array(0);
      whole.set(octets, offset);
      offset += octets.length;
    }
    return this.#understood(header, assembly.first, whole);
  }

  #understood(header: IkeHeader, first: number, plain: Uint8Array): Received {
    const { response, exchange } = header;
    this.#assemblies = this.#assemblies.filter((one) => one.response !== response);
    if (response) this.#pending = undefined;
    try {
      const decoded = decodePayloads(decodePayloadChain(first, plain).payloads);
      return { kind: response ? "response" : "request", exchange, ...decoded };
    } catch (error) {
      if (!(error instanceof MalformedError)) throw error;
      return { kind: "invalid", response, exchange, error };
    }
  }

  #sealed(
    about: { readonly exchange: number; readonly messageId: number; readonly response: boolean },
    payloads: readonly Payload[],
  ): readonly Uint8Array[] {
    const header = {
      ...about,
      initiatorSpi: this.initiatorSpi,
      responderSpi: this.responderSpi,
      fromInitiator: this.isInitiator,
    };
    const first = firstPayloadType(payloads);
    const plain = encodePayloads(payloads);
    const { fragmentLimit } = this.#options;
    if (!this.fragmentation || this.#sealer.sealedLength(plain.length) <= fragmentLimit) {
      return [this.#sealer.message(header, first, plain)];
    }
    return this.#sealer.fragments(header, first, plain, fragmentLimit);
  }
}

function drop(reason: DropReason): Received {
  return { kind: "drop", reason };
}
