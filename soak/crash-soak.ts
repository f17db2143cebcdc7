/**
 * Either daemon is killed at a random moment around a change of address and started again, over and over; at times it
 * dies again before all is as it was. After each death every home must come back; and in all that was ever sent no nonce
 * may be there twice, and nothing in clear.
 *
 * Several laboratories may run at once, since most of a recovery is waiting. However it ends, what was seen until then is
 * judged.
 */

import type { Running } from "../test/support/namespace.ts";
import { PingStream } from "../test/support/ping-stream.ts";
import {
  type Daemon,
  FAR,
  type HomeOptions,
  homeIn,
  type LabHome,
  TunnelLab,
} from "../test/support/tunnel-lab.ts";
import { residentMemory } from "./memory.ts";
import { SeededRandom } from "./random.ts";
import { describeProcess, describeStandstill, Standstill } from "./standstill.ts";
import { WireJudge, type WireVerdict } from "./wire-judge.ts";

/** What is inside, and must not be seen outside; ping repeats 16 octets at most. */
const MARKER = "hometun-marker-0";
const HOMES = ["alice", "bob"] as const;
/** A home that is not back by then counts as lost; machines that are shared stand still for half a minute at times. */
const PATIENCE_MS = 300_000;
/** One of so many deaths is followed by another of the same daemons, at most so long after they were started again. */
const DIES_AGAIN = { chances: 4, withinMs: 1_500 } as const;
/** What the daemons say is shown when a home is lost. */
const LOG = 'log.level = "debug"';
const KEPT_LOG = 8_000; // characters
/** The daemon dies at most so long before or after the change, milliseconds. */
const MOMENT = { before: 20, after: 80 } as const;
const MOST_DOWN_MS = 150;
const FIRST_HOST = 2;
const LAST_HOST = 30;

export type SoakKeys = "ikev2" | "manual";

export interface CrashSoakOptions {
  readonly count: number;
  readonly seed: number;
  readonly keys: SoakKeys;
  /** Laboratories at once; 1 unless given. */
  readonly atOnce?: number;
  /** Ends it before that; what was seen until then is judged. */
  readonly signal?: AbortSignal;
  /** Hears of each recovery, and how the packets are judged so far. */
  readonly onRecovery?: (recovery: Recovery, soFar: CrashSoakOutcome) => void;
}

export interface Recovery {
  /** Deaths until now, this one's included. */
  readonly number: number;
  readonly victim: Victim;
  /** How often the victims died before all was as it was: 1 or 2. */
  readonly deaths: number;
  /** Processes that were killed. */
  readonly kills: number;
  /** From the daemon's last start until both homes are confirmed and carry packets, in milliseconds. */
  readonly ms: number;
  /** Resident memory of the server, in octets. */
  readonly memory: number;
}

export type Victim = "server" | "client" | "both";

export interface CrashSoakOutcome {
  readonly recoveries: readonly Recovery[];
  readonly wire: WireVerdict;
  /** Which home did not come back, when, and what the daemons did and said; the soak ends with it. */
  readonly lost: string | undefined;
  /** What kept the soak itself from going on: nothing that a daemon did. */
  readonly broken: string | undefined;
}

/** All deaths that were survived. */
export function deathsOf(recoveries: readonly Recovery[]): number {
  return recoveries.reduce((sum, { deaths }) => sum + deaths, 0);
}

export async function soakCrashes(options: CrashSoakOptions): Promise<CrashSoakOutcome> {
  const { atOnce = 1, seed } = options;
  const record = new CrashRecord(options);
  const seeds = Array.from({ length: atOnce }, (_, index) => seed + index);
  await Promise.all(seeds.map((each) => soakOne({ ...options, seed: each }, record)));
  return record.outcome;
}

/** One laboratory's part of it. */
async function soakOne({ keys, seed }: CrashSoakOptions, record: CrashRecord): Promise<void> {
  const standstill = new Standstill();
  const lab = await TunnelLab.build({ homes: homesWith(keys), server: LOG });
  try {
    await offerIpv6(lab);
    const uniqueness = keys === "ikev2" ? "gcm-iv" : "sequence-number";
    const judge = await WireJudge.start(lab, { uniqueness, marker: MARKER });
    record.judges.push(judge);
    const soak = new CrashSoak(lab, new SeededRandom(seed), standstill);
    try {
      await soak.begin();
      while (record.isWanted) {
        const outcome = await soak.cycle(record.deaths + 1, record.stop);
        await judge.judge();
        if (outcome === undefined) break;
        if (typeof outcome === "string") record.loses(outcome);
        else record.survives(outcome);
      }
      await soak.end();
    } catch (error) {
      record.breaks(error);
    }
    await judge.finish();
  } finally {
    standstill.stop();
    await lab.dispose();
  }
}

/** What became of it until now, in all laboratories. */
class CrashRecord {
  readonly judges: WireJudge[] = [];
  /** Ends what is waited for. */
  readonly stop: AbortSignal;
  readonly #options: CrashSoakOptions;
  readonly #stopping = new AbortController();
  readonly #recoveries: Recovery[] = [];
  #lost: string | undefined;
  #broken: string | undefined;

  constructor(options: CrashSoakOptions) {
    this.#options = options;
    const { signal } = this.#stopping;
    this.stop = options.signal === undefined ? signal : AbortSignal.any([signal, options.signal]);
  }

  get deaths(): number {
    return deathsOf(this.#recoveries);
  }

  get isWanted(): boolean {
    return this.deaths < this.#options.count && !this.stop.aborted;
  }

  get outcome(): CrashSoakOutcome {
    const wire = sumOf(this.judges.map(({ verdict }) => verdict));
    return { recoveries: this.#recoveries, wire, lost: this.#lost, broken: this.#broken };
  }

  survives(cycle: Omit<Recovery, "number">): void {
    const recovery = { ...cycle, number: this.deaths + cycle.deaths };
    this.#recoveries.push(recovery);
    this.#options.onRecovery?.(recovery, this.outcome);
  }

  loses(complaint: string): void {
    this.#lost ??= complaint;
    this.#stopping.abort();
  }

  breaks(error: unknown): void {
    this.#broken ??= error instanceof Error ? (error.stack ?? error.message) : String(error);
    this.#stopping.abort();
  }
}

function sumOf(verdicts: readonly WireVerdict[]): WireVerdict {
  const sum = (count: (verdict: WireVerdict) => number) =>
    verdicts.reduce((total, verdict) => total + count(verdict), 0);
  return {
    packets: sum(({ packets }) => packets),
    associations: sum(({ associations }) => associations),
    repeated: verdicts.flatMap(({ repeated }) => repeated),
    clear: sum(({ clear }) => clear),
    missed: sum(({ missed }) => missed),
  };
}

function homesWith(keys: SoakKeys): HomeOptions[] {
  const [first, second] = HOMES;
  return keys === "ikev2"
    ? [
        { name: first, client: LOG, ikev2: "psk" },
        { name: second, client: LOG, ikev2: "ed25519" },
      ]
    : [
        { name: first, client: LOG, encapsulation: "udp" },
        { name: second, client: LOG, encapsulation: "esp" },
      ];
}

/** The ISP's own IPv6, as a second-best default route: what loses its way would go there. */
async function offerIpv6(lab: TunnelLab): Promise<void> {
  const router = ["ip addr add 2001:db8:100::ff/64 dev server nodad"];
  for (const [index, { namespace }] of lab.homes.entries()) {
    const network = `2001:db8:${(0x101 + index).toString(16)}`;
    router.push(`ip addr add ${network}::ff/64 dev wan${index} nodad`);
    await namespace.run(
      `ip addr add ${network}::7/64 dev wan nodad
       ip -6 route add default via ${network}::ff metric 4096`,
    );
  }
  await lab.router.run(["sysctl -qw net.ipv6.conf.all.forwarding=1", ...router].join("\n"));
  await lab.serverNamespace.run(
    `ip addr add 2001:db8:100::1/64 dev wan nodad
     ip -6 route add default via 2001:db8:100::ff metric 4096`,
  );
}

class CrashSoak {
  readonly #lab: TunnelLab;
  readonly #random: SeededRandom;
  /** From behind the server to each home. */
  readonly #pings = new Map<LabHome, PingStream>();
  readonly #outward: Running[] = [];
  readonly #addresses = new Map<LabHome, string>();
  readonly #standstill: Standstill;

  constructor(lab: TunnelLab, random: SeededRandom, standstill: Standstill) {
    this.#lab = lab;
    this.#random = random;
    this.#standstill = standstill;
  }

  async begin(): Promise<void> {
    const { server, homes, far } = this.#lab;
    await server.start();
    await Promise.all(homes.map(({ client }) => client.start()));
    for (const home of homes) {
      this.#addresses.set(home, home.ipv4(7));
      await this.#lab.confirmed(home, home.ipv4(7));
      await home.isReachedFrom(far);
      const pattern = Buffer.from(MARKER).toString("hex");
      this.#pings.set(home, await PingStream.start(far, home.address, { pattern }));
      const ping = ["ping", "-n", "-q", "-i", "0.05", "-p", pattern, "-I", home.address, FAR];
      this.#outward.push(home.namespace.spawn(ping));
    }
  }

  async end(): Promise<void> {
    for (const pings of this.#pings.values()) await pings.stop();
    for (const ping of this.#outward) await ping.stop();
  }

  /**
   * A change, a death, a start, at times another death and start, and all as it was. Returns the words for what is
   * missing when a home is not back in time; nothing when it was stopped.
   */
  async cycle(
    number: number,
    stop: AbortSignal,
  ): Promise<Omit<Recovery, "number"> | string | undefined> {
    const random = this.#random;
    const home = random.pick(this.#lab.homes);
    const victim = random.pick<Victim>(["server", "server", "client", "client", "both"]);
    const victims = this.#daemonsOf(victim, home);
    const moment = random.between(-MOMENT.before, MOMENT.after);
    const down = random.between(0, MOST_DOWN_MS);
    const again = random.isLuckyIn(DIES_AGAIN.chances)
      ? random.between(0, DIES_AGAIN.withinMs)
      : undefined;
    const address = this.#elsewhere(home);
    const move = async () => {
      await sleep(Math.max(0, -moment));
      await home.take(address.number, address.uplink);
      this.#addresses.set(home, home.ipv4(address.number, address.uplink));
    };
    const kill = async () => {
      await sleep(Math.max(0, moment));
      await Promise.all(victims.map((daemon) => daemon.crash()));
    };
    await Promise.all([move(), kill()]);
    await sleep(down);
    for (const daemon of victims) daemon.launch();
    if (again !== undefined) {
      await sleep(again);
      await Promise.all(victims.map((daemon) => daemon.crash()));
      for (const daemon of victims) daemon.launch();
    }
    this.#standstill.mark();
    const since = performance.now();
    try {
      await Promise.all(this.#lab.homes.map((each) => this.#isBack(each, stop)));
    } catch (error) {
      if (stop.aborted) return undefined;
      return await this.#complaint({ number, victim, moment, down, again, home, error });
    }
    const ms = performance.now() - since;
    const deaths = again === undefined ? 1 : 2;
    const memory = await residentMemory(this.#lab.server.running);
    return { victim, deaths, kills: deaths * victims.length, ms, memory };
  }

  #daemonsOf(victim: Victim, home: LabHome): Daemon<unknown>[] {
    const { server } = this.#lab;
    switch (victim) {
      case "server":
        return [server];
      case "client":
        return [home.client];
      case "both":
        return [server, home.client];
    }
  }

  #elsewhere(home: LabHome): { number: number; uplink: "wan" | "wan2" } {
    for (;;) {
      const number = this.#random.between(FIRST_HOST, LAST_HOST);
      const uplink = this.#random.pick(["wan", "wan2"] as const);
      if (home.ipv4(number, uplink) !== this.#addresses.get(home)) return { number, uplink };
    }
  }

  async #isBack(home: LabHome, stop: AbortSignal): Promise<void> {
    const address = this.#addresses.get(home);
    const { server } = this.#lab;
    await home.client.until(({ state, uplink }) => {
      stop.throwIfAborted();
      return state.kind === "confirmed" && uplink?.address === address;
    }, PATIENCE_MS);
    await server.until((status) => {
      stop.throwIfAborted();
      const { state, endpoint } = homeIn(status, home.name);
      return state.kind === "confirmed" && endpoint?.address === address;
    }, PATIENCE_MS);
    await this.#pings.get(home)?.answered(PATIENCE_MS);
  }

  async #complaint(cycle: {
    readonly number: number;
    readonly victim: Victim;
    readonly moment: number;
    readonly down: number;
    readonly again: number | undefined;
    readonly home: LabHome;
    readonly error: unknown;
  }): Promise<string> {
    const { number, victim, moment, down, again, home, error } = cycle;
    const daemons = [this.#lab.server, ...this.#lab.homes.map(({ client }) => client)];
    const states = daemons.map(async ({ configFile, running }) => {
      const process = await describeProcess(running.pid);
      return `${configFile}: ${process}\n${running.stderr.slice(-KEPT_LOG)}`;
    });
    const times = [`${moment} ms after the change of ${home.name}`, `down ${down} ms`];
    if (again !== undefined) times.push(`again ${again} ms after the start`);
    return [
      `a home was lost at death ${number}, of ${victim}, ${times.join(", ")}`,
      await describeStandstill(this.#standstill),
      String(error).slice(0, KEPT_LOG),
      ...(await Promise.all(states)),
    ].join("\n\n");
  }
}

function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
