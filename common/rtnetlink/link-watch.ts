/**
 * Which tunnel interfaces should be looked at again, going by what the kernel tells unasked. It is a filter, so that
 * one interface among thousands costs one look: what is true is for the looker to find out. Pure.
 */

import { decodeAddressMessage } from "./address-message.ts";
import { readU32 } from "./attribute.ts";
import { LinkFlag } from "./link-message.ts";

const IFI_INDEX = 4; // octets into struct ifinfomsg
const IFI_FLAGS = 8;
const IFA_INDEX = 4; // into struct ifaddrmsg

/** `rising`: it was set up, and the kernel's messages have not come to that yet. */
export type WatchedState = "up" | "rising" | "down";

interface Watched {
  state: WatchedState;
  readonly addresses: ReadonlySet<string>;
}

export class LinkWatch {
  readonly #links = new Map<number, Watched>();
  readonly #doubtful = new Set<number>();

  /** From now on, or anew, the interface is this and should have these addresses. */
  keep(index: number, state: WatchedState, addresses: readonly string[]): void {
    this.#links.set(index, { state, addresses: new Set(addresses) });
    this.#doubtful.delete(index);
  }

  forget(index: number): void {
    this.#links.delete(index);
    this.#doubtful.delete(index);
  }

  stateOf(index: number): WatchedState | undefined {
    return this.#links.get(index)?.state;
  }

  get hasDoubts(): boolean {
    return this.#doubtful.size > 0;
  }

  /** The interfaces to look at, once. */
  takeDoubtful(): number[] {
    const doubtful = [...this.#doubtful];
    this.#doubtful.clear();
    return doubtful;
  }

  /** Payload of an RTM_NEWLINK. Throws `MalformedError`. */
  linkChanged(payload: Uint8Array): void {
    const index = readU32(payload, IFI_INDEX);
    const link = this.#links.get(index);
    if (link === undefined) return;
    const isUp = (readU32(payload, IFI_FLAGS) & LinkFlag.up) !== 0;
    if (link.state === "rising") {
      if (isUp) link.state = "up";
    } else if (isUp !== (link.state === "up")) {
      this.#doubtful.add(index);
    }
  }

  /** Payload of an RTM_DELLINK; returns whose it is. Throws `MalformedError`. */
  linkRemoved(payload: Uint8Array): number {
    const index = readU32(payload, IFI_INDEX);
    this.forget(index);
    return index;
  }

  /** Payload of an RTM_DELADDR. Throws `MalformedError`. */
  addressRemoved(payload: Uint8Array): void {
    const index = readU32(payload, IFA_INDEX);
    const link = this.#links.get(index);
    if (link === undefined || link.state === "down") return;
    if (link.addresses.has(decodeAddressMessage(payload).address)) this.#doubtful.add(index);
  }

  /** Messages were lost: anything may have happened. */
  overrun(): void {
    for (const [index, link] of this.#links) {
      if (link.state === "rising") link.state = "up";
      this.#doubtful.add(index);
    }
  }
}
