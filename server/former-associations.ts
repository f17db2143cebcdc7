/**
 * What an earlier process of this server negotiated with the homes. A home knows nothing of a restart: it goes on with
 * SAs whose IKE SA is gone.
 *
 * - Each home is told so (INVALID_SPI, RFC 7296 section 1.5), a few at a time, and comes for new ones.
 * - Until it has them, pairs that stand in the kernel are gone on with, so that nothing is lost: if they are those that
 *   were negotiated with this very home, which is still believed by the same, and only for a while.
 */

import type { Clock, Timer } from "../common/adapters/system-clock.ts";
import { SUCCESSION_MS } from "../common/ikev2/default-settings.ts";
import { later } from "../common/time.ts";
import type { StandingAssociations } from "../common/tunnel/data-plane.ts";
import type { TunnelName } from "../common/tunnel/tunnel.ts";
import {
  type AssociationEntry,
  type AssociationPair,
  isSameProof,
  proofOf,
} from "./state/association-entry.ts";
import type { HomeStore } from "./state/home-store.ts";

/** Between one home and the next that is told: thousands must not come at once. Milliseconds. */
const SPACING_MS = 10;
/** When each is told again who has not come; it may be on the move, or what it was told was lost. */
const AGAIN_MS: readonly number[] = [0, 5_000, 30_000, 120_000];
/** How long inherited pairs serve; then the home has been told several times. */
const SERVES_MS = 300_000;

export interface FormerAssociationsParts {
  readonly memory: Pick<HomeStore<AssociationEntry>, "recall">;
  readonly clock: Clock;
  /** The home has come since, or is no more. */
  readonly isSettled: (home: TunnelName) => boolean;
  /** Says to the home, where it was last, that this SPI of ours is unknown. */
  readonly tell: (home: TunnelName, spi: number) => void;
  /** Nobody came: what was inherited is not to be used any more. */
  readonly expired: () => void;
}

export class FormerAssociations {
  readonly #parts: FormerAssociationsParts;
  readonly #timers = new Set<Timer>();
  #hasBegun = false;

  constructor(parts: FormerAssociationsParts) {
    this.#parts = parts;
  }

  /**
   * Whether a home may go on with a pair that stands: it was negotiated with whoever is `believedBy` this now, and will be
   * believed for as long as it may serve.
   */
  mayInherit(home: TunnelName, pair: StandingAssociations, believedBy: string): boolean {
    const { memory, clock } = this.#parts;
    const entry = memory.recall(home);
    if (entry?.until !== undefined && entry.until - SERVES_MS <= clock.wall()) return false;
    const known = entry?.pairs.find(
      ({ inbound, outbound, multicast }) =>
        inbound === pair.inbound && outbound === pair.outbound && multicast === pair.multicast,
    );
    // However often it begins anew meanwhile.
    if (known === undefined || this.#leftOf(known) <= 0) return false;
    return isSameProof(known.proof, proofOf(pair.keys, believedBy));
  }

  /** How long a pair may still be gone on with, whatever was done to the clock meanwhile; milliseconds. */
  #leftOf({ inheritedAt }: AssociationPair): number {
    const now = this.#parts.clock.wall();
    return Math.min(SERVES_MS, (inheritedAt ?? now) + SERVES_MS - now);
  }

  /**
   * The tunnels stand, with the pairs that were inherited: the homes are told. Those of whom nothing is known are not.
   */
  begin(homes: readonly TunnelName[], inherited: readonly AssociationPair[]): void {
    if (this.#hasBegun) return;
    this.#hasBegun = true;
    const left = inherited.map((pair) => this.#leftOf(pair));
    if (left.length > 0) this.#after(Math.max(0, Math.min(...left)), this.#parts.expired);
    this.#tellNext(homes, 0, 0);
  }

  /** Others were negotiated: `remove` is called when nothing can be on the way any more that was sent with the former. */
  succeeded(remove: () => void): void {
    this.#after(SUCCESSION_MS, remove);
  }

  close(): void {
    for (const timer of this.#timers) timer.cancel();
  }

  #after(ms: number, work: () => void): void {
    const { clock } = this.#parts;
    const timer = clock.at(later(clock.now(), ms), () => {
      this.#timers.delete(timer);
      work();
    });
    this.#timers.add(timer);
  }

  /** One home each time, round after round. */
  #tellNext(homes: readonly TunnelName[], from: number, round: number): void {
    const { memory, isSettled, tell } = this.#parts;
    for (let index = from; index < homes.length; index++) {
      const home = homes[index];
      if (home === undefined || isSettled(home)) continue;
      const pair = memory.recall(home)?.pairs.at(-1);
      if (pair === undefined) continue;
      tell(home, pair.inbound);
      this.#after(SPACING_MS, () => this.#tellNext(homes, index + 1, round));
      return;
    }
    const [last, pause] = [AGAIN_MS[round], AGAIN_MS[round + 1]];
    if (last === undefined || pause === undefined) return;
    const rest = homes.filter((home) => !isSettled(home));
    this.#after(pause - last, () => this.#tellNext(rest, 0, round + 1));
  }
}
