/**
 * One home changes its address thousands of times. Every change must be confirmed, and neither daemon may keep anything
 * of it: what they have in use after a warm-up, which is not counted, is compared with what they have at the end.
 */

import { join } from "node:path";
import type { Running } from "../test/support/namespace.ts";
import {
  type HomeOptions,
  homeIn,
  type LabHome,
  TunnelLab,
  type Uplink,
} from "../test/support/tunnel-lab.ts";
import type { SoakKeys } from "./crash-soak.ts";
import { type EngineMode, type Memory, memoryOf, reporting } from "./memory.ts";
import { median } from "./numbers.ts";
import { SeededRandom } from "./random.ts";

const PATIENCE_MS = 30_000;
const POLL_MS = 3;
/** Changes, while compilers and caches settle. */
export const WARM_UP = 2_000;
/** Looks of which the middle one counts, at the beginning and at the end. */
const SAMPLES = 5;
/**
 * When memory is looked at after it, in hundredths of the changes. Seldom: it takes a garbage collection, after which the
 * engine throws away the code that depended on what is gone, and compiles it anew.
 */
const LOOKS = new Set([0, 1, 2, 3, 4, 10, 20, 30, 40, 50, 60, 70, 80, 90, 96, 97, 98, 99, 100]);
/** More than a home that moves may send: here it moves as fast as it can. */
const SERVER = "advertisements = { rate = 1000, burst = 1000 }";
const FIRST_HOST = 2;
const LAST_HOST = 30;
/** New keys are part of a long life. */
const REKEY_PACKETS = 2_000;

export interface ChangeSoakOptions {
  /** After the warm-up. */
  readonly count: number;
  /** Changes; `WARM_UP` unless given. */
  readonly warmUp?: number;
  readonly seed: number;
  readonly keys: SoakKeys;
  /** Compiling unless given. */
  readonly engine?: EngineMode;
  /** Ends it before that. */
  readonly signal?: AbortSignal;
  /** Hears of each change, those of the warm-up included. */
  readonly onChange?: (done: number, soFar: ChangeSoakOutcome) => void;
}

export interface ChangeSoakOutcome {
  /** From the command to the server's confirmation as the client saw it, milliseconds each; with the warm-up's. */
  readonly confirmations: readonly number[];
  /** The first at the end of the warm-up. */
  readonly client: readonly Memory[];
  readonly server: readonly Memory[];
}

/** Growth from the first samples to the last, as a part: 0.01 is one per cent. */
export function growth(samples: readonly Memory[], what: keyof Memory): number {
  const values = samples.map((sample) => sample[what]);
  return median(values.slice(-SAMPLES)) / median(values.slice(0, SAMPLES)) - 1;
}

/** Throws when a change is not confirmed. */
export async function soakChanges(options: ChangeSoakOptions): Promise<ChangeSoakOutcome> {
  const { count, warmUp = WARM_UP, engine = "compiling", keys, seed, signal, onChange } = options;
  const home: HomeOptions =
    keys === "ikev2"
      ? { name: "alice", ikev2: "psk", rekeyPackets: REKEY_PACKETS }
      : { name: "alice", encapsulation: "udp" };
  const lab = await TunnelLab.build({ homes: [home], server: SERVER, node: reporting(engine) });
  try {
    const soak = new ChangeSoak(lab, new SeededRandom(seed));
    await soak.begin();
    const outcome = {
      confirmations: [] as number[],
      client: [] as Memory[],
      server: [] as Memory[],
    };
    let looked: number | undefined;
    for (let done = 1; done <= warmUp + count && signal?.aborted !== true; done++) {
      outcome.confirmations.push(await soak.change());
      const hundredth = Math.floor((100 * (done - warmUp)) / count);
      if (LOOKS.has(hundredth) && hundredth !== looked) {
        looked = hundredth;
        const { client, server } = await soak.memory();
        outcome.client.push(client);
        outcome.server.push(server);
      }
      onChange?.(done, outcome);
    }
    return outcome;
  } finally {
    await lab.dispose();
  }
}

class ChangeSoak {
  readonly #lab: TunnelLab;
  readonly #home: LabHome;
  readonly #random: SeededRandom;
  readonly #reports: { readonly client: string; readonly server: string };
  /** `ip -batch`, which stays. */
  readonly #ip: Running;
  #at: { readonly address: string; readonly uplink: Uplink };

  constructor(lab: TunnelLab, random: SeededRandom) {
    const [home] = lab.homes;
    if (home === undefined) throw new Error("a laboratory without homes");
    this.#lab = lab;
    this.#home = home;
    this.#random = random;
    this.#reports = {
      client: join(lab.directory, "client-heap.json"),
      server: join(lab.directory, "server-heap.json"),
    };
    this.#ip = home.namespace.spawn(["ip", "-4", "-force", "-batch", "-"]);
    this.#at = { address: home.ipv4(7), uplink: "wan" };
  }

  async begin(): Promise<void> {
    const { server, far } = this.#lab;
    const home = this.#home;
    server.launch({ env: { HEAP_REPORT: this.#reports.server } });
    home.client.launch({ env: { HEAP_REPORT: this.#reports.client } });
    await this.#lab.confirmed(home, home.ipv4(7));
    await home.isReachedFrom(far);
    far.spawn(["ping", "-n", "-q", "-i", "0.05", home.address]);
  }

  /** Returns how long it took, in milliseconds. */
  async change(): Promise<number> {
    const { server } = this.#lab;
    const { client, name } = this.#home;
    const { address, uplink, lines } = this.#elsewhere();
    const since = performance.now();
    this.#ip.write(`${lines.join("\n")}\n`);
    await client.until(
      (status) => status.state.kind === "confirmed" && status.uplink?.address === address,
      PATIENCE_MS,
      POLL_MS,
    );
    const ms = performance.now() - since;
    await server.until(
      (status) => {
        const { state, endpoint } = homeIn(status, name);
        return state.kind === "confirmed" && endpoint?.address === address;
      },
      PATIENCE_MS,
      POLL_MS,
    );
    this.#at = { address, uplink };
    return ms;
  }

  async memory(): Promise<{ client: Memory; server: Memory }> {
    return {
      client: await memoryOf(this.#home.client.running, this.#reports.client),
      server: await memoryOf(this.#lab.server.running, this.#reports.server),
    };
  }

  #elsewhere(): { address: string; uplink: Uplink; lines: string[] } {
    for (;;) {
      const uplink = this.#random.pick<Uplink>(["wan", "wan2"]);
      const address = this.#home.ipv4(this.#random.between(FIRST_HOST, LAST_HOST), uplink);
      if (address === this.#at.address) continue;
      const lines = [
        `addr del ${this.#at.address}/27 dev ${this.#at.uplink}`,
        `addr add ${address}/27 dev ${uplink}`,
        `route replace default via ${this.#home.ipv4(1, uplink)}`,
      ];
      return { address, uplink, lines };
    }
  }
}
