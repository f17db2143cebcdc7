/**
 * Keeps one SA that is flooded with forgeries from taking the other homes' turn. To know that a packet is forged costs as
 * much as to open a good one; where it happens too often the kernel is asked to let only a part of that SPI's packets
 * through. All from where the home was last heard are let through, unless the forgeries claim to come from there.
 */

import type { Instant } from "../time.ts";
import { StrangerThrottle } from "../tunnel/stranger-throttle.ts";
import { type GuardedSpi, MOST_GUARDED } from "./linux/esp-filter.ts";
import type { EspSocket } from "./linux/esp-socket.ts";

/** Forgeries that are looked at in a second, for each SA. */
const LIMIT = { rate: 1_000, burst: 1_000 };
const REVIEW_MS = 200;

/** The home behind the SA: outer source of its last authentic packet, as it lies in memory; 0 before the first. */
export interface Observed {
  readonly observedAddress: number;
}

interface Watched {
  readonly throttle: StrangerThrottle;
  readonly observed: Observed;
  /** Forgeries since the last review, and how many of them claimed the home's address. */
  count: number;
  claims: number;
  /** They do, so that address is no better than others. */
  isSpoofed: boolean;
  exempt: number;
}

export class ForgeryGuard {
  readonly #socket: EspSocket;
  readonly #now: () => Instant;
  /** By SPI; at most `MOST_GUARDED`. */
  readonly #watched = new Map<number, Watched>();
  #timer: NodeJS.Timeout | undefined;

  constructor(socket: EspSocket, now: () => Instant) {
    this.#socket = socket;
    this.#now = now;
  }

  /** The packet that the socket is handing over was not authentic. */
  note(spi: number, observed: Observed): void {
    const watched = this.#watched.get(spi) ?? this.#watch(spi, observed);
    if (watched === undefined) return;
    watched.throttle.admit(this.#now());
    watched.count += 1;
    if (this.#socket.sourceAddress === watched.observed.observedAddress) watched.claims += 1;
    this.#timer ??= setTimeout(() => this.#review(), REVIEW_MS).unref();
  }

  close(): void {
    clearTimeout(this.#timer);
  }

  #watch(spi: number, observed: Observed): Watched | undefined {
    if (this.#watched.size >= MOST_GUARDED) return undefined;
    const throttle = new StrangerThrottle(LIMIT);
    const watched = { throttle, observed, count: 0, claims: 0, isSpoofed: false, exempt: 0 };
    this.#watched.set(spi, watched);
    return watched;
  }

  #review(): void {
    this.#timer = undefined;
    const now = this.#now();
    let hasChanged = false;
    for (const [spi, watched] of this.#watched) {
      const { throttle, observed, count, claims } = watched;
      if (throttle.review(now)) hasChanged = true;
      if (2 * claims > count) watched.isSpoofed = true;
      watched.count = 0;
      watched.claims = 0;
      const exempt = watched.isSpoofed ? 0 : addressNumber(observed.observedAddress);
      if (exempt !== watched.exempt) hasChanged = true;
      watched.exempt = exempt;
      if (throttle.deadline === undefined) this.#watched.delete(spi);
    }
    if (hasChanged) this.#socket.guard(this.#guarded());
    if (this.#watched.size > 0) {
      this.#timer = setTimeout(() => this.#review(), REVIEW_MS).unref();
    }
  }

  #guarded(): GuardedSpi[] {
    return [...this.#watched].flatMap(([spi, { throttle, exempt }]) =>
      throttle.share < 1 ? [{ spi, share: throttle.share, exempt }] : [],
    );
  }
}

/** From a word as it lies in memory, on a little-endian machine, to the address as a number. */
function addressNumber(word: number): number {
  const view = new DataView(new ArrayBuffer(4));
  view.setUint32(0, word, true);
  return view.getUint32(0);
}
