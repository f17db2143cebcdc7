/** The demonstration itself, inside its enclosure: builds, watches, changes, tells, judges. */

import { formatCount, formatDuration } from "../common/text/units.ts";
import { eventually, Lab } from "../test/support/namespace.ts";
import { CHANGES, type Change } from "./changes.ts";
import { confirmedAt, type Daemons, homeStatus, startDaemons, usesManualKeys } from "./daemons.ts";
import { monotonicMs, sleep } from "./moment.ts";
import { buildNetwork, LAPTOP, type Network, PREFIX, UPLINKS, WEBSITE } from "./network.ts";
import { longestOutage, longestPause } from "./outage.ts";
import { describeOutcome, findProblems, type Outcome, summarize } from "./outcome.ts";
import { Screen } from "./screen.ts";
import { statusLine } from "./status-line.ts";
import { Download, Ping } from "./watchers.ts";

const PING_INTERVAL = 5; // milliseconds
const RATE = 8_000_000; // octets per second
const BRIEF = process.argv.includes("--brief");
const FILE_LENGTH = BRIEF ? 60_000_000 : 150_000_000; // octets
const CALM = BRIEF ? 300 : 3_000; // milliseconds to look at before each change
const STEADY = 1_000; // milliseconds of answers until the ping is believed to go on
const PATIENCE = 10_000; // milliseconds; what takes longer has failed
/** How recently octets must have arrived for the download to go on. */
const FLOWING = 200; // milliseconds

const screen = new Screen();
const { style } = screen;
const lab = new Lab();
const startedAt = monotonicMs();
// Its other end is the process that shut us in: without it nobody watches.
process.stdin.once("end", () => process.exit(1)).resume();

try {
  process.exitCode = await show();
} catch (error) {
  screen.follow();
  screen.say();
  screen.say(
    style.bad(`The demonstration failed: ${error instanceof Error ? error.message : error}`),
  );
  process.exitCode = 1;
} finally {
  screen.follow();
  await lab.dispose();
  screen.close();
  process.exit();
}

async function show(): Promise<number> {
  introduce();
  const network = await screen.step("five machines and the cables between them", () =>
    buildNetwork(lab),
  );
  const daemons = await startDaemons(network);
  try {
    const [home] = UPLINKS.first.addresses;
    await screen.step(`hometun and hometun-server run; the home is at ${home}`, () =>
      within("the tunnel did not come up", (patience) => confirmedAt(home, patience)),
    );
    if (!usesManualKeys()) await tellKeys();
    const { ping, download } = await startTraffic(network);
    screen.follow(() => statusLine(screen, ping, download));
    const outcomes: Outcome[] = [];
    for (const change of CHANGES) {
      await sleep(CALM);
      outcomes.push(await carryOut(change, { network, ping, download }, outcomes.length + 1));
    }
    download.hurry();
    await until(
      "the download did not end",
      () => download.ending ?? download.failure,
      PATIENCE + (FILE_LENGTH / RATE) * 1_000,
    );
    await ping.stop();
    screen.follow();
    return conclude(outcomes, ping, download);
  } catch (error) {
    tellLogs(daemons);
    throw error;
  }
}

function introduce(): void {
  const { strong, good, faint } = style;
  const tunnel = good("═════════");
  screen.say();
  screen.say(strong("  A home changes its IPv4 address three times, and nothing breaks."));
  screen.say();
  screen.say(`  laptop ───── home ${tunnel} ISP ${tunnel} server ───── website`);
  screen.say(faint("              hometun      IPv4 only    hometun-server"));
  screen.say();
  screen.say(`  The home's IPv6 prefix ${PREFIX} is reached through an encrypted`);
  screen.say(`  tunnel (${good("═")}), wherever the home is. Everything runs on this computer, in`);
  screen.say("  network namespaces, and is gone afterwards.");
  if (process.argv.includes("--unprivileged")) {
    screen.say("  You are not root, so they are in a user namespace.");
  }
  screen.say();
}

/** What the two have agreed on. */
async function tellKeys(): Promise<void> {
  const { keys } = await homeStatus();
  const suite = keys?.associations[0]?.suite;
  if (suite === undefined) throw new Error("no keys were negotiated");
  screen.say(`  ${style.good("✓")} they agreed on keys by IKEv2: ${suite}, proven with Ed25519`);
}

async function startTraffic(network: Network): Promise<{ ping: Ping; download: Download }> {
  const { laptop, website } = network;
  const ping = new Ping(website, LAPTOP, PING_INTERVAL);
  const rate = 1_000 / PING_INTERVAL;
  await screen.step(`the website pings the laptop, ${LAPTOP}, ${rate} times a second`, () =>
    until("the laptop did not answer", () => ping.isSteady(200, monotonicMs())),
  );
  const megabytes = FILE_LENGTH / 1e6;
  const download = await screen.step(
    `the laptop downloads ${megabytes} MB from the website over one TCP connection`,
    async () => {
      const plan = { from: website, address: WEBSITE, to: laptop };
      const started = await Download.start({ ...plan, octets: FILE_LENGTH, rate: RATE });
      await until("the download did not begin", () => started.octets > 0);
      return started;
    },
  );
  screen.say();
  return { ping, download };
}

interface Scene {
  readonly network: Network;
  readonly ping: Ping;
  readonly download: Download;
}

/** Makes one change, waits until all is as before, and tells what it was like. */
async function carryOut(change: Change, scene: Scene, number: number): Promise<Outcome> {
  const { ping, download, network } = scene;
  screen.say(`  ${style.strong(`${number}  ${change.title}`)}`);
  screen.say(`     ${change.path}`);
  if (download.ending !== undefined) throw new Error("the download was over too early");
  const from = monotonicMs();
  const backAt = await change.carryOut(network.home);
  const move = await within(`the server did not confirm ${change.address}`, (patience) =>
    confirmedAt(change.address, patience),
  );
  await until("ping did not go on", () => {
    const now = monotonicMs();
    return now > backAt + STEADY && ping.isSteady(STEADY, now);
  });
  await until("the download did not go on", () => {
    if (download.failure !== undefined) throw new Error(`the download broke: ${download.failure}`);
    return (download.arrivals.at(-1) ?? 0) > monotonicMs() - FLOWING || download.ending;
  });
  const outage = longestOutage(ping.probes, from);
  const afterwardsMs = outage.endedAt === undefined ? 0 : Math.max(0, outage.endedAt - backAt);
  const pausedMs = longestPause(download.arrivals, from);
  const outcome = { change, outage, afterwardsMs, move, pausedMs };
  for (const line of describeOutcome(outcome, download)) {
    screen.say(`     ${style.good("✓")} ${line}`);
  }
  screen.say();
  return outcome;
}

/** The summary, and what was not as it should be. Returns the exit status. */
function conclude(outcomes: readonly Outcome[], ping: Ping, download: Download): number {
  const problems = findProblems(outcomes, download);
  for (const line of summarize(outcomes, download)) screen.say(line === "" ? "" : `  ${line}`);
  const seconds = formatDuration(monotonicMs() - startedAt);
  screen.say(`  ${formatCount(ping.probes.length)} pings in ${seconds}.`);
  screen.say();
  for (const problem of problems) screen.say(`  ${style.bad("✗")} ${problem}`);
  if (problems.length > 0) return 1;
  screen.say(
    style.good("  ✓ Three new addresses, one prefix, one connection, and every octet arrived."),
  );
  screen.say();
  return 0;
}

/** Waits until `holds`; throws `complaint` when that takes too long. */
function until(complaint: string, holds: () => unknown, patience = PATIENCE): Promise<true> {
  const check = async () => (holds() ? true : undefined);
  return within(complaint, () => eventually(check, patience), patience);
}

async function within<T>(
  complaint: string,
  work: (patience: number) => Promise<T>,
  patience = PATIENCE,
): Promise<T> {
  const start = monotonicMs();
  try {
    return await work(patience);
  } catch (cause) {
    if (monotonicMs() - start < patience) throw cause;
    throw new Error(`${complaint} within ${formatDuration(patience)}`, { cause });
  }
}

/** What the daemons said last, to explain a failure. */
function tellLogs(daemons: Daemons): void {
  screen.follow();
  for (const [name, { stdout, stderr }] of Object.entries(daemons)) {
    screen.say();
    screen.say(`  the last words of ${name}:`);
    const lines = `${stdout}\n${stderr}`.trim().split("\n");
    for (const line of lines.slice(-8)) screen.say(`    ${line}`);
  }
}
