/** A data plane that carries nothing: tunnels have interface indexes, and nothing is ever counted. */

import type { DataPlane, RefusalCounts, TunnelCounters } from "./data-plane.ts";
import { NO_TRAFFIC } from "./data-plane.ts";
import type { TunnelName, TunnelSpec } from "./tunnel.ts";

/** For whoever wants all of a daemon but its packets: rehearsals, simulations, tests. */
export class IdleDataPlane implements DataPlane {
  readonly kind = "userspace";
  readonly crypto = "none";
  readonly #indexes = new Map<TunnelName, number>();

  async apply(wanted: readonly TunnelSpec[]): Promise<void> {
    this.#indexes.clear();
    wanted.forEach(({ name }, place) => {
      this.#indexes.set(name, place + 1);
    });
  }

  interfaceIndex(tunnel: TunnelName): number {
    return this.#indexes.get(tunnel) ?? 0;
  }

  counters(_tunnel: TunnelName): TunnelCounters {
    return NO_TRAFFIC;
  }

  unattributed(): RefusalCounts {
    return {};
  }

  setLocal(): void {}
  setRemote(): void {}
  setSending(): void {}
  async setMtu(): Promise<void> {}
  sendKeepalive(): void {}
  onEvent(): void {}
  flush(): void {}
  async close(): Promise<void> {}
}
