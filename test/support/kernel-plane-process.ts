/**
 * One end of a tunnel on the kernel's data plane, for tests that move it faster than daemons would. Reads a line of
 * JSON, `Order`, from its standard input for each thing to do and answers each with a line.
 */

import { createInterface } from "node:readline";
import { KernelDataPlane } from "../../common/adapters/kernel-data-plane.ts";
import { LeakGuard } from "../../common/adapters/leak-guard.ts";
import { RouteSocket } from "../../common/adapters/netlink-socket.ts";
import { SequenceFile } from "../../common/adapters/sequence-file.ts";
import { openTunnelLinks } from "../../common/adapters/tunnel-link.ts";
import { XfrmSocket } from "../../common/adapters/xfrm-socket.ts";
import type { Ipv4Address } from "../../common/ip/address.ts";
import type { Instant } from "../../common/time.ts";
import {
  requireKeys,
  type SecurityAssociationKeys,
  type TunnelName,
  type TunnelSpec,
} from "../../common/tunnel/tunnel.ts";

export type Order =
  | {
      readonly kind: "open";
      readonly owner: "client" | "server";
      readonly local: string | undefined;
      readonly directory: string;
      readonly migrate: boolean;
      readonly specs: readonly TunnelSpec[];
    }
  /** Moves the remote end (a server's) or the local one (a client's) to each address in turn. */
  | {
      readonly kind: "move";
      readonly end: "remote" | "local";
      readonly tunnels: readonly string[];
      readonly addresses: readonly string[];
      /** Of the remote end; default 4500. */
      readonly port?: number;
      readonly times: number;
      /** Milliseconds between two moves. */
      readonly everyMs: number;
    }
  | { readonly kind: "counters"; readonly tunnel: string }
  | { readonly kind: "close" };

let plane: KernelDataPlane | undefined;

async function carryOut(order: Order): Promise<unknown> {
  switch (order.kind) {
    case "open": {
      const routes = new RouteSocket();
      plane = new KernelDataPlane({
        owner: order.owner,
        local: order.local as Ipv4Address | undefined,
        migrate: order.migrate,
        xfrm: new XfrmSocket(),
        routes,
        links: openTunnelLinks(routes),
        guard: new LeakGuard(routes, order.owner),
        sequences: new SequenceFile(`${order.directory}/sequence-numbers`),
        now: () => performance.now() as Instant,
      });
      const started = performance.now();
      await plane.apply(order.specs.map(withKeys));
      return { ms: performance.now() - started };
    }
    case "move": {
      const times: number[] = [];
      for (let count = 0; count < order.times; count++) {
        const address = order.addresses[count % order.addresses.length] as Ipv4Address;
        const tunnel = order.tunnels[count % order.tunnels.length] as TunnelName;
        const started = performance.now();
        if (order.end === "remote") plane?.setRemote(tunnel, { address, port: order.port ?? 4500 });
        else plane?.setLocal(address);
        times.push(performance.now() - started);
        await new Promise((resolve) => setTimeout(resolve, order.everyMs));
      }
      times.sort((a, b) => a - b);
      return { medianMs: times[times.length >> 1], longestMs: times.at(-1) };
    }
    case "counters":
      return plane?.counters(order.tunnel as TunnelName);
    case "close":
      await plane?.close();
      process.exit();
  }
}

/** JSON makes objects of typed arrays. */
function withKeys(spec: TunnelSpec): TunnelSpec {
  const { outbound, inbound } = requireKeys(spec);
  return { ...spec, outbound: restored(outbound), inbound: restored(inbound) };
}

function restored(keys: SecurityAssociationKeys): SecurityAssociationKeys {
  const { encryptionKey, companion } = keys;
  return {
    ...keys,
    encryptionKey: Uint8Array.from(Object.values(encryptionKey)),
    companion: Uint8Array.from(Object.values(companion)),
  };
}

process.stdout.write("ready\n");
for await (const line of createInterface({ input: process.stdin })) {
  const answer = (await carryOut(JSON.parse(line) as Order)) ?? null;
  process.stdout.write(`${JSON.stringify(answer)}\n`);
}
