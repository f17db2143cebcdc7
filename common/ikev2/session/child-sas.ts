/** The Child SAs of a session. A rekey makes another beside the old one, which its maker then deletes. */

import { earliest, type Instant, later } from "../../time.ts";
import type { ChildSa, SessionEffect } from "../session-types.ts";
import { type ChildRecord, REPLACED_MS } from "./state.ts";

/** What an authenticated peer can make us hold. */
const MAXIMUM_CHILDREN = 8;

export class ChildSas {
  readonly #emit: (effect: SessionEffect) => void;
  /** Bounded by `MAXIMUM_CHILDREN` where the peer asks. */
  #records: ChildRecord[] = [];

  constructor(emit: (effect: SessionEffect) => void) {
    this.#emit = emit;
  }

  get all(): readonly ChildRecord[] {
    return this.#records;
  }

  get isFull(): boolean {
    return this.#records.length >= MAXIMUM_CHILDREN;
  }

  /** By where we receive. */
  find(spi: number): ChildRecord | undefined {
    return this.#records.find(({ sa }) => sa.inbound.spi === spi);
  }

  /** By where the peer receives, which is how it names them. */
  findOutbound(spi: number | undefined): ChildRecord | undefined {
    return this.#records.find(({ sa }) => sa.outbound.spi === spi);
  }

  includes(record: ChildRecord): boolean {
    return this.#records.includes(record);
  }

  add(
    sa: ChildSa,
    how: {
      readonly replaces?: number | undefined;
      readonly outbound: "now" | "deferred";
      readonly rekeyAt: Instant | undefined;
    },
  ): ChildRecord {
    const record: ChildRecord = {
      sa,
      state: "installed",
      successor: undefined,
      rival: undefined,
      rekeyAt: how.rekeyAt,
      overdueAt: undefined,
    };
    this.#records.push(record);
    const { replaces, outbound } = how;
    this.#emit({ kind: "child-created", child: sa, replaces, outbound });
    return record;
  }

  /** It has a successor; who made that deletes this, or else we do after a while. */
  replace(record: ChildRecord, now: Instant): void {
    record.state = "replaced";
    record.overdueAt = later(now, REPLACED_MS);
  }

  /** When the first of those in use is too old. */
  get rekeyAt(): Instant | undefined {
    let at: Instant | undefined;
    for (const { state, rekeyAt } of this.#records) {
      if (state === "installed") at = earliest(at, rekeyAt);
    }
    return at;
  }

  /** SPIs of those that are too old; they count as young again, lest a peer that refuses be asked without end. */
  takeOld(now: Instant, lifetimeMs: number): number[] {
    const old = this.#records.filter(
      ({ state, rekeyAt }) => state === "installed" && rekeyAt !== undefined && rekeyAt <= now,
    );
    for (const { sa } of old) this.young(sa.inbound.spi, lifetimeMs, now);
    return old.map(({ sa }) => sa.inbound.spi);
  }

  /** It is to be rekeyed so much later; 0: not for its age. */
  young(spi: number, lifetimeMs: number, now: Instant): void {
    const record = this.find(spi);
    if (record !== undefined)
      record.rekeyAt = lifetimeMs === 0 ? undefined : later(now, lifetimeMs);
  }

  /** SPIs of those that the peer should have deleted long ago. */
  takeOverdue(now: Instant): number[] {
    const overdue = this.#records.filter(
      ({ overdueAt }) => overdueAt !== undefined && overdueAt <= now,
    );
    for (const record of overdue) record.overdueAt = undefined;
    return overdue.map(({ sa }) => sa.inbound.spi);
  }

  /** By where we receive. `how`: see `child-deleted`. */
  remove(spis: readonly number[], how: { readonly unagreed?: true } = {}): void {
    for (const spi of spis) {
      const record = this.find(spi);
      if (record === undefined) continue;
      this.#records = this.#records.filter((one) => one !== record);
      const { successor } = record;
      if (successor !== undefined && this.includes(successor)) {
        this.#emit({ kind: "child-outbound", spi: successor.sa.inbound.spi });
      }
      this.#emit({ kind: "child-deleted", spi, ...how });
    }
  }

  /** None takes over from another. */
  removeAll(how: { readonly unagreed?: true } = {}): void {
    const records = this.#records;
    this.#records = [];
    for (const { sa } of records)
      this.#emit({ kind: "child-deleted", spi: sa.inbound.spi, ...how });
  }
}
