/**
 * Either daemon is killed at a random moment around a change of address and started again, over and over. After each
 * death every home must come back; and in all that was ever sent no nonce may be there twice, and nothing in clear.
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
import { WireJudge, type WireVerdict } from "./wire-judge.ts";

/** What is inside, and must not be seen outside; ping repeats 16 octets at most. */
const MARKER = "hometun-marker-0";
const HOMES = ["alice", "bob"] as const;
/** A home that is not back by then counts as lost; machines that are shared stand still for half a minute at times. */
const PATIENCE_MS = 120_000;
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
  /** Ends it before that; what was seen until then is judged. */
  readonly signal?: AbortSignal;
  /** Hears of each death that was survived. */
  readonly onRecovery?: (recovery: Recovery) => void;
}

export interface Recovery {
  readonly number: number;
  readonly victim: Victim;
  /** From the daemon's start until both homes are confirmed and carry packets, in milliseconds. */
  readonly ms: number;
  /** Resident memory of the server, in octets. */
  readonly memory: number;
}

export type Victim = "server" | "client" | "both";

export interface CrashSoakOutcome {
  readonly recoveries: readonly Recovery[];
  readonly wire: WireVerdict;
  /** Which home did not come back, when, and what the daemons said; the soak ends with it. */
  readonly lost: string | undefined;
}

export async function soakCrashes(options: CrashSoakOptions): Promise<CrashSoakOutcome> {
  const { keys, count, signal, onRecovery } = options;
  const lab = await TunnelLab.build({ homes: homesWith(keys), server: LOG });
  try {
    await offerIpv6(lab);
    const uniqueness = keys === "ikev2" ? "gcm-iv" : "sequence-number";
    const judge = await WireJudge.start(lab, { uniqueness, marker: MARKER });
    const soak = new CrashSoak(lab, new SeededRandom(options.seed));
    await soak.begin();
    const recoveries: Recovery[] = [];
    let lost: string | undefined;
    while (recoveries.length < count && lost === undefined && signal?.aborted !== true) {
      const outcome = await soak.cycle(recoveries.length + 1);
      await judge.judge();
      if (typeof outcome === "string") {
        lost = outcome;
      } else {
        recoveries.push(outcome);
        onRecovery?.(outcome);
      }
    }
    await soak.end();
    return { recoveries, wire: await judge.finish(), lost };
  } finally {
    await lab.dispose();
  }
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

  constructor(lab: TunnelLab, random: SeededRandom) {
    this.#lab = lab;
    this.#random = random;
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

  /** A change, a death, a start, and all as it was; or the words for what is missing. */
  async cycle(number: number): Promise<Recovery | string> {
    const random = this.#random;
    const home = random.pick(this.#lab.homes);
    const victim = random.pick<Victim>(["server", "server", "client", "client", "both"]);
    const victims = this.#daemonsOf(victim, home);
    const moment = random.between(-MOMENT.before, MOMENT.after);
    const down = random.between(0, MOST_DOWN_MS);
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
    let since = 0;
    try {
      await Promise.all([move(), kill()]);
      await sleep(down);
      since = performance.now();
      for (const daemon of victims) daemon.launch();
      for (const each of this.#lab.homes) await this.#isBack(each);
    } catch (error) {
      return this.#complaint({ number, victim, moment, down, home, error });
    }
    const memory = await residentMemory(this.#lab.server.running);
    return { number, victim, ms: performance.now() - since, memory };
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

  async #isBack(home: LabHome): Promise<void> {
    const address = this.#addresses.get(home);
    const { server } = this.#lab;
    await home.client.until(
      ({ state, uplink }) => state.kind === "confirmed" && uplink?.address === address,
      PATIENCE_MS,
    );
    await server.until((status) => {
      const { state, endpoint } = homeIn(status, home.name);
      return state.kind === "confirmed" && endpoint?.address === address;
    }, PATIENCE_MS);
    await this.#pings.get(home)?.answered(PATIENCE_MS);
  }

  #complaint(cycle: {
    readonly number: number;
    readonly victim: Victim;
    readonly moment: number;
    readonly down: number;
    readonly home: LabHome;
    readonly error: unknown;
  }): string {
    const { number, victim, moment, down, home, error } = cycle;
    const logs = [this.#lab.server, ...this.#lab.homes.map(({ client }) => client)].map(
      ({ configFile, running }) => `${configFile}:\n${running.stderr.slice(-KEPT_LOG)}`,
    );
    const what = `death ${number}, of ${victim} ${moment} ms after the change of ${home.name}, down ${down} ms`;
    return [`a home was lost at ${what}`, String(error), ...logs].join("\n\n");
  }
}

function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
