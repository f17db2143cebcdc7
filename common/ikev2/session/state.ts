/** What a session remembers: its phase, its tasks, its IKE SAs and Child SAs. */

import type { Instant } from "../../time.ts";
import type { Group, IkeSuite } from "../algorithms.ts";
import type { ChildPart } from "../exchanges/ike-auth.ts";
import type { Hello, InitiatorStart } from "../exchanges/ike-sa-init.ts";
import type { IkeSa } from "../ike-sa.ts";
import type { KeyAgreement } from "../key-agreement.ts";
import type { Nonces } from "../keys.ts";
import type { Path } from "../nat-detection.ts";
import type { Retransmission } from "../retransmission.ts";
import type { ChildSa, Directory, HomeOptions } from "../session-types.ts";
import type { IkeSpi } from "../wire/header.ts";
import type { TrafficSelector } from "../wire/payloads/traffic-selectors.ts";

/** How long a replaced SA is kept that the peer should have deleted. */
export const REPLACED_MS = 60_000;

export type Task =
  | { readonly kind: "rekey-child"; readonly spi: number; readonly group?: Group | "none" }
  | {
      readonly kind: "create-child";
      readonly localSelectors: readonly TrafficSelector[];
      readonly remoteSelectors: readonly TrafficSelector[];
      readonly group?: Group | "none";
    }
  | { readonly kind: "delete-children"; readonly spis: readonly number[] }
  | { readonly kind: "rekey-ike"; readonly group?: Group }
  | { readonly kind: "information"; readonly authLifetime?: number }
  | { readonly kind: "close" };

/** A request of ours that is not answered yet, with what its answer needs. */
export type PendingExchange =
  | { readonly kind: "auth"; readonly spi: number }
  | {
      readonly kind: "child";
      readonly task: Extract<Task, { kind: "rekey-child" | "create-child" }>;
      readonly spi: number;
      readonly nonce: Uint8Array;
      readonly agreement: KeyAgreement | undefined;
      readonly child: ChildPart;
      readonly rekeyed: ChildRecord | undefined;
    }
  | {
      readonly kind: "ike";
      readonly task: Extract<Task, { kind: "rekey-ike" }>;
      readonly spi: IkeSpi;
      readonly nonce: Uint8Array;
      readonly agreement: KeyAgreement;
      readonly suites: readonly IkeSuite[];
    }
  | { readonly kind: "delete-children"; readonly spis: readonly number[] }
  | { readonly kind: "delete-ike" }
  | { readonly kind: "information" };

export interface SaRecord {
  readonly sa: IkeSa;
  /** Since when it counts as young. */
  bornAt: Instant;
  /** `replaced`: it has a successor. `closing`: we have asked to delete it. */
  state: "current" | "candidate" | "replaced" | "closing";
  exchange: PendingExchange | undefined;
  /** The peer has used it. */
  isConfirmed: boolean;
  /** When one that the peer should have deleted is forgotten. */
  overdueAt: Instant | undefined;
  /** The successor the peer began to make while we were making ours. */
  rival: { readonly record: SaRecord; readonly nonces: Nonces } | undefined;
}

export interface ChildRecord {
  readonly sa: ChildSa;
  /** `replaced`: it has a successor, and who made that deletes this. `deleting`: we have asked to delete it. */
  state: "installed" | "rekeying" | "replaced" | "deleting";
  /** The successor that the peer made; sending with it waits until this one is deleted. */
  successor: ChildRecord | undefined;
  rival: { readonly record: ChildRecord; readonly nonces: Nonces } | undefined;
  /** When it is so old that it is rekeyed. */
  rekeyAt: Instant | undefined;
  /** When a replaced one is deleted even though that is the peer's part. */
  overdueAt: Instant | undefined;
}

export type Phase =
  | { readonly kind: "idle" }
  | {
      readonly kind: "init";
      readonly start: InitiatorStart;
      readonly request: Uint8Array;
      readonly retransmission: Retransmission;
      readonly restarts: number;
      readonly refused: number | undefined;
    }
  | {
      readonly kind: "authenticating";
      readonly transcript: Transcript;
      readonly expiresAt: Instant | undefined;
    }
  | { readonly kind: "established" }
  | { readonly kind: "closed" };

/** What IKE_AUTH authenticates. */
export interface Transcript {
  readonly request: Uint8Array;
  readonly response: Uint8Array;
  readonly nonces: Nonces;
}

/** What a gateway's session begins with: IKE_SA_INIT, as the responder has answered it. */
export interface AcceptedInit {
  readonly initiatorSpi: IkeSpi;
  readonly responderSpi: IkeSpi;
  readonly hello: Hello;
  readonly agreement: KeyAgreement;
  readonly transcript: Transcript;
  readonly path: Path;
  readonly encapsulated: boolean;
}

export type SessionRole =
  | { readonly kind: "home"; readonly options: HomeOptions }
  | { readonly kind: "gateway"; readonly directory: Directory };
