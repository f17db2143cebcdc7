/**
 * Keeps a flood of ESP that is nobody's from taking the homes' turn: packets with an SPI that nobody knows, and forgeries
 * with one that is known. To know that a packet is forged costs as much as to open a good one; where it happens too often
 * the kernel is asked to let only a part of that SPI's packets through. All from where the home was last heard are let
 * through, unless the forgeries claim to come from there.
 */

import type { Instant } from "../time.ts";
import { StrangerThrottle } from "../tunnel/stranger-throttle.ts";
import { type GuardedSpi, MOST_GUARDED, type StraySpis, strayChance } from "./linux/esp-filter.ts";
import type { EspSocket } from "./linux/esp-socket.ts";

/** Packets with unknown SPIs that are looked at, and counted, in a second. */
const STRAY_LIMIT = { rate: 2_000, burst: 2_000 };
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
  readonly unseen: Unseen;
}

/** How many packets the filter drops for each that it lets through by chance. */
class Unseen {
  readonly #socket: EspSocket;
  #perSeen = 0;
  /** For what comes after the socket has been emptied once more: what waits in it passed the filter as it was. */
  #next: { readonly perSeen: number; readonly drains: number } | undefined;

  constructor(socket: EspSocket) {
    this.#socket = socket;
  }

  /** The filter lets packets through with this chance now. */
  expect(chance: number): void {
    this.#next = { perSeen: 1 / chance - 1, drains: this.#socket.drains };
  }

  /** For the packet that is being handed over. */
  get perSeen(): number {
    if (this.#next !== undefined && this.#socket.drains > this.#next.drains) {
      this.#perSeen = this.#next.perSeen;
      this.#next = undefined;
    }
    return this.#perSeen;
  }
}

export class EspGuard {
  readonly #socket: EspSocket;
  readonly #now: () => Instant;
  /** By SPI; at most `MOST_GUARDED`. */
  readonly #watched = new Map<number, Watched>();
  readonly #known: () => Iterable<number>;
  readonly #strays = new StrangerThrottle(STRAY_LIMIT);
  /** The kernel drops strays, and knows all our SPIs. */
  #isLookingUp = false;
  readonly #unseenStrays: Unseen;
  #timer: NodeJS.Timeout | undefined;
  #shed = 0;

  /** `known`: the SPIs that we receive with. */
  constructor(socket: EspSocket, known: () => Iterable<number>, now: () => Instant) {
    this.#socket = socket;
    this.#unseenStrays = new Unseen(socket);
    this.#known = known;
    this.#now = now;
    socket.onKeepalive = () => this.stray();
  }

  /** Packets that the filter has dropped: for each that it let through by chance, as many as the chance was against it. */
  get estimatedShed(): number {
    return Math.round(this.#shed);
  }

  /** The packet that the socket is handing over bears an SPI that nobody knows, or none. */
  stray(): void {
    const now = this.#now();
    if (this.#isLookingUp) this.#shed += this.#unseenStrays.perSeen;
    this.#strays.admit(now);
    this.#reviewSoon(this.#strays, now);
  }

  /** Another SPI is known now: until the next review, none is looked up. */
  learn(): void {
    if (!this.#isLookingUp) return;
    this.#isLookingUp = false;
    this.#socket.guard({ guarded: this.#guarded(), strays: undefined });
  }

  /** The packet that the socket is handing over was not authentic, or could not have been. */
  note(spi: number, observed: Observed): void {
    const watched = this.#watched.get(spi) ?? this.#watch(spi, observed);
    if (watched === undefined) return;
    const now = this.#now();
    watched.throttle.admit(now);
    watched.count += 1;
    const { sourceAddress } = this.#socket;
    if (sourceAddress === watched.observed.observedAddress) watched.claims += 1;
    const isExempt = watched.exempt !== 0 && addressNumber(sourceAddress) === watched.exempt;
    if (!isExempt) this.#shed += watched.unseen.perSeen;
    this.#reviewSoon(watched.throttle, now);
  }

  close(): void {
    clearTimeout(this.#timer);
  }

  #watch(spi: number, observed: Observed): Watched | undefined {
    if (this.#watched.size >= MOST_GUARDED) return undefined;
    const throttle = new StrangerThrottle(LIMIT);
    const none = { count: 0, claims: 0, isSpoofed: false, exempt: 0 };
    const watched = { ...none, throttle, observed, unseen: new Unseen(this.#socket) };
    this.#watched.set(spi, watched);
    return watched;
  }

  /** A flood does not wait for the timer. */
  #reviewSoon({ deadline }: StrangerThrottle, now: Instant): void {
    if (this.#timer !== undefined && deadline !== undefined && deadline < now) {
      clearTimeout(this.#timer);
      this.#review();
    }
    this.#timer ??= setTimeout(() => this.#review(), REVIEW_MS).unref();
  }

  #review(): void {
    this.#timer = undefined;
    const now = this.#now();
    let hasChanged = this.#strays.review(now);
    for (const [spi, watched] of this.#watched) {
      if (this.#reviewWatched(watched, now)) hasChanged = true;
      if (watched.throttle.deadline === undefined) this.#watched.delete(spi);
    }
    const shouldLookUp = this.#strays.share < 1;
    if (hasChanged || shouldLookUp !== this.#isLookingUp) {
      this.#isLookingUp = shouldLookUp;
      this.#socket.guard({ guarded: this.#guarded(), strays: this.#lookUp() });
    }
    if (this.#watched.size > 0 || this.#strays.deadline !== undefined) {
      this.#timer = setTimeout(() => this.#review(), REVIEW_MS).unref();
    }
  }

  /** Whether the kernel must be told. */
  #reviewWatched(watched: Watched, now: Instant): boolean {
    const { throttle, observed, count, claims, exempt } = watched;
    const hasChanged = throttle.review(now);
    if (hasChanged) watched.unseen.expect(throttle.share);
    if (2 * claims > count) watched.isSpoofed = true;
    watched.count = 0;
    watched.claims = 0;
    watched.exempt = watched.isSpoofed ? 0 : addressNumber(observed.observedAddress);
    return hasChanged || watched.exempt !== exempt;
  }

  #lookUp(): StraySpis | undefined {
    if (!this.#isLookingUp) return undefined;
    const { share } = this.#strays;
    this.#unseenStrays.expect(strayChance({ known: this.#known(), share }));
    return { known: this.#known(), share };
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
