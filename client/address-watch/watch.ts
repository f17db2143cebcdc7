/**
 * When to ask the kernel which address would reach the server, and when to tell that the answer changed.
 *
 * Whatever comes from the system is a hint that something may have changed and no more. A hint leads to a query at
 * once. Hints that come while a query is under way lead to exactly one more after it, since its answer may already
 * have been old. So duplicates, lost messages and any order of them end in the same place: the last query was made
 * after the last change.
 *
 * One change of address is a burst: a provider's renumbering deletes and adds addresses and routes within
 * milliseconds, and only its last message makes the new address work. The first queries therefore follow the
 * hints without delay, and only what goes on beyond them, say a routing daemon at work, is coalesced to one query
 * in 50 ms.
 *
 * Should no hint come, the question is asked again every 30 s. Sleep stops the monotonic clock but not the wall
 * clock, so a difference between the two is a hint as well.
 */

import type { UplinkSnapshot } from "../../common/rtnetlink/uplink.ts";
import { earliest, type Instant, later } from "../../common/time.ts";
import { uplinkDifferences } from "./snapshot.ts";

/** Queries that follow one another without delay, after a quiet time. */
export const BURST_QUERIES = 32;
/** Time between queries while hints keep coming. */
export const COALESCE_MS = 50;
/** The question is asked again, hint or not. */
export const REASK_MS = 30_000;
/** After a query that could not be made. */
export const RETRY_MS = 1_000;
/** How often the two clocks are compared. */
export const CLOCK_CHECK_MS = 5_000;
/** A difference that neither slewing nor a late timer explains. */
export const CLOCK_JUMP_MS = 1_000;

export type AddressWatchInput =
  | { readonly kind: "hint" }
  /** What the query found; undefined: no address reaches the server. */
  | { readonly kind: "answer"; readonly snapshot: UplinkSnapshot | undefined }
  /** The query could not be made, so nothing is known. */
  | { readonly kind: "failed" }
  /** The wall clock, as asked for, in milliseconds since the epoch. */
  | { readonly kind: "wall-clock"; readonly milliseconds: number };

export type AddressWatchEffect =
  /** Ask the kernel, then give `answer` or `failed`. */
  | { readonly kind: "query" }
  | { readonly kind: "read-wall-clock" }
  /** The machine slept, or its clock was set: the world may have forgotten us, though nothing here changed. */
  | { readonly kind: "resumed" }
  /** The first answer, and each that differs from the one before. */
  | {
      readonly kind: "changed";
      readonly previous: UplinkSnapshot | undefined;
      readonly current: UplinkSnapshot | undefined;
    };

/** Begins with the first hint. */
export class AddressWatch {
  #known: { readonly snapshot: UplinkSnapshot | undefined } | undefined;
  #asking = false;
  /** A hint came after the last query was made. */
  #hinted = false;
  /** When the allowance of queries will be whole again: each one costs `COALESCE_MS`. */
  #allowanceWhole: Instant | undefined;
  #reaskAt: Instant | undefined;
  #clockCheckAt: Instant | undefined;
  #clocks: { readonly wall: number; readonly monotonic: Instant } | undefined;

  /** When to call `handleDeadline`, if nothing else happens first. */
  get deadline(): Instant | undefined {
    if (this.#asking) return this.#clockCheckAt;
    const query = this.#hinted ? this.#nextQueryAt() : this.#reaskAt;
    return earliest(query, this.#clockCheckAt);
  }

  handle(input: AddressWatchInput, now: Instant): AddressWatchEffect[] {
    switch (input.kind) {
      case "hint":
        this.#hinted = true;
        return [...this.#startClockCheck(now), ...this.#query(now)];
      case "answer":
        this.#asking = false;
        this.#reaskAt = later(now, REASK_MS);
        return [...this.#learn(input.snapshot), ...this.#query(now)];
      case "failed":
        this.#asking = false;
        this.#reaskAt = later(now, RETRY_MS);
        return this.#query(now);
      case "wall-clock": {
        const jumped = this.#jumped(input.milliseconds, now);
        this.#clocks = { wall: input.milliseconds, monotonic: now };
        if (!jumped) return this.#query(now);
        this.#hinted = true;
        return [{ kind: "resumed" }, ...this.#query(now)];
      }
    }
  }

  handleDeadline(now: Instant): AddressWatchEffect[] {
    const effects: AddressWatchEffect[] = [];
    if (this.#clockCheckAt !== undefined && now >= this.#clockCheckAt) {
      this.#clockCheckAt = later(now, CLOCK_CHECK_MS);
      effects.push({ kind: "read-wall-clock" });
    }
    if (this.#reaskAt !== undefined && now >= this.#reaskAt) this.#hinted = true;
    return [...effects, ...this.#query(now)];
  }

  /** Makes the query that is due, if one is. */
  #query(now: Instant): AddressWatchEffect[] {
    const allowedAt = this.#nextQueryAt();
    if (this.#asking || !this.#hinted || (allowedAt !== undefined && now < allowedAt)) return [];
    const from = this.#allowanceWhole === undefined ? now : Math.max(now, this.#allowanceWhole);
    this.#allowanceWhole = later(from as Instant, COALESCE_MS);
    this.#asking = true;
    this.#hinted = false;
    this.#reaskAt = undefined;
    return [{ kind: "query" }];
  }

  #nextQueryAt(): Instant | undefined {
    const whole = this.#allowanceWhole;
    return whole === undefined ? undefined : later(whole, -(BURST_QUERIES - 1) * COALESCE_MS);
  }

  #learn(current: UplinkSnapshot | undefined): AddressWatchEffect[] {
    const before = this.#known;
    this.#known = { snapshot: current };
    const previous = before?.snapshot;
    const same = before !== undefined && uplinkDifferences(previous, current).length === 0;
    return same ? [] : [{ kind: "changed", previous, current }];
  }

  #startClockCheck(now: Instant): AddressWatchEffect[] {
    if (this.#clockCheckAt !== undefined) return [];
    this.#clockCheckAt = later(now, CLOCK_CHECK_MS);
    return [{ kind: "read-wall-clock" }];
  }

  #jumped(wall: number, now: Instant): boolean {
    if (this.#clocks === undefined) return false;
    const drift = wall - this.#clocks.wall - (now - this.#clocks.monotonic);
    return Math.abs(drift) > CLOCK_JUMP_MS;
  }
}
