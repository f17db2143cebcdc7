/** A data plane that carries nothing: interface indexes, and the counters that a test gives it. */

import {
  type DataPlane,
  NO_TRAFFIC,
  type RefusalCounts,
  type TunnelCounters,
} from "../../common/tunnel/data-plane.ts";
import type { TunnelName, TunnelSpec } from "../../common/tunnel/tunnel.ts";

export class CountersOnly implements DataPlane {
  readonly kind = "userspace";
  readonly crypto = "none";
  readonly counted = new Map<TunnelName, Partial<TunnelCounters>>();
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

  counters(tunnel: TunnelName): TunnelCounters {
    return { ...NO_TRAFFIC, ...(this.#indexes.has(tunnel) ? this.counted.get(tunnel) : {}) };
  }

  unattributed(): RefusalCounts {
    return { "unknown-spi": 7 };
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
