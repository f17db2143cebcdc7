/** A data plane that carries nothing, and has the counters that a test gives it. */

import {
  NO_TRAFFIC,
  type RefusalCounts,
  type TunnelCounters,
} from "../../common/tunnel/data-plane.ts";
import { IdleDataPlane } from "../../common/tunnel/idle-data-plane.ts";
import type { TunnelName, TunnelSpec } from "../../common/tunnel/tunnel.ts";

export class CountersOnly extends IdleDataPlane {
  readonly counted = new Map<TunnelName, Partial<TunnelCounters>>();
  /** Until when it is at making tunnels. */
  busy: Promise<void> | undefined;

  override async apply(wanted: readonly TunnelSpec[]): Promise<void> {
    await this.busy;
    await super.apply(wanted);
  }

  override async close(): Promise<void> {
    await super.apply([]);
  }

  override counters(tunnel: TunnelName): TunnelCounters {
    const counted = this.interfaceIndex(tunnel) === 0 ? undefined : this.counted.get(tunnel);
    return { ...NO_TRAFFIC, ...counted };
  }

  override unattributed(): RefusalCounts {
    return { "unknown-spi": 7 };
  }
}
