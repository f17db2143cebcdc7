/**
 * `npm run soak`: does again and again what a home goes through in years, and says whether it stood it.
 *
 *     npm run soak -- crashes [COUNT] [--keys ikev2|manual] [--seed NUMBER] [--at-once NUMBER]
 *     npm run soak -- changes [COUNT] [--keys ikev2|manual] [--seed NUMBER] [--warm-up COUNT]
 *                            [--engine compiling|interpreting]
 *     npm run soak -- flood [SECONDS] [--rate NUMBER] [--kinds KIND...]
 *
 * SIGINT or SIGTERM to this process alone ends the first two of them early, and what was seen until then is judged.
 * Needs root, for network namespaces. Ends with status 0 when all held, else 1.
 */

import { randomInt } from "node:crypto";
import { Command, InvalidArgumentError, Option } from "commander";
import { formatCount, formatDuration, formatOctets } from "../common/text/units.ts";
import { FLOOD_KINDS, type FloodKind } from "../test/support/flood.ts";
import { canUseNamespaces } from "../test/support/namespace.ts";
import { daemonsAreBuilt } from "../test/support/tunnel-lab.ts";
import { type ChangeSoakOutcome, growth, soakChanges, WARM_UP } from "./change-soak.ts";
import { type CrashSoakOutcome, deathsOf, type SoakKeys, soakCrashes } from "./crash-soak.ts";
import { type FloodResult, soakFlood } from "./flood-soak.ts";
import type { EngineMode, Memory } from "./memory.ts";
import { median, quantile } from "./numbers.ts";
import { Progress } from "./progress.ts";

/** From the end of the warm-up to the last change: in use, and of that what is not compiled code. */
const MOST_GROWTH = 0.01;

/** Of the homes' packets, while others flood the server. */
const MOST_LOSS = 0.01;

const program = new Command("soak");
const keys = () =>
  new Option("--keys <how>", "where the keys come from")
    .choices(["ikev2", "manual"])
    .default("ikev2");

program
  .command("crashes", { isDefault: true })
  .description("kills either daemon while addresses change")
  .argument("[count]", "deaths", wholeNumber, 500)
  .addOption(keys())
  .option("--seed <number>", "repeats the choices of another run", wholeNumber, randomInt(2 ** 31))
  .option("--at-once <number>", "laboratories at a time", wholeNumber, 1)
  .action(async (count: number, options: { keys: SoakKeys; seed: number; atOnce: number }) => {
    const { keys, seed, atOnce } = options;
    say(`${count} deaths, keys ${keys}, seed ${seed}, ${atOnce} at once`);
    const progress = new Progress("deaths", count);
    const outcome = await soakCrashes({
      count,
      ...options,
      signal: interruption(),
      onRecovery: ({ number, memory }, { recoveries, wire }) => {
        const times = recoveries.map(({ ms }) => ms);
        progress.show(number, [
          `median ${formatDuration(median(times))}`,
          `worst ${formatDuration(Math.max(...times))}`,
          `server ${formatOctets(memory)}`,
          `${formatCount(wire.packets)} packets, ${wire.repeated.length} repeated, ${wire.clear} in clear`,
        ]);
      },
    });
    if (!tellCrashes(outcome)) process.exitCode = 1;
  });

program
  .command("changes")
  .description("changes one home's address, and watches what the daemons keep in memory")
  .argument("[count]", "changes after the warm-up", wholeNumber, 10_000)
  .addOption(keys())
  .addOption(
    new Option("--engine <mode>", "how Node runs the daemons")
      .choices(["compiling", "interpreting"])
      .default("compiling"),
  )
  .option("--warm-up <count>", "changes before memory is looked at", wholeNumber, WARM_UP)
  .option("--seed <number>", "repeats the choices of another run", wholeNumber, randomInt(2 ** 31))
  .action(async (count: number, options: ChangeOptions) => {
    const { keys, seed, warmUp, engine } = options;
    say(`${count} changes after ${warmUp}, ${engine}, keys ${keys}, seed ${seed}`);
    const progress = new Progress("changes", warmUp + count);
    let worst = 0;
    const outcome = await soakChanges({
      count,
      ...options,
      signal: interruption(),
      onChange: (done, { confirmations, client, server }) => {
        worst = Math.max(worst, confirmations.at(-1) ?? 0);
        const [ours, theirs] = [client.at(-1), server.at(-1)];
        progress.show(done, [
          `worst ${formatDuration(worst)}`,
          `client ${describeMemory(ours)}`,
          `server ${describeMemory(theirs)}`,
        ]);
      },
    });
    if (!tellChanges(outcome)) process.exitCode = 1;
  });

program
  .command("flood")
  .description("sends bad packets of every kind to the server while homes carry traffic")
  .argument("[seconds]", "of each kind", wholeNumber, 10)
  .option("--rate <number>", "packets a second", wholeNumber, 100_000)
  .addOption(new Option("--kinds <kind...>", "not all").choices(FLOOD_KINDS))
  .action(async (seconds: number, options: { rate: number; kinds?: readonly FloodKind[] }) => {
    say(`${formatCount(options.rate)} bad packets a second, ${seconds} s of each kind`);
    const results = await soakFlood({
      ...options,
      seconds,
      measuresCeiling: true,
      onFlood: tellFlood,
    });
    if (results.some(({ loss }) => Math.max(loss.udp, loss.esp) >= MOST_LOSS)) process.exitCode = 1;
  });

interface ChangeOptions {
  readonly keys: SoakKeys;
  readonly engine: EngineMode;
  readonly warmUp: number;
  readonly seed: number;
}

if (canUseNamespaces({ tun: true }) && daemonsAreBuilt()) {
  await program.parseAsync();
} else {
  process.exitCode = 1;
}

/** The user, or whoever ends us. */
function interruption(): AbortSignal {
  const controller = new AbortController();
  for (const signal of ["SIGINT", "SIGTERM"] as const) {
    process.once(signal, () => controller.abort());
  }
  return controller.signal;
}

function tellCrashes({ recoveries, wire, lost, broken }: CrashSoakOutcome): boolean {
  const kills = recoveries.reduce((sum, each) => sum + each.kills, 0);
  say(`${deathsOf(recoveries)} deaths survived, ${kills} processes killed`);
  for (const victim of ["server", "client", "both"] as const) {
    const cycles = recoveries.filter((each) => each.victim === victim);
    const [typical, late, worst] = [0.5, 0.99, 1].map((share) =>
      formatDuration(
        quantile(
          cycles.map(({ ms }) => ms),
          share,
        ),
      ),
    );
    const deaths = deathsOf(cycles);
    say(
      `${victim}: ${deaths} deaths, back after ${typical} (median), ${late} (99 %), ${worst} (worst)`,
    );
  }
  say(`${formatCount(wire.packets)} ESP packets under ${formatCount(wire.associations)} SPIs`);
  say(`${wire.repeated.length} repeated, ${wire.clear} in clear, ${wire.missed} not recorded`);
  for (const repeated of wire.repeated.slice(0, 10)) say(`  repeated: ${repeated}`);
  const slowest = recoveries.toSorted((a, b) => b.ms - a.ms).slice(0, 5);
  const worst = slowest.map(
    (each) => `${formatDuration(each.ms)} (${each.victim}, ${each.number})`,
  );
  say(`slowest: ${worst.join(", ")}`);
  if (lost !== undefined) say(lost);
  if (broken !== undefined) say(`the soak itself could not go on: ${broken}`);
  const isWhole = lost === undefined && broken === undefined;
  return isWhole && wire.repeated.length === 0 && wire.clear === 0 && wire.missed === 0;
}

function tellChanges(outcome: ChangeSoakOutcome): boolean {
  const { confirmations } = outcome;
  const [typical, late, worst] = [0.5, 0.99, 1].map((share) =>
    formatDuration(quantile(confirmations, share)),
  );
  say(`${formatCount(confirmations.length)} changes, all confirmed`);
  say(`confirmed after ${typical} (median), ${late} (99 %), ${worst} (worst)`);
  let isFlat = true;
  for (const side of ["client", "server"] as const) {
    const memory = outcome[side];
    const [heap, data, resident] = (["heap", "data", "resident"] as const).map((what) =>
      growth(memory, what),
    ) as [number, number, number];
    say(
      `${side}: ${describeMemory(memory.at(-1))}; grown by ${percent(heap)} in use, ${percent(data)} without compiled code, ${percent(resident)} resident`,
    );
    for (const what of ["heap", "data"] as const) {
      const looks = memory.map((look) => formatOctetsFinely(look[what]));
      say(`  ${what}: ${looks.join(", ")}`);
    }
    if (heap >= MOST_GROWTH || data >= MOST_GROWTH) isFlat = false;
  }
  return isFlat;
}

function tellFlood(result: FloodResult): void {
  const { kind, rate, ceiling, shed, loss, confirmedInMs, load } = result;
  const perSecond = (count: number) => `${formatCount(Math.round(count))}/s`;
  say(
    `${kind}: ${perSecond(rate)} of ${perSecond(ceiling ?? 0)} that can be sent, ${perSecond(shed)} shed; lost ${percent(loss.udp)} over UDP, ${percent(loss.esp)} over protocol 50; ` +
      `a move confirmed in ${formatDuration(confirmedInMs)}; server ${Math.round(100 * load)} % of a processor`,
  );
}

function formatOctetsFinely(octets: number): string {
  return `${(octets / 2 ** 20).toFixed(3)} MiB`;
}

function describeMemory(memory: Memory | undefined): string {
  if (memory === undefined) return "not measured yet";
  return `${formatOctets(memory.heap)} in use, ${formatOctets(memory.resident)} resident`;
}

function percent(part: number): string {
  return `${(100 * part).toFixed(2)} %`;
}

function wholeNumber(text: string): number {
  if (!/^\d{1,10}$/.test(text)) throw new InvalidArgumentError("not a whole number");
  return Number(text);
}

function say(text: string): void {
  process.stdout.write(`${text}\n`);
}
