/**
 * Stands before IKE at UDP port 4500, where it comes in with the homes' ESP: no flood of it, well formed or not, may take
 * their turn. Two throttles: one for who is not known yet, one for the rest, so that a crowd of new ones does not lock
 * out those who have an IKE SA.
 */

import { ExchangeType, HEADER_LENGTH, HeaderOffset } from "../ikev2/wire/header.ts";
import type { Instant } from "../time.ts";
import { StrangerThrottle } from "../tunnel/stranger-throttle.ts";
import type { EspSocket } from "./linux/esp-socket.ts";

/** Messages a second, in all. An answer to IKE_SA_INIT may cost a millisecond: three in ten, then, are for newcomers. */
const UNKNOWN_LIMIT = { rate: 300, burst: 300 };
const REST_LIMIT = { rate: 2_000, burst: 2_000 };
const REVIEW_MS = 200;

const MARKER_LENGTH = 4; // octets, RFC 3948 section 2.2
const RESPONDER_SPI = MARKER_LENGTH + HeaderOffset.responderSpi;
const EXCHANGE = MARKER_LENGTH + HeaderOffset.exchange;

/** What a gate needs of the socket behind it. */
export type GatedSocket = Pick<EspSocket, "shareIke"> & {
  readonly received: Pick<EspSocket["received"], "octets" | "view">;
};

export class IkeGate {
  readonly #socket: GatedSocket;
  readonly #now: () => Instant;
  readonly #unknown = new StrangerThrottle(UNKNOWN_LIMIT);
  readonly #rest = new StrangerThrottle(REST_LIMIT);
  #timer: NodeJS.Timeout | undefined;

  constructor(socket: GatedSocket, now: () => Instant) {
    this.#socket = socket;
    this.#now = now;
  }

  /** Whether the datagram in the socket's memory is to be handed over. */
  admit(offset: number, length: number): boolean {
    if (length < MARKER_LENGTH + HEADER_LENGTH) return false;
    const { octets, view } = this.#socket.received;
    const isUnknown =
      octets[offset + EXCHANGE] === ExchangeType.ikeSaInit &&
      view.getUint32(offset + RESPONDER_SPI) === 0 &&
      view.getUint32(offset + RESPONDER_SPI + 4) === 0;
    this.#timer ??= setTimeout(() => this.#review(), REVIEW_MS).unref();
    const throttle = isUnknown ? this.#unknown : this.#rest;
    const now = this.#now();
    const isAdmitted = throttle.admit(now);
    // A flood does not wait for the timer.
    if (!isAdmitted && (throttle.deadline ?? now) < now) this.#adjust(now);
    return isAdmitted;
  }

  close(): void {
    clearTimeout(this.#timer);
  }

  #review(): void {
    this.#timer = undefined;
    this.#adjust(this.#now());
    const isBusy = this.#unknown.deadline !== undefined || this.#rest.deadline !== undefined;
    if (isBusy) this.#timer = setTimeout(() => this.#review(), REVIEW_MS).unref();
  }

  #adjust(now: Instant): void {
    const changes = [this.#unknown, this.#rest].map((throttle) => throttle.review(now));
    if (changes.includes(true)) {
      this.#socket.shareIke({ unknown: this.#unknown.share, rest: this.#rest.share });
    }
  }
}
