/**
 * The kernel data plane beside the same made by ip(8): homes set up, memory, moves, and what a packet costs. It wants
 * a kernel with xfrm interfaces; `bench/kernel` runs it in one. Tells JSON, one line a measurement.
 *
 *     node --import tsx bench/kernel.ts [HOMES...]         10 1000 5000
 *
 *     ┌ home ──────────────────────┐          ┌ server ─────────────────┐
 *     │ 198.51.100.7  wan ─────────────────────── wan  198.51.100.1     │
 *     │ ht-1  2001:db8:1::1        │          │ ht-1  2001:db8:ffff::1  │
 *     └────────────────────────────┘          └─────────────────────────┘
 */

import { execFile } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { cpus, release, tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { promisify } from "node:util";
import { type Ipv6Address, parseIpv6Prefix } from "../common/ip/address.ts";
import type { TunnelSpec } from "../common/tunnel/tunnel.ts";
import type { Order } from "../test/support/kernel-plane-process.ts";
import { MANY_TUNNELS_MTU, tunnelAtServer } from "../test/support/many-tunnels.ts";
import { Lab, type Namespace, type Running } from "../test/support/namespace.ts";
import { nodeCommand } from "../test/support/node-command.ts";

const execute = promisify(execFile);
const PROCESS = resolve(import.meta.dirname, "../test/support/kernel-plane-process.ts");
const SERVER = "198.51.100.1";
const HOME = "198.51.100.7";
const WINDOW = 1024; // packets
/** A guest may be slow. */
const PATIENCE_MS = 1_500_000;
const MOVES = 100;
const ADDRESSES = ["192.0.2.7", "192.0.2.8"] as const;
const ROUNDS = 3;
const SECONDS = 3;
/** What is given back while nobody asks for memory counts as all of it so long after the last of it, milliseconds. */
const MEMORY_SETTLES_MS = 2_000;

const range = (count: number) => Array.from({ length: count }, (_, index) => index + 1);
const hexOf = (number: number, digits: number) => number.toString(16).padStart(digits, "0");

function atHome(number: number): TunnelSpec {
  const server = tunnelAtServer(number);
  const hex = number.toString(16);
  return {
    ...server,
    localAddresses: [server.peerLinkLocal, `2001:db8:${hex}::1` as Ipv6Address],
    peerLinkLocal: `fe80::5:${hex}` as Ipv6Address,
    remotePrefixes: server.localPrefixes,
    localPrefixes: server.remotePrefixes,
    routes: [parseIpv6Prefix("::/0")],
    outbound: server.inbound,
    inbound: server.outbound,
  };
}

const idOf = (number: number) => `0x7300${hexOf(number, 4)}`;

function stateByHand(number: number, way: { from: string; to: string; spi: number }): string {
  const key = hexOf(number & 0xff, 2).repeat(16) + hexOf((number >> 8) & 0xff, 2).repeat(4);
  return (
    `xfrm state add src ${way.from} dst ${way.to} proto esp spi ${way.spi} reqid ${number} mode tunnel ` +
    `replay-window ${WINDOW} flag esn aead rfc4106(gcm(aes)) 0x${key} 128 if_id ${idOf(number)} sel src ::/0 dst ::/0`
  );
}

function policyByHand(
  number: number,
  policy: { verb: "add" | "update"; direction: string; selector: string; from: string; to: string },
): string {
  const { verb, direction, selector, from, to } = policy;
  return (
    `xfrm policy ${verb} ${selector} dir ${direction} if_id ${idOf(number)} ` +
    `tmpl src ${from} dst ${to} proto esp reqid ${number} mode tunnel`
  );
}

/** What the kernel plane makes for a home, as commands of `ip -batch`, in the same order. */
function homeByHand(number: number, remote: string): { xfrm: string[]; links: string[] } {
  const hex = number.toString(16);
  const prefix = `2001:db8:${hex}::/48`;
  const peer = `fe80::c:${hex}/128`;
  const anywhere = { verb: "add", from: "0.0.0.0", to: "0.0.0.0" } as const;
  return {
    xfrm: [
      stateByHand(number, { from: SERVER, to: remote, spi: 0x10_0000 + number }),
      stateByHand(number, { from: "0.0.0.0", to: SERVER, spi: 0x20_0000 + number }),
      ...[prefix, peer].map((source) =>
        policyByHand(number, {
          ...anywhere,
          direction: "in",
          selector: `src ${source} dst ::/0`,
        }),
      ),
      policyByHand(number, { ...anywhere, direction: "fwd", selector: `src ${prefix} dst ::/0` }),
      policyByHand(number, {
        ...{ verb: "add", direction: "out", selector: "src ::/0 dst ::/0" },
        ...{ from: SERVER, to: remote },
      }),
    ],
    links: [
      `route add unreachable ${prefix} metric 2000`,
      `link add ht-${number} type xfrm dev lo if_id ${idOf(number)}`,
      `link set ht-${number} mtu ${MANY_TUNNELS_MTU} addrgenmode none`,
      `link set ht-${number} up`,
      `addr add fe80::5:${hex}/128 dev ht-${number} nodad`,
      `route append ${peer} dev ht-${number} metric 1000`,
      `route add ${prefix} dev ht-${number} metric 1000`,
    ],
  };
}

/** By hand a home moves in three commands: iproute2 has no MIGRATE. */
function moveByHand(number: number, from: string, to: string): string[] {
  const spi = 0x10_0000 + number;
  const place = { from: SERVER, spi };
  return [
    stateByHand(number, { ...place, to }),
    policyByHand(number, {
      ...{ verb: "update", direction: "out", selector: "src ::/0 dst ::/0" },
      ...{ from: SERVER, to },
    }),
    `xfrm state delete src ${SERVER} dst ${from} proto esp spi ${spi}`,
  ];
}

/** What the bench tells; `how` is hometun or ip. */
function tell(record: Record<string, string | number>): void {
  process.stdout.write(`${JSON.stringify(record)}\n`);
}

/** How far it has come; an emulated machine is slow. */
function say(text: string): void {
  process.stderr.write(`${(performance.now() / 1_000).toFixed(0)} s: ${text}\n`);
}

class Bench {
  #lab = new Lab();
  #directory = "";

  async fresh(label: string): Promise<Namespace> {
    const namespace = await this.#lab.namespace(label);
    return namespace;
  }

  async open(): Promise<void> {
    this.#directory = await mkdtemp(join(tmpdir(), "hometun-bench-"));
  }

  async close(): Promise<void> {
    await this.#lab.dispose();
    // The kernel takes thousands of interfaces away only now, and makes no other namespace meanwhile.
    await execute("unshare", ["--net", "true"], { timeout: PATIENCE_MS });
    this.#lab = new Lab();
    await rm(this.#directory, { recursive: true, force: true });
  }

  async connect(a: Namespace, b: Namespace): Promise<void> {
    await this.#lab.connect(a, "wan", b, "wan");
  }

  async batch(namespace: Namespace, lines: readonly string[]): Promise<number> {
    const file = join(this.#directory, "batch");
    await writeFile(file, `${lines.join("\n")}\n`);
    const started = performance.now();
    await namespace.run(["ip", "-batch", file], { timeoutMs: PATIENCE_MS });
    return performance.now() - started;
  }

  async plane(namespace: Namespace, order: Omit<Order & { kind: "open" }, "directory" | "kind">) {
    const running = namespace.spawn(nodeCommand(PROCESS));
    await running.line((line) => line === "ready", PATIENCE_MS);
    const directory = join(this.#directory, namespace.name);
    await namespace.run(["mkdir", "-p", directory]);
    const plane = new Plane(running);
    // The process and its modules are not the kernel's memory.
    const memory = await memoryOf(namespace);
    const { ms } = await plane.ask<{ ms: number }>({ kind: "open", ...order, directory });
    return { plane, ms, memory };
  }
}

class Plane {
  readonly #running: Running;

  constructor(running: Running) {
    this.#running = running;
  }

  async ask<Answer>(order: Order): Promise<Answer> {
    this.#running.write(`${JSON.stringify(order)}\n`);
    return JSON.parse(await this.#running.line(undefined, PATIENCE_MS)) as Answer;
  }

  /** Milliseconds. */
  async move(homes: number): Promise<number> {
    const moved = movedOf(homes).map((number) => `home-${number}`);
    const times = [];
    for (const address of [HOME, ...ADDRESSES]) {
      const { medianMs } = await this.ask<{ medianMs: number }>({
        ...{ kind: "move", end: "remote", addresses: [address], everyMs: 1 },
        ...{ tunnels: moved, times: moved.length },
      });
      times.push(medianMs);
    }
    return Math.min(...times);
  }

  kill(): Promise<unknown> {
    this.#running.kill("SIGKILL");
    return this.#running.exited;
  }
}

/** Some of them, from everywhere. */
function movedOf(homes: number): number[] {
  return [...new Set(range(MOVES).map((number) => 1 + ((number * 7919) % homes)))];
}

/** KiB. */
async function memoryOf(namespace: Namespace): Promise<{ available: number; slab: number }> {
  const text = await namespace.run("cat /proc/meminfo");
  const of = (name: string) => Number(new RegExp(`^${name}:\\s+(\\d+)`, "m").exec(text)?.[1]);
  return { available: of("MemAvailable"), slab: of("Slab") };
}

/**
 * The kernel takes namespaces apart after they are gone, thousands of interfaces for many seconds: until it has, it
 * would be measured too.
 */
async function memoryIsGivenBack(namespace: Namespace): Promise<void> {
  let most = 0;
  let since = performance.now();
  while (performance.now() - since < MEMORY_SETTLES_MS) {
    const { available } = await memoryOf(namespace);
    if (available > most + 1_024) {
      most = available;
      since = performance.now();
    }
    await new Promise((resolve) => setTimeout(resolve, 500));
  }
}

async function uplink(namespace: Namespace): Promise<void> {
  await namespace.run(
    `ip link add wan type dummy; ip link set wan up; ip addr add ${SERVER}/24 dev wan`,
  );
}

async function measureHomes(homes: number): Promise<void> {
  const bench = new Bench();
  await bench.open();
  try {
    const server = await bench.fresh("server");
    await uplink(server);
    await memoryIsGivenBack(server);
    say(`${homes} homes by hometun`);
    const specs = range(homes).map(tunnelAtServer);
    const order = { owner: "server", local: SERVER, migrate: true, specs } as const;
    const { plane, ms, memory: before } = await bench.plane(server, order);
    const after = await memoryOf(server);
    say(`${homes} homes made, ${(ms / homes).toFixed(1)} ms each; now they move`);
    const moveMs = await plane.move(homes);
    tell({
      ...{ test: "homes", how: "hometun", homes, setUpMs: ms / homes, moveMs },
      availableKib: (before.available - after.available) / homes,
      slabKib: (after.slab - before.slab) / homes,
    });
    await plane.kill();
  } finally {
    await bench.close();
  }
  await measureHomesByHand(homes);
}

async function measureHomesByHand(homes: number): Promise<void> {
  const bench = new Bench();
  await bench.open();
  try {
    const server = await bench.fresh("server");
    await uplink(server);
    await memoryIsGivenBack(server);
    say(`${homes} homes by ip(8)`);
    const before = await memoryOf(server);
    const parts = range(homes).map((number) => homeByHand(number, HOME));
    const lines = [...parts.flatMap(({ xfrm }) => xfrm), ...parts.flatMap(({ links }) => links)];
    const ms = await bench.batch(server, lines);
    const after = await memoryOf(server);
    say(`${homes} homes made, ${(ms / homes).toFixed(1)} ms each; now they move`);
    const moved = movedOf(homes);
    const startMs = await bench.batch(server, ["link show lo"]);
    const times = [];
    for (const [from, to] of [
      [HOME, ADDRESSES[0]],
      [ADDRESSES[0], ADDRESSES[1]],
    ] as const) {
      const moves = moved.flatMap((number) => moveByHand(number, from, to));
      times.push(((await bench.batch(server, moves)) - startMs) / moved.length);
    }
    tell({
      ...{ test: "homes", how: "ip", homes, setUpMs: ms / homes, moveMs: Math.min(...times) },
      availableKib: (before.available - after.available) / homes,
      slabKib: (after.slab - before.slab) / homes,
    });
  } finally {
    await bench.close();
  }
}

/** The same tunnel twice, side by side; rounds alternate between them. */
async function measureForwarding(): Promise<void> {
  const bench = new Bench();
  await bench.open();
  try {
    say("forwarding");
    const pairs = {
      hometun: await pair(bench, "hometun"),
      ip: await pair(bench, "ip"),
    };
    for (const how of ["hometun", "ip"] as const) await iperf(pairs[how], "udp", 1);
    for (let round = 1; round <= ROUNDS; round++) {
      for (const how of round % 2 === 0
        ? (["hometun", "ip"] as const)
        : (["ip", "hometun"] as const)) {
        for (const load of ["tcp", "udp"] as const) {
          const { packets, mbitPerSecond, cpuUs } = await iperf(pairs[how], load, SECONDS);
          tell({
            ...{ test: "forwarding", how, load, round, seconds: SECONDS },
            ...{ packets, mbitPerSecond, cpuUs },
          });
        }
      }
    }
  } finally {
    await bench.close();
  }
}

async function pair(bench: Bench, how: "hometun" | "ip") {
  const home = await bench.fresh("home");
  const server = await bench.fresh("server");
  await bench.connect(home, server);
  await home.run(`ip addr add ${HOME}/24 dev wan`);
  await server.run(`ip addr add ${SERVER}/24 dev wan; ip addr add 2001:db8:ffff::1/128 dev lo`);
  if (how === "hometun") {
    const common = { migrate: true } as const;
    const there = await bench.plane(server, {
      ...{ ...common, owner: "server", local: SERVER, specs: [tunnelAtServer(1)] },
    });
    const here = await bench.plane(home, {
      ...{ ...common, owner: "client", local: HOME, specs: [atHome(1)] },
    });
    const move = {
      kind: "move",
      end: "remote",
      times: 1,
      everyMs: 0,
      tunnels: ["home-1"],
    } as const;
    await there.plane.ask({ ...move, addresses: [HOME] });
    await here.plane.ask({ ...move, addresses: [SERVER] });
  } else {
    const { xfrm, links } = homeByHand(1, HOME);
    await bench.batch(server, [...xfrm, ...links]);
    await bench.batch(home, [
      stateByHand(1, { from: HOME, to: SERVER, spi: 0x20_0001 }),
      stateByHand(1, { from: "0.0.0.0", to: HOME, spi: 0x10_0001 }),
      ...["in", "out"].map((direction) =>
        policyByHand(1, {
          ...{ verb: "add", direction, selector: "src ::/0 dst ::/0" },
          ...(direction === "out"
            ? { from: HOME, to: SERVER }
            : { from: "0.0.0.0", to: "0.0.0.0" }),
        }),
      ),
      `link add ht-1 type xfrm dev lo if_id ${idOf(1)}`,
      `link set ht-1 mtu ${MANY_TUNNELS_MTU} addrgenmode none`,
      "link set ht-1 up",
      "addr add 2001:db8:1::1/128 dev ht-1 nodad",
      "route add ::/0 dev ht-1",
    ]);
  }
  server.spawn(["iperf3", "-s"]);
  await home.run("until ping -6 -c 1 -W 1 2001:db8:ffff::1 >/dev/null; do sleep 0.1; done", {
    timeoutMs: PATIENCE_MS,
  });
  return home;
}

/** Of iperf3's. */
interface Sum {
  readonly bits_per_second: number;
}

interface Flow {
  readonly packets: number;
  readonly mbitPerSecond: number;
  /** Of the whole machine, both ends and iperf3, for a packet. */
  readonly cpuUs: number;
}

async function iperf(home: Namespace, load: "tcp" | "udp", seconds: number): Promise<Flow> {
  const how = load === "udp" ? ["-u", "-l", "64", "-b", "0"] : [];
  const command = ["iperf3", "-6", "-c", "2001:db8:ffff::1", "-B", "2001:db8:1::1", "-J"];
  // Not of /sys, which goes on showing the interfaces of the namespace it was mounted in.
  const outer = async () => {
    const text = await home.run("cat /proc/net/dev");
    return Number(/^\s*ht-1:(?:\s+\d+){9}\s+(\d+)/m.exec(text)?.[1]);
  };
  const [cpuBefore, before] = [busySeconds(), await outer()];
  const text = await home.run([...command, "-t", String(seconds), ...how], {
    timeoutMs: PATIENCE_MS,
  });
  const packets = (await outer()) - before;
  const cpuUs = ((busySeconds() - cpuBefore) * 1e6) / packets;
  const { end } = JSON.parse(text) as { end: Readonly<Record<"sum" | "sum_received", Sum>> };
  const bits = (load === "udp" ? end.sum : end.sum_received).bits_per_second;
  return { packets, mbitPerSecond: bits / 1e6, cpuUs };
}

/** Of all processors, since they started. */
function busySeconds(): number {
  return cpus().reduce((sum, { times }) => sum + (times.user + times.sys + times.irq) / 1_000, 0);
}

const asked = process.argv.slice(2).map(Number);
const emulated = /QEMU|TCG/.test(cpus()[0]?.model ?? "") ? 1 : 0;
tell({ test: "start", kernel: release(), processors: cpus().length, emulated });
const [few = 10, ...more] = asked.length > 0 ? asked : [10, 1_000, 5_000];
await measureHomes(few);
await measureForwarding();
for (const homes of more) await measureHomes(homes);
say("done");
