/**
 * Does one home live where it says? Never send to a stranger.
 *
 * An IPv4 address that a home had yesterday may be somebody else's today, and a home may be wrong, or lie, about
 * the one it states. So the server asks: a probe through the tunnel, which only the home can read and answer.
 *
 * `unproven`: the home has moved. Its traffic follows at once, for connections must not wait for proof; but the
 * credit is one second, in which it is probed three times. A further move within that second asks anew
 * and extends nothing: only an answer earns a new second, and no more than five at once and two a minute, so that no
 * sequence of moves can aim traffic at others. Who moves more often waits for the answer, one round trip.
 *
 * `confirmed`: it answered. As long as traffic is sent to it, it is probed every 30 s; three misses and it is held.
 * A home to which nothing is sent is left alone: it harms nobody and may sleep. A confirmed home is also *challenged*
 * when another home claims its address: the same three probes and one second as after a move.
 *
 * `held`: no answer came. Nothing but probes is sent, after 1, 2, 4 s and so on up to 5 minutes; at once when the home
 * states its address again, moves, or is heard. Being heard proves that the home lives, not that it lives *there*:
 * the answer to a probe alone releases it.
 *
 * This is one home's part of the endpoint table, which is the core: it owns the deadline and gives the effects.
 */

import { type RateLimit, TokenBucket } from "../../common/rate-limit.ts";
import { earliest, type Instant, later } from "../../common/time.ts";

/** Probes that are sent quickly after a move. */
const QUICK_PROBES = 3;
const QUICK_SPACING_MS = 250;
/** How long the last of several probes may go unanswered. */
const ANSWER_WAIT_MS = 500;
/** How long traffic may be sent on credit. */
const CREDIT_MS = (QUICK_PROBES - 1) * QUICK_SPACING_MS + ANSWER_WAIT_MS;
/** How often a home may have the credit. */
const CREDIT_LIMIT: RateLimit = { rate: 1 / 30, burst: 5 };
/** Between probes to a confirmed home that traffic is sent to; and for how long one packet counts as traffic. */
const WATCH_INTERVAL_MS = 30_000;
const WATCH_MISSES = 3;
const FIRST_BACKOFF_MS = 1000;
const LONGEST_BACKOFF_MS = 300_000;
/** A home that talks without pause, and a claim repeated without pause, cause a probe a second. */
const CAUSED_PROBE_SPACING_MS = 1000;

export type ReachabilityState = "unproven" | "confirmed" | "held";

/**
 * What is to be done, in order. `repeat`: probe again soon, since no answer came yet; may be left out. `hold`: send probes
 * only. `release`: send everything.
 */
export type ReachabilityStep = "probe" | "repeat" | "hold" | "release";

export class Reachability {
  readonly #credit = new TokenBucket(CREDIT_LIMIT);
  #state: ReachabilityState;
  #since: Instant;
  /** When sending stops unless an answer comes. */
  #holdAt: Instant | undefined;
  #probeAt: Instant | undefined;
  /** Quick probes still to come. */
  #quick = 0;
  #backoffMs = FIRST_BACKOFF_MS;
  /** Watching probes in a row without an answer. */
  #misses = 0;
  #probedAt: Instant | undefined;
  #provenAt: Instant | undefined;
  #trafficAt: Instant | undefined;
  #challengedAt: Instant | undefined;

  private constructor(state: ReachabilityState, now: Instant) {
    this.#state = state;
    this.#since = now;
  }

  /** A home that was never anywhere. To be followed by `moved`. */
  static unproven(now: Instant): Reachability {
    const reachability = new Reachability("unproven", now);
    reachability.#holdAt = later(now, CREDIT_MS);
    return reachability;
  }

  /** A home whose endpoint is known from before a restart: held, and first probed at `probeAt`. */
  static held(now: Instant, probeAt: Instant): Reachability {
    const reachability = new Reachability("held", now);
    reachability.#probeAt = probeAt;
    return reachability;
  }

  get state(): ReachabilityState {
    return this.#state;
  }

  /** When the present state was entered. */
  get since(): Instant {
    return this.#since;
  }

  get deadline(): Instant | undefined {
    return earliest(this.#holdAt, this.#probeAt);
  }

  /** The home is to be found at another endpoint. What was held stays held until it answers from there. */
  moved(now: Instant): ReachabilityStep[] {
    this.#misses = 0;
    if (this.#state !== "confirmed") return this.#askQuickly(now);
    if (!this.#credit.take(now)) {
      this.#enter("held", now);
      this.#holdAt = undefined;
      return ["hold", ...this.#askQuickly(now)];
    }
    this.#enter("unproven", now);
    this.#holdAt = later(now, CREDIT_MS);
    return this.#askQuickly(now);
  }

  /** The home has said again that it is where we believe it to be. */
  refreshed(now: Instant): ReachabilityStep[] {
    if (this.#state === "held") return this.#askQuickly(now);
    this.#probedAt = now;
    return ["probe"];
  }

  /** Another home says that it is where this one is. */
  challenged(now: Instant): ReachabilityStep[] {
    const decided = this.#state !== "confirmed" || this.#holdAt !== undefined;
    if (decided || now < spaced(this.#challengedAt, CAUSED_PROBE_SPACING_MS)) return [];
    this.#challengedAt = now;
    this.#holdAt = later(now, CREDIT_MS);
    return this.#askQuickly(now);
  }

  /** A probe to the present endpoint was answered. */
  answered(now: Instant): ReachabilityStep[] {
    const steps: ReachabilityStep[] = this.#state === "held" ? ["release"] : [];
    if (this.#state !== "confirmed") this.#enter("confirmed", now);
    this.#provenAt = now;
    this.#holdAt = undefined;
    this.#quick = 0;
    this.#misses = 0;
    this.#probeAt = this.#hasTraffic(now) ? later(now, WATCH_INTERVAL_MS) : undefined;
    return steps;
  }

  /** An authentic packet came from the home. */
  heard(now: Instant): ReachabilityStep[] {
    if (this.#state !== "held" || this.#quick > 0) return [];
    this.#backoffMs = FIRST_BACKOFF_MS;
    const allowed = spaced(this.#probedAt, CAUSED_PROBE_SPACING_MS);
    if (now >= allowed) return this.#probe(now);
    this.#probeAt = earliest(this.#probeAt, allowed as Instant);
    return [];
  }

  /** Something other than a probe was sent to the home just now. */
  traffic(now: Instant): void {
    this.#trafficAt = now;
    const idle = this.#probeAt === undefined && this.#holdAt === undefined;
    if (this.#state !== "confirmed" || !idle) return;
    const due = Math.max(
      now,
      spaced(this.#probedAt, WATCH_INTERVAL_MS),
      spaced(this.#provenAt, WATCH_INTERVAL_MS),
    );
    this.#probeAt = due as Instant;
  }

  handleDeadline(now: Instant): ReachabilityStep[] {
    if (this.#holdAt !== undefined && now >= this.#holdAt) return this.#hold(now);
    if (this.#probeAt === undefined || now < this.#probeAt) return [];
    const watching = this.#state === "confirmed" && this.#holdAt === undefined;
    if (watching && !this.#hasTraffic(now)) {
      this.#probeAt = undefined;
      return [];
    }
    const isRepeat = this.#quick > 0 || this.#holdAt !== undefined;
    return this.#probe(now, isRepeat ? "repeat" : "probe");
  }

  #askQuickly(now: Instant): ReachabilityStep[] {
    this.#quick = QUICK_PROBES - 1;
    this.#backoffMs = FIRST_BACKOFF_MS;
    return this.#probe(now);
  }

  #probe(now: Instant, step: "probe" | "repeat" = "probe"): ReachabilityStep[] {
    this.#probedAt = now;
    this.#probeAt = this.#nextProbe(now);
    return [step];
  }

  /** When to probe again, if the probe of just now is not answered. */
  #nextProbe(now: Instant): Instant | undefined {
    if (this.#quick > 0) {
      this.#quick -= 1;
      return later(now, QUICK_SPACING_MS);
    }
    if (this.#state === "held") return this.#backOff(now);
    if (this.#holdAt !== undefined) return undefined;
    this.#misses += 1;
    if (this.#misses < WATCH_MISSES) return later(now, WATCH_INTERVAL_MS);
    this.#holdAt = later(now, ANSWER_WAIT_MS);
    return undefined;
  }

  #hold(now: Instant): ReachabilityStep[] {
    this.#enter("held", now);
    this.#holdAt = undefined;
    this.#misses = 0;
    if (this.#probeAt === undefined) this.#probeAt = this.#backOff(now);
    return ["hold"];
  }

  #backOff(now: Instant): Instant {
    const next = later(now, this.#backoffMs);
    this.#backoffMs = Math.min(2 * this.#backoffMs, LONGEST_BACKOFF_MS);
    return next;
  }

  #enter(state: ReachabilityState, now: Instant): void {
    this.#state = state;
    this.#since = now;
  }

  #hasTraffic(now: Instant): boolean {
    return this.#trafficAt !== undefined && now - this.#trafficAt <= WATCH_INTERVAL_MS;
  }
}

/** The earliest time that is `milliseconds` after an event, which may never have been. */
function spaced(event: Instant | undefined, milliseconds: number): number {
  return event === undefined ? Number.NEGATIVE_INFINITY : event + milliseconds;
}
