/**
 * What homes and their advertisements cost the server, with everything real but the kernel: the files are read and
 * checked, the journal is written, the log is written (to /dev/null), and the data plane is idle.
 *
 *     node --expose-gc --import tsx bench/server-scale.ts HOMES DIRECTORY
 *
 * Prints one line of JSON. One "advertisement" is the whole life of a move: judged, taken, remote endpoint set,
 * journal and log written, home probed, its answer heard, confirmed.
 */

import { randomBytes } from "node:crypto";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { setImmediate as turn } from "node:timers/promises";
import { destination } from "pino";
import { systemClock } from "../common/adapters/system-clock.ts";
import type { Ipv4Address } from "../common/ip/address.ts";
import { Icmpv6Type, withIcmpv6Checksum } from "../common/ip/icmpv6.ts";
import type { InterfaceNeighborMessage } from "../common/nd/interface-neighbor-message.ts";
import { openLog } from "../common/runtime/log.ts";
import { NO_REPORT } from "../common/runtime/state-health.ts";
import { IdleDataPlane } from "../common/tunnel/idle-data-plane.ts";
import { loadConfig } from "../server/commands/load.ts";
import type { HomeConfig } from "../server/config.ts";
import { ENDPOINT_ENTRY } from "../server/state/endpoint-entry.ts";
import { HomeStore } from "../server/state/home-store.ts";
import { TunnelServer } from "../server/tunnel-server.ts";
import { addressOf, advertisementOf, writeHomes } from "./many-homes.ts";

const WARM_UP = 20_000; // advertisements, before any is timed
const TIMED = 60_000;
/** Between two turns of the event loop, as a batch of the socket is. */
const BATCH = 64;
/** Of fewer homes the rest of the process makes the difference. */
const FEW = 1_000;
const HOP_LIMIT = 255;

async function main(count: number, directory: string): Promise<void> {
  const file = writeHomes(directory, count);
  mkdirSync(join(directory, "state"));
  const before = heap();
  const began = performance.now();
  const config = loadConfig(file);
  const clock = systemClock();
  const dataPlane = new IdleDataPlane();
  const fail = (error: unknown): void => {
    throw error;
  };
  const store = new HomeStore(ENDPOINT_ENTRY, join(directory, "state", "endpoints"), {
    ...NO_REPORT,
    failing: fail,
  });
  const probes: { readonly interfaceIndex: number; readonly icmp: Uint8Array }[] = [];
  const server = new TunnelServer({
    config,
    clock,
    dataPlane,
    store,
    health: { problem: undefined },
    sendNeighbor: (interfaceIndex, _destination, icmp) => {
      probes.push({ interfaceIndex, icmp });
      return true;
    },
    pathMtu: async () => undefined,
    ownAddresses: () => new Set<Ipv4Address>([config.address]),
    randomOctets: randomBytes,
    version: "bench",
    log: openLog(config.log, { stream: destination({ dest: "/dev/null", sync: true }) }),
  });
  await server.open(fail);
  const startMs = performance.now() - began;

  const homes = config.homes;
  const messages = homes.flatMap((home, index) => {
    const interfaceIndex = dataPlane.interfaceIndex(home.name);
    return [0, 1].map((move) =>
      received(home, interfaceIndex, advertisementOf(home, addressOf(index, move))),
    );
  });
  /** The homes' answers to all probes that were sent. */
  const answerProbes = (): void => {
    for (const { interfaceIndex, icmp } of probes.splice(0)) {
      const home = homes[interfaceIndex - 1];
      if (home === undefined) continue;
      const reply = icmp.slice();
      reply[0] = Icmpv6Type.echoReply;
      const checked = withIcmpv6Checksum(home.linkLocal, home.serverLinkLocal, reply);
      server.hear(received(home, interfaceIndex, checked));
    }
  };
  let sent = 0;
  const advertise = async (advertisements: number): Promise<void> => {
    for (let i = 0; i < advertisements; i++, sent++) {
      const move = Math.floor(sent / count) % 2;
      const message = messages[2 * (sent % count) + move];
      if (message !== undefined) server.hear(message);
      answerProbes();
      if (sent % BATCH === 0) await turn();
    }
  };

  await advertise(Math.max(WARM_UP, 2 * count));
  const cpuBefore = process.cpuUsage();
  const timedFrom = performance.now();
  await advertise(TIMED);
  const seconds = (performance.now() - timedFrom) / 1000;
  const cpu = process.cpuUsage(cpuBefore);
  messages.length = 0;
  const used = heap();

  const status = server.status();
  const accepted = status.homes.reduce((sum, home) => sum + home.advertisements.accepted, 0);
  const confirmed = status.homes.filter((home) => home.state.kind === "confirmed").length;
  if (accepted !== sent || confirmed !== count) {
    throw new Error(`${accepted} of ${sent} accepted, ${confirmed} of ${count} homes confirmed`);
  }
  await server.close();
  await store.close();
  const result = {
    homes: count,
    start_ms: Math.round(startMs),
    cpu_us: Math.round((10 * (cpu.user + cpu.system)) / TIMED) / 10,
    accepted_per_s: Math.round(TIMED / seconds),
    ...(count < FEW ? {} : perHome(count, before, used)),
    rss_mb: Math.round(process.memoryUsage().rss / 2 ** 20),
  };
  process.stdout.write(`${JSON.stringify(result)}\n`);
}

function received(
  home: HomeConfig,
  interfaceIndex: number,
  icmp: Uint8Array,
): InterfaceNeighborMessage {
  return {
    interfaceIndex,
    source: home.linkLocal,
    destination: home.serverLinkLocal,
    hopLimit: HOP_LIMIT,
    extensionHeaders: false,
    truncated: false,
    icmp,
  };
}

/** What is in use after a collection. */
function heap(): NodeJS.MemoryUsage {
  if (globalThis.gc === undefined) throw new Error("run with --expose-gc");
  globalThis.gc();
  globalThis.gc();
  return process.memoryUsage();
}

/** Octets of JavaScript objects, and of the array buffers that they hold. */
function perHome(count: number, before: NodeJS.MemoryUsage, after: NodeJS.MemoryUsage) {
  return {
    heap_per_home: Math.round((after.heapUsed - before.heapUsed) / count),
    buffers_per_home: Math.round((after.arrayBuffers - before.arrayBuffers) / count),
  };
}

const [, , homes = "1000", directory = "."] = process.argv;
await main(Number(homes), directory);
