/**
 * Where the sequence numbers of the kernel plane begin when its states are gone. The kernel is a table of states here; only
 * its notifications are real, and need root.
 */

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import {
  KernelDataPlane,
  type KernelDataPlaneOptions,
} from "../../common/adapters/kernel-data-plane.ts";
import type { NetlinkRequest } from "../../common/adapters/netlink-requests.ts";
import { SequenceFile } from "../../common/adapters/sequence-file.ts";
import { ConfigError, SystemError } from "../../common/errors.ts";
import { ReplayWindow } from "../../common/esp/replay-window.ts";
import { parseIpv4 } from "../../common/ip/address.ts";
import type { Instant } from "../../common/time.ts";
import type { Suite, TunnelSpec } from "../../common/tunnel/tunnel.ts";
import { XfrmMessageType } from "../../common/xfrm/message-type.ts";
import { decodeState, type PresentState } from "../../common/xfrm/state-message.ts";
import { tunnelAtServer } from "../support/many-tunnels.ts";
import { canUseNamespaces } from "../support/namespace.ts";

/** States that were made, by SPI. */
class Table {
  readonly states = new Map<
    number,
    { readonly payload: Uint8Array; readonly state: PresentState }
  >();

  attempt(requests: readonly NetlinkRequest[]): undefined[] {
    for (const { type, payload } of requests) {
      if (type === XfrmMessageType.deleteState) this.states.delete(spiOf(payload));
      if (type !== XfrmMessageType.newState) continue;
      const state = decodeState(payload);
      this.states.set(state.spi, { payload, state });
    }
    return requests.map(() => undefined);
  }

  dump({ type }: NetlinkRequest): Uint8Array[] {
    const isOfStates = type === XfrmMessageType.getState;
    return isOfStates ? [...this.states.values()].map(({ payload }) => payload) : [];
  }

  ask({ operation, payload }: NetlinkRequest): Uint8Array {
    const found = this.states.get(spiOf(payload));
    if (found === undefined) throw new SystemError(operation, "ESRCH");
    return found.payload;
  }

  close(): void {}

  /** The last number that was sent with the tunnel's keys, as far as its state knows. */
  sentWith(spec: TunnelSpec): number | undefined {
    return this.states.get(spec.outbound?.spi ?? 0)?.state.replay?.sent;
  }
}

/** Of a `struct xfrm_usersa_id`, which begins with the destination. */
function spiOf(payload: Uint8Array): number {
  return new DataView(payload.buffer, payload.byteOffset).getUint32(16);
}

let directory: string;
let table: Table;
const opened: KernelDataPlane[] = [];

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "hometun-test-"));
  table = new Table();
});

afterEach(async () => {
  for (const plane of opened.splice(0)) await plane.close();
  rmSync(directory, { recursive: true });
});

/** As a server does it that starts. */
function openPlane(): KernelDataPlane {
  const parts = {
    owner: "server",
    local: parseIpv4("198.51.100.1"),
    xfrm: table,
    routes: {
      request: async () => [],
      attempt: async (requests: readonly unknown[]) => requests.map(() => undefined),
      subscribe: () => ({ close: () => undefined }),
    },
    links: {
      configureAll: async (specs: readonly unknown[]) =>
        specs.map(() => ({ kind: "ready", interfaceIndex: 1 })),
      remove: async () => undefined,
    },
    guard: undefined,
    sequences: new SequenceFile(join(directory, "sequence-numbers")),
    now: () => 0 as Instant,
  };
  const plane = new KernelDataPlane(parts as unknown as KernelDataPlaneOptions);
  opened.push(plane);
  return plane;
}

function tunnel(number: number, suite: Suite = "aes-cbc-256-hmac-sha2-256-128"): TunnelSpec {
  const spec = tunnelAtServer(number);
  const companion = new Uint8Array(suite.startsWith("aes-gcm") ? 4 : 32).fill(number);
  const keys = { suite, encryptionKey: new Uint8Array(32).fill(number), companion };
  return {
    ...spec,
    outbound: { ...spec.outbound, ...keys },
    inbound: { ...spec.inbound, ...keys },
  };
}

describe.skipIf(!canUseNamespaces())("numbers", () => {
  it("after a power cut are some that the home takes for later ones, though it has heard few", async () => {
    await openPlane().apply([tunnel(1)]);
    const home = new ReplayWindow();
    for (let number = 1; number <= 5; number++) home.record(number);
    table = new Table();
    await openPlane().apply([tunnel(1)]);
    const next = (table.sentWith(tunnel(1)) ?? 0) + 1;
    expect(next).toBeGreaterThan(5);
    expect(home.infer(next % 2 ** 32)).toBe(next);
  });

  it("do not begin anew when somebody deleted the states before a reload", async () => {
    const plane = openPlane();
    await plane.apply([tunnel(1)]);
    table.states.clear();
    await plane.apply([tunnel(1), tunnel(2)]);
    expect(table.sentWith(tunnel(1))).toBeGreaterThan(0);
    expect(table.sentWith(tunnel(2))).toBe(0);
  });

  it("of a single-use key are not used at all then", async () => {
    const plane = openPlane();
    await plane.apply([tunnel(1, "aes-gcm-256")]);
    table.states.clear();
    await plane.apply([tunnel(1, "aes-gcm-256"), tunnel(2)]);
    expect(table.sentWith(tunnel(1))).toBeUndefined();
  });

  it("do not begin anew with the reload that follows one that was refused", async () => {
    await openPlane().apply([tunnel(1), tunnel(2, "aes-gcm-256")]);
    table = new Table();
    const plane = openPlane();
    await plane.apply([tunnel(3)]);
    const wanted = [tunnel(3), tunnel(1)];
    await expect(plane.apply([...wanted, tunnel(2, "aes-gcm-256")])).rejects.toThrow(ConfigError);
    await plane.apply(wanted);
    expect(table.sentWith(tunnel(1))).toBeGreaterThan(0);
  });

  it("go on where they were when the peer's keys alone are others", async () => {
    const plane = openPlane();
    await plane.apply([tunnel(1)]);
    const { inbound } = tunnel(2);
    await plane.apply([{ ...tunnel(1), ...(inbound === undefined ? {} : { inbound }) }]);
    expect(table.sentWith(tunnel(1))).toBe(0);
  });
});
