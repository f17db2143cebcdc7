/**
 * Bad packets at the server, one kind after the other, while homes carry traffic: what is lost of that, and how long a
 * change of address takes meanwhile. One home is the one whose SPI the flood bears, where it bears one; the others'
 * traffic is looked at. What the generator can send at all is measured before, to an address of the server's machine where
 * nobody listens.
 */

import { readFile } from "node:fs/promises";
import { join } from "node:path";
import type { RefusalReason } from "../common/tunnel/data-plane.ts";
import { FLOOD_KINDS, type FloodKind, flood, lossOf } from "../test/support/flood.ts";
import { FAR, homeIn, SERVER, TunnelLab } from "../test/support/tunnel-lab.ts";

/** Echo requests a second in each direction. */
const PINGS = 200;
/** Between the flood's beginning and the pings', and before its end; the move has the second half. */
const MARGIN_MS = 500;
const FIRST_HOST = 8;
/** Of the server's machine, and nobody's port. */
const SINK = "198.51.100.9";
const SHED: RefusalReason = "shed";
const CEILING = { rate: 1_000_000, seconds: 2 };

export interface FloodSoakOptions {
  readonly kinds?: readonly FloodKind[];
  /** Packets a second. */
  readonly rate: number;
  /** Of each kind. */
  readonly seconds: number;
  /** Whether to find out what the generator can send at all. */
  readonly measuresCeiling?: boolean;
  readonly onFlood?: (result: FloodResult) => void;
}

export interface FloodResult {
  readonly kind: FloodKind;
  /** Packets a second that really went out. */
  readonly rate: number;
  /** What the generator can send a second of these, through the same links, where nobody takes them. */
  readonly ceiling: number | undefined;
  /** Packets a second that the kernel threw away unread, as the server counts them. */
  readonly shed: number;
  /** Part of the echoes that were not answered: over UDP to a home with negotiated keys, over protocol 50 from another. */
  readonly loss: { readonly udp: number; readonly esp: number };
  /** From the change until the server's confirmation, milliseconds. */
  readonly confirmedInMs: number;
  /** Part of a processor that the server used. */
  readonly load: number;
}

export async function soakFlood(options: FloodSoakOptions): Promise<FloodResult[]> {
  const { kinds = FLOOD_KINDS, onFlood } = options;
  const lab = await TunnelLab.open({
    homes: [
      { name: "alice", ikev2: "psk" },
      { name: "bob", encapsulation: "esp" },
      { name: "carol", ikev2: "ed25519" },
      { name: "dave", encapsulation: "esp" },
    ],
  });
  try {
    await lab.serverNamespace.run(`ip addr add ${SINK}/24 dev wan`);
    const results: FloodResult[] = [];
    for (const [index, kind] of kinds.entries()) {
      const result = await floodOnce(lab, { ...options, kind, host: FIRST_HOST + index });
      onFlood?.(result);
      results.push(result);
    }
    return results;
  } finally {
    await lab.dispose();
  }
}

async function floodOnce(
  lab: TunnelLab,
  plan: {
    readonly kind: FloodKind;
    readonly rate: number;
    readonly seconds: number;
    readonly measuresCeiling?: boolean;
    /** Where the home that moves goes. */
    readonly host: number;
  },
): Promise<FloodResult> {
  const { kind, rate, seconds, measuresCeiling = false, host } = plan;
  const [alice, bob] = [lab.home("alice"), lab.home("bob")];
  const spi = await spiFor(lab, kind);
  const ceiling = measuresCeiling
    ? await flood(lab.stranger, { ...CEILING, kind, to: SINK, spi })
    : undefined;
  const shedBefore = await shedBy(lab);
  let begun = () => {};
  const beginning = new Promise<void>((resolve) => {
    begun = resolve;
  });
  const flooding = flood(lab.stranger, { kind, to: SERVER, rate, seconds, spi, begun });
  await Promise.race([beginning, flooding]);
  await sleep(MARGIN_MS);
  const before = await processorMs(lab.server.running.pid);
  const since = performance.now();
  const quiet = { rate: PINGS, seconds: (seconds * 1000 - 3 * MARGIN_MS) / 2000 };
  const [udp, esp] = await Promise.all([
    lossOf(lab.far, alice.address, quiet),
    lossOf(bob.namespace, FAR, quiet),
  ]);
  const address = await alice.take(host);
  const moved = await alice.client.until(
    ({ state, uplink, lastMove }) =>
      state.kind === "confirmed" &&
      uplink?.address === address &&
      lastMove?.confirmedInMs !== undefined,
  );
  const used = (await processorMs(lab.server.running.pid)) - before;
  const load = used / (performance.now() - since);
  const confirmedInMs = moved.lastMove?.confirmedInMs ?? Number.POSITIVE_INFINITY;
  const sent = await flooding;
  const shed = ((await shedBy(lab)) - shedBefore) / seconds;
  return { kind, rate: sent, ceiling, shed, loss: { udp, esp }, confirmedInMs, load };
}

async function shedBy(lab: TunnelLab): Promise<number> {
  const { unattributed } = await lab.server.status();
  return unattributed.packets[SHED] ?? 0;
}

/** An SPI that the server knows, of a home that nothing else is asked of. */
async function spiFor(lab: TunnelLab, kind: FloodKind): Promise<number> {
  if (kind === "esp-bad-icv") {
    const text = await readFile(join(lab.directory, "server", "homes", "dave.toml"), "utf8");
    const [, spi = "0"] = /\[keys\.inbound\]\nspi = (\w+)/.exec(text) ?? [];
    return Number(spi);
  }
  const { keys } = homeIn(await lab.server.status(), "carol");
  return keys?.associations[0]?.spi ?? 0;
}

/** Processor time that a process has used. */
async function processorMs(pid: number | undefined): Promise<number> {
  const text = await readFile(`/proc/${pid}/stat`, "utf8");
  const fields = text.slice(text.lastIndexOf(")") + 2).split(" ");
  return 10 * (Number(fields[11]) + Number(fields[12])); // utime, stime in hundredths of a second
}

function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
