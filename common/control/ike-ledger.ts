/** What became of IKE SAs, for status and metrics. */

import type { IkeSuite } from "../ikev2/algorithms.ts";
import type { CloseReason, SessionEffect } from "../ikev2/session-types.ts";
import type { Refusals } from "./traffic.ts";

/** An IKE SA that stands. */
export interface IkeSaStatus {
  /** Such as `aes-gcm-256, hmac-sha2-256, x25519`. */
  readonly suite: string;
  /** When the ends proved who they are; wall-clock milliseconds since 1970. */
  readonly since: number;
  readonly rekeys: number;
}

/** Counted since the daemon started. */
export interface IkeTotals {
  /** Ends that proved who they are, at the beginning and when they did again. */
  readonly handshakes: number;
  /** IKE SAs that followed another without that. */
  readonly rekeys: number;
  /** Strangers asked to show that they are where they say. */
  readonly cookies: number;
  /** What came to nothing: messages of strangers, proofs that did not hold. */
  readonly refused: Refusals;
  /** How IKE SAs ended. */
  readonly closed: Refusals;
}

export class IkeLedger<Id extends number> {
  /** As many as there are sessions. */
  readonly #sas = new Map<Id, IkeSaStatus>();
  #handshakes = 0;
  #rekeys = 0;
  #cookies = 0;
  readonly #refused: Partial<Record<string, number>> = {};
  readonly #closed: Partial<Record<string, number>> = {};

  /** Of the session `id`, at `wall`, milliseconds since 1970. */
  note(id: Id, effect: SessionEffect, wall: number): void {
    const sa = this.#sas.get(id);
    if (effect.kind === "established") {
      this.#handshakes += 1;
      this.#sas.set(id, { suite: describeSuite(effect.suite), since: wall, rekeys: 0 });
    } else if (effect.kind === "ike-rekeyed" && sa !== undefined) {
      this.#rekeys += 1;
      const suite = describeSuite(effect.suite);
      this.#sas.set(id, { suite, since: sa.since, rekeys: sa.rekeys + 1 });
    } else if (effect.kind === "closed") {
      if (sa === undefined) count(this.#refused, refusalOf(effect.reason));
      else count(this.#closed, effect.reason.kind);
      this.#sas.delete(id);
    }
  }

  cookieSent(): void {
    this.#cookies += 1;
  }

  /** A stranger's message was not worth a session. */
  refuse(reason: string): void {
    count(this.#refused, reason);
  }

  /** Those of `ids` that stand. */
  statuses(ids: Iterable<Id>): IkeSaStatus[] {
    return [...ids].flatMap((id) => this.#sas.get(id) ?? []);
  }

  totals(): IkeTotals {
    return {
      handshakes: this.#handshakes,
      rekeys: this.#rekeys,
      cookies: this.#cookies,
      refused: { ...this.#refused },
      closed: { ...this.#closed },
    };
  }
}

/** Why there is no IKE SA; a proof that does not hold says in what. */
function refusalOf(reason: CloseReason): string {
  return reason.kind === "not-authentic" ? reason.why : reason.kind;
}

function describeSuite({ encryption, prf, group }: IkeSuite): string {
  return `${encryption}, ${prf}, ${group}`;
}

function count(counts: Partial<Record<string, number>>, reason: string): void {
  counts[reason] = (counts[reason] ?? 0) + 1;
}
