/**
 * Tells the server where this home is, until the server has shown that it knows. RFC 4861 section 7.2.6.
 *
 * In the order things happen:
 *
 * A new IPv4 address comes. At once an unsolicited Neighbor Advertisement states it, and a Neighbor
 * Solicitation asks the server for an answer. The advertisement is repeated as the RFC has it, up to three
 * in all, a second apart. The solicitation is repeated faster, after 100, 200, 400 ms and so on doubling to
 * 30 s, and never given up: it is small, and the server may be away for a day.
 *
 * The server's solicited advertisement comes back. It was sent to where the server believes us to be, and it
 * reached us: the new address is confirmed, the repeats stop but for one. A second after the last advertisement a
 * closing one says the same again, in case an older one was overtaken on the way and has moved the server back.
 *
 * No answer after the three: either all of them were lost, or the server was not there to hear them. From then
 * on every solicitation takes an advertisement with it. This goes beyond the three that the RFC allows,
 * deliberately: the RFC thinks of neighbours who will ask when they need to know, and a server cannot ask a
 * home whose address it does not have. They are never less than a second apart, and soon 30.
 *
 * Once confirmed, the server is solicited once a minute if nothing else is heard from it. This finds the server
 * that lost its state, and the home whose NAT or ISP gave its address away. Unanswered three quick retries
 * long, the tunnel is lost, and announcing starts again as after a change.
 *
 * What an answer cannot tell: Neighbor Discovery carries no outer addresses and no order. When the old address still
 * works (two uplinks) and the only advertisement was lost, the answer comes to the old one and is taken for proof.
 * And an advertisement of the old address may be overtaken by the answer for the new. The next liveness
 * solicitation finds out about both, as soon as the old address is dead.
 */

import type { Ipv4Address } from "../../common/ip/address.ts";
import { earliest, type Instant, later } from "../../common/time.ts";

/** RFC 4861 section 10. */
const MAX_NEIGHBOR_ADVERTISEMENT = 3;
/** RetransTimer's default, RFC 4861 section 10. */
const RETRANS_TIMER_MS = 1000;

/** Ours: about a round trip on a poor line, so that one lost packet costs little. */
const FIRST_RETRY_MS = 100;
/** Ours: how long a server that comes back may have to wait for us. */
const LONGEST_RETRY_MS = 30_000;
/** Ours: retries of a liveness solicitation before the tunnel counts as lost, 1.5 s in all. */
const LIVENESS_RETRIES = 3;
const DEFAULT_LIVENESS_INTERVAL_MS = 60_000;

export type AnnouncerInput =
  /** Which address would reach the server now; none while there is no way to it. */
  | { readonly kind: "address"; readonly address: Ipv4Address | undefined }
  /** A solicited advertisement of the server's came out of the tunnel. */
  | { readonly kind: "answer" }
  /** The user or a hook asks to be announced again, whatever we believe. */
  | { readonly kind: "announce" }
  /** The way into the tunnel is gone, such as when no keys are left: no silence needs to be waited out. */
  | { readonly kind: "cut" }
  /** Any authentic packet came out of the tunnel. Spares a liveness solicitation; confirms nothing. */
  | { readonly kind: "heard" };

export type AnnouncerEffect =
  /** Send an unsolicited Neighbor Advertisement with this address as its target link-layer address. */
  | { readonly kind: "advertise"; readonly address: Ipv4Address }
  /** Send a Neighbor Solicitation for the server's link-local address. */
  | { readonly kind: "solicit" }
  /** The server knows the address. Once per announcing; `elapsedMs` since the change that started it. */
  | { readonly kind: "confirmed"; readonly address: Ipv4Address; readonly elapsedMs: number }
  /** The server, once confirmed, answers no more, or cannot. Announcing starts again. */
  | { readonly kind: "lost" };

/** For status. `lastElapsedMs` is the latest confirmation's, absent before the first. */
export type AnnouncerState = { readonly lastElapsedMs: number | undefined } & (
  | {
      readonly kind: "no-address";
      /** Absent before the first input. */
      readonly since: Instant | undefined;
    }
  | {
      /** `unanswered`: as `announcing`, but the usual three advertisements went without an answer. */
      readonly kind: "announcing" | "unanswered";
      readonly address: Ipv4Address;
      /** When the change came. */
      readonly since: Instant;
      /** Solicitations sent since. */
      readonly attempts: number;
    }
  | {
      readonly kind: "confirmed";
      readonly address: Ipv4Address;
      /** When the confirmation came. */
      readonly since: Instant;
      /** From the change to its confirmation. */
      readonly elapsedMs: number;
      /** Solicitations it took. */
      readonly attempts: number;
    }
);

export interface AnnouncerOptions {
  /** Silence after which a confirmed server is solicited. 0: never. Default 60,000. */
  readonly livenessIntervalMs?: number;
}

interface NoAddress {
  readonly kind: "no-address";
  readonly since: Instant | undefined;
}

interface Announcing {
  readonly kind: "announcing";
  readonly address: Ipv4Address;
  readonly since: Instant;
  advertisements: number;
  advertisedAt: Instant;
  solicitations: number;
  nextSolicitation: Instant;
}

interface Confirmed {
  readonly kind: "confirmed";
  readonly address: Ipv4Address;
  readonly since: Instant;
  readonly elapsedMs: number;
  readonly attempts: number;
  /** Solicitations sent since the server was last heard. */
  unanswered: number;
  /** The next solicitation, or the verdict when no retry is left. */
  nextCheck: Instant | undefined;
  /** When the closing advertisement is due, if it is still to come. */
  closingAt: Instant | undefined;
}

type Phase = NoAddress | Announcing | Confirmed;

export class Announcer {
  readonly #livenessIntervalMs: number;
  #phase: Phase = { kind: "no-address", since: undefined };
  #lastElapsedMs: number | undefined;

  constructor(options: AnnouncerOptions = {}) {
    this.#livenessIntervalMs = options.livenessIntervalMs ?? DEFAULT_LIVENESS_INTERVAL_MS;
  }

  get state(): AnnouncerState {
    return stateOf(this.#phase, this.#lastElapsedMs);
  }

  /** When to call `handleDeadline`, if nothing else happens first. */
  get deadline(): Instant | undefined {
    return deadlineOf(this.#phase);
  }

  handle(input: AnnouncerInput, now: Instant): AnnouncerEffect[] {
    const phase = this.#phase;
    switch (input.kind) {
      case "address":
        return this.#addressIs(input.address, now);
      case "announce":
        if (phase.kind === "no-address") return [];
        // The change is as old as it was.
        return this.#announce(phase.address, now, phase.kind === "announcing" ? phase.since : now);
      case "answer":
        if (phase.kind === "announcing") return this.#confirm(phase, now);
        this.#rest(now);
        return [];
      case "cut":
        return phase.kind === "confirmed" ? this.#lose(phase, now) : [];
      case "heard":
        this.#rest(now);
        return [];
    }
  }

  handleDeadline(now: Instant): AnnouncerEffect[] {
    const phase = this.#phase;
    switch (phase.kind) {
      case "no-address":
        return [];
      case "announcing":
        return announceAgain(phase, now);
      case "confirmed":
        return [...close(phase, now), ...this.#checkLiveness(phase, now)];
    }
  }

  /** The same address as before starts nothing: who wants it said again asks with `announce`. */
  #addressIs(address: Ipv4Address | undefined, now: Instant): AnnouncerEffect[] {
    const phase = this.#phase;
    if (address === undefined) {
      if (phase.kind !== "no-address" || phase.since === undefined) {
        this.#phase = { kind: "no-address", since: now };
      }
      return [];
    }
    if (phase.kind !== "no-address" && phase.address === address) return [];
    return this.#announce(address, now);
  }

  #announce(address: Ipv4Address, now: Instant, since = now): AnnouncerEffect[] {
    this.#phase = {
      kind: "announcing",
      address,
      since,
      advertisements: 1,
      advertisedAt: now,
      solicitations: 1,
      nextSolicitation: later(now, FIRST_RETRY_MS),
    };
    return [{ kind: "advertise", address }, { kind: "solicit" }];
  }

  #confirm(phase: Announcing, now: Instant): AnnouncerEffect[] {
    const { address, solicitations: attempts } = phase;
    const elapsedMs = now - phase.since;
    this.#lastElapsedMs = elapsedMs;
    this.#phase = {
      kind: "confirmed",
      address,
      since: now,
      elapsedMs,
      attempts,
      unanswered: 0,
      nextCheck: undefined,
      closingAt: nextOfBurst(phase),
    };
    this.#rest(now);
    return [{ kind: "confirmed", address, elapsedMs }];
  }

  /** The server lives: no liveness solicitation for a whole interval from now. */
  #rest(now: Instant): void {
    if (this.#phase.kind !== "confirmed") return;
    this.#phase.unanswered = 0;
    this.#phase.nextCheck =
      this.#livenessIntervalMs > 0 ? later(now, this.#livenessIntervalMs) : undefined;
  }

  #lose({ address }: Confirmed, now: Instant): AnnouncerEffect[] {
    return [{ kind: "lost" }, ...this.#announce(address, now)];
  }

  #checkLiveness(phase: Confirmed, now: Instant): AnnouncerEffect[] {
    if (phase.nextCheck === undefined || now < phase.nextCheck) return [];
    if (phase.unanswered > LIVENESS_RETRIES) {
      return this.#lose(phase, now);
    }
    phase.unanswered += 1;
    phase.nextCheck = later(now, retryAfter(phase.unanswered));
    return [{ kind: "solicit" }];
  }
}

function stateOf(phase: Phase, lastElapsedMs: number | undefined): AnnouncerState {
  switch (phase.kind) {
    case "no-address":
      return { kind: phase.kind, since: phase.since, lastElapsedMs };
    case "announcing": {
      const { address, since, solicitations: attempts } = phase;
      const kind = phase.advertisements > MAX_NEIGHBOR_ADVERTISEMENT ? "unanswered" : phase.kind;
      return { kind, address, since, attempts, lastElapsedMs };
    }
    case "confirmed": {
      const { kind, address, since, elapsedMs, attempts } = phase;
      return { kind, address, since, elapsedMs, attempts, lastElapsedMs };
    }
  }
}

function deadlineOf(phase: Phase): Instant | undefined {
  switch (phase.kind) {
    case "no-address":
      return undefined;
    case "announcing":
      return earliest(nextOfBurst(phase), phase.nextSolicitation);
    case "confirmed":
      return earliest(phase.nextCheck, phase.closingAt);
  }
}

/** The closing advertisement, if it is due. */
function close(phase: Confirmed, now: Instant): AnnouncerEffect[] {
  if (phase.closingAt === undefined || now < phase.closingAt) return [];
  phase.closingAt = undefined;
  return [{ kind: "advertise", address: phase.address }];
}

/** What is due of the repeats. The advertisement goes first, that the answer may come to the address it states. */
function announceAgain(phase: Announcing, now: Instant): AnnouncerEffect[] {
  const effects: AnnouncerEffect[] = [];
  const burst = nextOfBurst(phase);
  const solicit = now >= phase.nextSolicitation;
  const accompany = solicit && now - phase.advertisedAt >= RETRANS_TIMER_MS;
  if (burst !== undefined ? now >= burst : accompany) {
    phase.advertisements += 1;
    phase.advertisedAt = now;
    effects.push({ kind: "advertise", address: phase.address });
  }
  if (solicit) {
    phase.solicitations += 1;
    phase.nextSolicitation = later(now, retryAfter(phase.solicitations));
    effects.push({ kind: "solicit" });
  }
  return effects;
}

/** When the next of the RFC's three advertisements is due. */
function nextOfBurst(phase: Announcing): Instant | undefined {
  if (phase.advertisements >= MAX_NEIGHBOR_ADVERTISEMENT) return undefined;
  return later(phase.advertisedAt, RETRANS_TIMER_MS);
}

/** Milliseconds to wait after the `count`th solicitation in a row. */
function retryAfter(count: number): number {
  return Math.min(FIRST_RETRY_MS * 2 ** (count - 1), LONGEST_RETRY_MS);
}
