/**
 * NETLINK_ROUTE: questions to the kernel and hints from it, on two sockets, so that a flood of notifications
 * delays no answer. Payloads are made and read in `rtnetlink/`.
 */

import { readdirSync } from "node:fs";
import { createNetlink, type NetlinkMessage, type NetlinkSocket, Protocol } from "netlink";
import { SystemError } from "../errors.ts";
import { decodeAcknowledgement } from "../rtnetlink/acknowledgement.ts";
import { errnoName, libcCalls, PERMISSION_HINTS } from "./linux/libc.ts";
import { setNetlinkOptions } from "./linux/netlink-options.ts";
import { Slab } from "./linux/slab.ts";
import { AF_NETLINK } from "./linux/socket-numbers.ts";
import { type NetlinkRequest, NetlinkRequests } from "./netlink-requests.ts";

/** Message types, linux/rtnetlink.h. */
export const RouteMessageType = {
  newLink: 16,
  deleteLink: 17,
  getLink: 18,
  newAddress: 20,
  deleteAddress: 21,
  getAddress: 22,
  newRoute: 24,
  deleteRoute: 25,
  getRoute: 26,
} as const;

/** Flags of requests, linux/netlink.h. */
export const RequestFlag = { dump: 0x300, exclusive: 0x200, create: 0x400, append: 0x800 } as const;

/** Groups of notifications, linux/rtnetlink.h. */
export const RouteGroup = {
  link: 1,
  ipv4Address: 5,
  ipv4Route: 7,
  ipv4Rule: 8,
  ipv6Address: 9,
} as const;

export interface RouteRequest {
  /** What is being done, for the error; lower case, such as `set the MTU of ht0`. */
  readonly operation: string;
  readonly type: number;
  readonly flags?: number;
  readonly payload: Uint8Array;
  /** Default 2,000. */
  readonly timeoutMs?: number;
}

export interface RouteReply {
  readonly type: number;
  readonly payload: Uint8Array;
}

const REQUEST_TIMEOUT = 2_000; // milliseconds; the kernel answers within one, unless rtnl is held
const DUMP_ATTEMPTS = 4;
const REQUESTS_A_TURN = 128;
const MESSAGE_ERROR = 2; // NLMSG_ERROR
const FLAG_DUMP_INTERRUPTED = 0x10;

/** Hears what arrived, or nothing where something was lost or could not be read. */
type Heard = (messages?: readonly RouteReply[]) => void;

export class RouteSocket {
  readonly #questions = new NetlinkRequests(Protocol.ROUTE);
  #requests: NetlinkSocket;
  readonly #subscriptions = new Set<Subscription>();
  /** The last request: they go one after the other, see `request`. */
  #last: Promise<unknown> = Promise.resolve();
  #closed = false;

  /** Throws `SystemError`. */
  constructor() {
    this.#requests = this.#openRequests();
  }

  /**
   * Sends one request; resolves to the kernel's answers, none for a mere acknowledgement. Rejects with
   * `SystemError`: the kernel's refusal with its own words, or `ETIMEDOUT`.
   */
  request(request: RouteRequest): Promise<RouteReply[]> {
    // One at a time: the package takes a dump for broken when the answer to another request comes amid its parts.
    const turn = this.#last.then(() => this.#requestNow(request));
    this.#last = turn.catch(() => undefined);
    return turn;
  }

  /**
   * Carries out many requests, dozens with one system call; the event loop has its turns in between. One answer for
   * each: the kernel's refusal, or undefined where it was carried out. A request that was refused does not keep the
   * following ones from being carried out. Rejects with `SystemError` when the kernel cannot be asked.
   */
  async attempt(requests: readonly NetlinkRequest[]): Promise<(SystemError | undefined)[]> {
    const results: (SystemError | undefined)[] = [];
    for (let at = 0; at < requests.length; at += REQUESTS_A_TURN) {
      if (at > 0) await new Promise((resolve) => setImmediate(resolve));
      results.push(...this.#open(requests[at]).attempt(requests.slice(at, at + REQUESTS_A_TURN)));
    }
    return results;
  }

  /** The answer to one question, at once: an event loop's turn later it may be old. Throws `SystemError`. */
  ask(request: NetlinkRequest): Uint8Array {
    return this.#open(request).ask(request);
  }

  /** All answers to one question, such as all interfaces, at once. Throws `SystemError`. */
  list(request: NetlinkRequest): Uint8Array[] {
    return this.#open(request).dump(request, () => true);
  }

  /**
   * Calls `onHint` whenever something of these groups may have changed. Messages may be lost, and tell what was: what
   * is true now is for `request` to find out. Returns what ends it. Throws `SystemError`.
   */
  subscribe(groups: readonly number[], onHint: Heard): { close(): void } {
    const subscription = new Subscription(Protocol.ROUTE, groups, onHint);
    this.#subscriptions.add(subscription);
    return {
      close: () => {
        this.#subscriptions.delete(subscription);
        subscription.close();
      },
    };
  }

  /** Requests that are under way are rejected. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#questions.close();
    this.#requests.close();
    for (const subscription of this.#subscriptions) subscription.close();
    this.#subscriptions.clear();
  }

  /** Whoever asks late must not reach somebody else's descriptor. */
  #open(request: NetlinkRequest | undefined): NetlinkRequests {
    if (this.#closed) throw new SystemError(request?.operation ?? "ask the kernel", "ECANCELED");
    return this.#questions;
  }

  #openRequests(): NetlinkSocket {
    const socket = openSocket("open a netlink socket", false);
    onFailure(socket, () => {
      if (!this.#closed && this.#requests === socket) this.#requests = this.#openRequests();
    });
    return socket;
  }

  async #requestNow(request: RouteRequest): Promise<RouteReply[]> {
    for (let attempt = 1; ; attempt++) {
      const messages = await this.#exchange(request);
      const interrupted = messages.some(({ flags }) => (flags & FLAG_DUMP_INTERRUPTED) !== 0);
      // What was dumped changed meanwhile: the parts may not fit together.
      if (interrupted && attempt < DUMP_ATTEMPTS) continue;
      return messages.map(({ type, data }) => ({ type, payload: data }));
    }
  }

  async #exchange(request: RouteRequest): Promise<NetlinkMessage[]> {
    const { operation, type, flags = 0, payload, timeoutMs: timeout = REQUEST_TIMEOUT } = request;
    if (this.#closed) throw new SystemError(operation, "ECANCELED");
    let messages: NetlinkMessage[];
    try {
      const options = { flags, timeout, checkError: false };
      [messages] = await this.#requests.request(type, Buffer.from(payload), options);
    } catch (cause) {
      // The package's own time-out is the one error of its that has no code.
      const code = this.#closed ? "ECANCELED" : (codeOf(cause) ?? "ETIMEDOUT");
      throw new SystemError(operation, code, { cause });
    }
    const [first] = messages;
    if (first?.type !== MESSAGE_ERROR) return messages;
    const { errno, text } = decodeAcknowledgement(first.data, first.flags);
    if (errno === 0) return [];
    const code = errnoName(errno);
    const hint = text ?? (code === "EPERM" ? PERMISSION_HINTS.EPERM : undefined);
    throw new SystemError(operation, code, hint === undefined ? {} : { hint });
  }
}

/** A socket for notifications that opens itself anew should it fail. */
export class Subscription {
  readonly #protocol: Protocol;
  readonly #groups: readonly number[];
  readonly #onHint: Heard;
  #socket: NetlinkSocket;
  #closed = false;

  /** Throws `SystemError`. */
  constructor(protocol: Protocol, groups: readonly number[], onHint: Heard) {
    this.#protocol = protocol;
    this.#groups = groups;
    this.#onHint = onHint;
    this.#socket = this.#open();
  }

  close(): void {
    this.#closed = true;
    this.#socket.close();
  }

  #open(): NetlinkSocket {
    const socket = openSocket("subscribe to the kernel's notifications", true, this.#protocol);
    const hint: Heard = (messages) => {
      if (!this.#closed) this.#onHint(messages);
    };
    const lost = () => queueMicrotask(hint);
    socket.on("message", (messages) =>
      queueMicrotask(() => hint(messages.map(({ type, data }) => ({ type, payload: data })))),
    );
    socket.on("invalid", lost);
    socket.on("truncatedMessage", lost);
    onFailure(socket, () => {
      if (this.#closed) return;
      this.#socket = this.#open();
      hint();
    });
    for (const group of this.#groups) socket.addMembership(group);
    return socket;
  }
}

/** `ref`: whether the open socket keeps the process running. */
function openSocket(operation: string, ref: boolean, protocol = Protocol.ROUTE): NetlinkSocket {
  let socket: NetlinkSocket;
  try {
    socket = createNetlink(protocol, { ref, recvBufferSize: 0, sendBufferSize: 0 });
  } catch (cause) {
    throw new SystemError(operation, codeOf(cause) ?? "unknown", { cause });
  }
  try {
    setNetlinkOptions(fileDescriptorOf(socket, operation), operation);
    return socket;
  } catch (error) {
    socket.close();
    throw error;
  }
}

/**
 * Closes a socket that failed, then says so. Not within the event, nor may hints be: what a listener throws there
 * aborts the process, past every handler.
 */
function onFailure(socket: NetlinkSocket, listener: () => void): void {
  socket.on("error", () => {
    queueMicrotask(() => {
      socket.close();
      listener();
    });
  });
}

/** The package keeps its file descriptor to itself; the port it is bound to is unique and gives it away. */
function fileDescriptorOf(socket: NetlinkSocket, operation: string): number {
  const { port } = socket.address();
  const address = new Slab(16);
  const length = 12; // struct sockaddr_nl: family, padding, port, groups
  for (const entry of readdirSync("/proc/self/fd")) {
    address.octets.fill(0);
    address.view.setUint32(12, length, true);
    const fd = Number(entry);
    if (libcCalls.getsockname(fd, address.address(0, length), address.address(12, 4)) < 0) continue;
    const isNetlink = address.view.getUint16(0, true) === AF_NETLINK;
    if (isNetlink && address.view.getUint32(4, true) === port) return fd;
  }
  throw new SystemError(operation, "EBADF", { hint: "its descriptor is not in /proc/self/fd" });
}

function codeOf(error: unknown): string | undefined {
  const code = (error as { code?: unknown } | null)?.code;
  return typeof code === "string" ? code : undefined;
}
