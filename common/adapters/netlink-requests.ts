/**
 * Requests to the kernel over netlink that are carried out before the call returns, many of them a system call. The
 * kernel handles what is written to these sockets within the write, and the answers lie ready when it returns.
 */

import { SystemError } from "../errors.ts";
import {
  decodeNetlinkMessages,
  encodeNetlinkMessages,
  NetlinkFlag,
  type NetlinkMessage,
  NetlinkType,
} from "../netlink/message.ts";
import { decodeAcknowledgement } from "../rtnetlink/acknowledgement.ts";
import { checked, Errno, errno, errnoName, libcCalls, PERMISSION_HINTS } from "./linux/libc.ts";
import { setNetlinkOptions } from "./linux/netlink-options.ts";
import { Slab } from "./linux/slab.ts";
import { AF_NETLINK, SOCK_CLOEXEC, SOCK_NONBLOCK, SOCK_RAW } from "./linux/socket-numbers.ts";

/** Octets of one answer; the kernel makes dumps of at most half of it. */
const ANSWER = 65_536;
/** One write: what the kernel takes is limited by the send buffer, and all answers must fit the receive buffer. */
const MOST_OCTETS = 32_768;
const MOST_MESSAGES = 128;
/** A dump during which something changed may have missed it. */
const DUMP_ATTEMPTS = 4;
const NO_DESCRIPTOR = -1;

export interface NetlinkRequest {
  /** What is being done, for the error; lower case. */
  readonly operation: string;
  readonly type: number;
  readonly flags?: number;
  readonly payload: Uint8Array;
}

export class NetlinkRequests {
  #fd: number;
  readonly #hints: Readonly<Record<string, string>>;
  readonly #answer = new Slab(ANSWER);
  readonly #question = new Slab(2 * MOST_OCTETS);
  #sequence = 0;

  /** `protocol` as in linux/netlink.h; `hints` by error name, for errors without words. Throws `SystemError`. */
  constructor(protocol: number, hints: Readonly<Record<string, string>> = PERMISSION_HINTS) {
    const operation = "open a netlink socket";
    const type = SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC;
    this.#hints = hints;
    this.#fd = checked(libcCalls.socket(AF_NETLINK, type, protocol), operation, hints);
    setNetlinkOptions(this.#fd, operation);
  }

  /** Carries out all of them, one after the other. Throws `SystemError` for the first that was refused. */
  perform(requests: readonly NetlinkRequest[]): void {
    const refused = this.attempt(requests).find((error) => error !== undefined);
    if (refused !== undefined) throw refused;
  }

  /** The same, where a refusal is an answer too: one for each request, undefined where it was carried out. */
  attempt(requests: readonly NetlinkRequest[]): (SystemError | undefined)[] {
    const results: (SystemError | undefined)[] = [];
    for (const part of portions(requests)) {
      const first = this.#write(part, NetlinkFlag.acknowledge);
      for (let answered = 0; answered < part.length; ) {
        for (const message of this.#read("read the kernel's answers")) {
          const request = part[message.sequence - first];
          if (request === undefined || message.type !== NetlinkType.error) continue;
          results.push(this.#refusalIn(message, request.operation));
          answered += 1;
        }
      }
    }
    return results;
  }

  /** The payload of the answer to one question. Throws `SystemError`. */
  ask(request: NetlinkRequest): Uint8Array {
    const sequence = this.#write([request], 0);
    for (;;) {
      for (const message of this.#read(request.operation)) {
        if (message.sequence !== sequence) continue;
        if (message.type !== NetlinkType.error) return message.payload.slice();
        throw (
          this.#refusalIn(message, request.operation) ??
          new SystemError(request.operation, "ENODATA")
        );
      }
    }
  }

  /** All answers; `keep` says which, by payload, before it is copied. Throws `SystemError`. */
  dump(request: NetlinkRequest, keep: (payload: Uint8Array) => boolean): Uint8Array[] {
    for (let attempt = 1; ; attempt++) {
      const { kept, interrupted } = this.#dumpOnce(request, keep);
      if (!interrupted || attempt === DUMP_ATTEMPTS) return kept;
    }
  }

  close(): void {
    libcCalls.close(this.#fd);
    // Whoever asks late must not reach somebody else's.
    this.#fd = NO_DESCRIPTOR;
  }

  #dumpOnce(request: NetlinkRequest, keep: (payload: Uint8Array) => boolean) {
    const sequence = this.#write([request], NetlinkFlag.dump);
    const kept: Uint8Array[] = [];
    let interrupted = false;
    for (;;) {
      for (const message of this.#read(request.operation)) {
        if (message.sequence !== sequence) continue;
        interrupted ||= (message.flags & NetlinkFlag.dumpInterrupted) !== 0;
        if (message.type === NetlinkType.done) return { kept, interrupted };
        if (message.type === NetlinkType.error) {
          throw (
            this.#refusalIn(message, request.operation) ??
            new SystemError(request.operation, "EPROTO")
          );
        }
        if (keep(message.payload)) kept.push(message.payload.slice());
      }
    }
  }

  /** Returns the sequence number of the first. */
  #write(requests: readonly NetlinkRequest[], flags: number): number {
    const sequence = this.#sequence + 1;
    this.#sequence += requests.length;
    const messages = requests.map((request, index) => ({
      type: request.type,
      flags: NetlinkFlag.request | flags | (request.flags ?? 0),
      sequence: sequence + index,
      payload: request.payload,
    }));
    const octets = encodeNetlinkMessages(messages);
    this.#question.octets.set(octets);
    const address = this.#question.address(0, octets.length);
    const operation = requests[0]?.operation ?? "ask the kernel";
    this.#discard();
    let written: number;
    do written = libcCalls.write(this.#fd, address, octets.length);
    while (written < 0 && errno() === Errno.interrupted);
    checked(written, operation, this.#hints);
    return sequence;
  }

  #read(operation: string): NetlinkMessage[] {
    const address = this.#answer.address(0, ANSWER);
    let length: number;
    do length = libcCalls.read(this.#fd, address, ANSWER);
    while (length < 0 && errno() === Errno.interrupted);
    checked(length, operation, this.#hints);
    return decodeNetlinkMessages(this.#answer.octets.subarray(0, length));
  }

  /** What an earlier question left behind: the acknowledgement after an answer, the rest of a broken dump. */
  #discard(): void {
    const address = this.#answer.address(0, ANSWER);
    while (libcCalls.read(this.#fd, address, ANSWER) >= 0 || errno() === Errno.interrupted);
  }

  #refusalIn({ payload, flags }: NetlinkMessage, operation: string): SystemError | undefined {
    const { errno: number, text } = decodeAcknowledgement(payload, flags);
    if (number === 0) return undefined;
    const code = errnoName(number);
    const hint = text ?? this.#hints[code];
    return new SystemError(operation, code, hint === undefined ? {} : { hint });
  }
}

function* portions(requests: readonly NetlinkRequest[]): Iterable<NetlinkRequest[]> {
  let part: NetlinkRequest[] = [];
  let octets = 0;
  for (const request of requests) {
    if (part.length === MOST_MESSAGES || octets + request.payload.length > MOST_OCTETS) {
      yield part;
      part = [];
      octets = 0;
    }
    part.push(request);
    octets += request.payload.length + 32; // header and alignment
  }
  if (part.length > 0) yield part;
}
