/**
 * What of the tunnel's life the user's hooks hear: it is up, it is down, it has moved. Pure.
 *
 * A change of address that the server confirms in time is a move and nothing else, also when there was no address for a
 * moment. Down is what lasts. Who comes back at another address is up first and has moved then, so that a hook on moves
 * hears of every address.
 */

import type { Ipv4Address } from "../../common/ip/address.ts";
import type { Instant } from "../../common/time.ts";
import type { HomeView } from "../home-view.ts";

/** For as long a tunnel may be unconfirmed before it counts as down. */
const DOWN_AFTER_MS = 5_000;

export interface HomeEvent {
  readonly kind: "up" | "down" | "move";
  /** Ours; the last one when there is none. */
  readonly address: Ipv4Address | undefined;
  /** The one confirmed before, with `up` and `move` if there was another. */
  readonly previous: Ipv4Address | undefined;
  readonly view: HomeView;
}

export class HomeEvents {
  #up = false;
  #lostAt: Instant | undefined;
  #confirmed: Ipv4Address | undefined;

  /** The events that lie between what was seen before and this. To be shown a view each second, or more often. */
  see(view: HomeView, now: Instant): HomeEvent[] {
    if (view.confirmed) return this.#upAt(view);
    this.#lostAt ??= now;
    return now - this.#lostAt >= DOWN_AFTER_MS ? this.#down(view) : [];
  }

  /** The daemon ends, and the tunnel with it. */
  end(view: HomeView): HomeEvent[] {
    return this.#down(view);
  }

  #down(view: HomeView): HomeEvent[] {
    if (!this.#up) return [];
    this.#up = false;
    return [{ kind: "down", address: this.#confirmed, previous: undefined, view }];
  }

  #upAt(view: HomeView): HomeEvent[] {
    const { address } = view;
    const previous = this.#confirmed === address ? undefined : this.#confirmed;
    const wasUp = this.#up;
    this.#up = true;
    this.#lostAt = undefined;
    this.#confirmed = address;
    const up: HomeEvent[] = wasUp ? [] : [{ kind: "up", address, previous, view }];
    return previous === undefined ? up : [...up, { kind: "move", address, previous, view }];
  }
}
