/**
 * `npm run bench:ike`: many homes that negotiate their keys connect at once to one server, hometun's and charon's.
 *
 *     ┌ homes ───────────────────────┐                     ┌ server ───────────────────┐
 *     │ 198.18.1.0, 198.18.1.1, ...  ── 203.0.113.0/24 ──── 203.0.113.1                │
 *     │ hometun's initiators         │                     │ hometun-server, or charon │
 *     └──────────────────────────────┘                     └───────────────────────────┘
 *
 *     npm run bench:ike -- [--homes 1000] [--rounds 3] [--only "hometun, PSK"] [--profile DIRECTORY] [--publish]
 *
 * `--profile` leaves CPU profiles of both processes for each round, and costs a little.
 * The same process plays the homes against both, so that the difference is the servers'; at last charon plays them too,
 * against itself. bench/README.md
 */

import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { cpus, tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { parseArgs } from "node:util";
import { formatTable } from "../../common/text/table.ts";
import { canUseNamespaces, eventually, Lab, type Namespace } from "../../test/support/namespace.ts";
import { startCharon, startCharonHomes } from "./charon.ts";
import type { Players } from "./plan.ts";
import { cpuSeconds, residentKib } from "./process.ts";
import { SERVER, type Server, startHometun } from "./servers.ts";

const HOMES = resolve(import.meta.dirname, "homes.ts");
const DOCUMENT = resolve(import.meta.dirname, "../../docs/benchmarks.md");
const [BEGIN, END] = ["<!-- ike: begin -->", "<!-- ike: end -->"];
const PATIENCE_MS = 180_000;
/** To say how many tunnels stand is work too. */
const ASKING_MS = 500;

const CHARON_ALONE = "charon at both ends, PSK";
const SUBJECTS = ["hometun, PSK", "hometun, Ed25519", "charon, PSK", CHARON_ALONE] as const;
type Subject = (typeof SUBJECTS)[number];

/** A server is met as soon as it has started; then all homes come back to it, as after a power cut. */
const TIMES = ["first", "again"] as const;

interface Result {
  readonly subject: Subject;
  readonly time: (typeof TIMES)[number];
  readonly tunnelsPerSecond: number;
  /** Of the server, milliseconds for each handshake. */
  readonly cpuMs: number;
  /** Of the process that plays the homes, likewise. */
  readonly homesCpuMs: number;
  /** Of the server, KiB for each home. */
  readonly memory: number;
  readonly quartilesMs: readonly number[];
}

const { values } = parseArgs({
  options: {
    homes: { type: "string", default: "1000" },
    rounds: { type: "string", default: "3" },
    only: { type: "string" },
    profile: { type: "string" },
    publish: { type: "boolean", default: false },
  },
});
const count = Number(values.homes);
const node = [
  process.execPath,
  ...(values.profile === undefined
    ? []
    : ["--cpu-prof", "--cpu-prof-interval", "200", `--cpu-prof-dir=${values.profile}`]),
];

if (!canUseNamespaces({ tun: true })) process.exit(1);
const results: Result[] = [];
for (let round = 1; round <= Number(values.rounds); round++) {
  for (const subject of SUBJECTS) {
    if (values.only !== undefined && values.only !== subject) continue;
    if (subject.startsWith("charon") && !hasCharon()) continue;
    process.stdout.write(`round ${round}, ${subject}: starting\n`);
    for (const result of await measure(subject)) {
      results.push(result);
      process.stdout.write(`${JSON.stringify(result)}\n`);
    }
  }
}
const table = tableOf(results);
process.stdout.write(`\n${table}`);
if (values.publish) publish(table);

async function measure(subject: Subject): Promise<Result[]> {
  const lab = new Lab();
  const directory = mkdtempSync(join(tmpdir(), "hometun-bench-"));
  let server: Server | undefined;
  let players: Players | undefined;
  try {
    const homes = await lab.namespace("homes");
    const isp = await lab.namespace("server");
    await lab.connect(homes, "wan", isp, "wan");
    await Promise.all([
      homes.run("ip addr add 203.0.113.254/24 dev wan; ip route add local 198.18.0.0/16 dev lo"),
      isp.run(`ip addr add ${SERVER}/24 dev wan; ip route add 198.18.0.0/16 via 203.0.113.254`),
    ]);
    server = await startServer(subject, isp, directory);
    writeFileSync(join(directory, "plan.json"), JSON.stringify(server.plan), { mode: 0o600 });
    players =
      subject === CHARON_ALONE
        ? await startCharonHomes(homes, directory, count)
        : await startHomes(homes, join(directory, "plan.json"));
    const { pid } = server;
    const memory = residentKib(pid);
    const taken: Result[] = [];
    for (const time of subject === CHARON_ALONE ? (["first"] as const) : TIMES) {
      const since = Date.now();
      const cpu = cpuSeconds(pid);
      const report = await players.connect();
      const isUp = async () => ((await server?.tunnels(since)) === count ? true : undefined);
      await eventually(isUp, PATIENCE_MS, ASKING_MS);
      taken.push({
        subject,
        time,
        tunnelsPerSecond: Math.round(count / report.seconds),
        cpuMs: (1_000 * (cpuSeconds(pid) - cpu)) / count,
        homesCpuMs: (1_000 * report.cpuSeconds) / count,
        memory: (residentKib(pid) - memory) / count,
        quartilesMs: report.quartilesMs,
      });
    }
    return taken;
  } finally {
    await players?.stop().catch(() => undefined);
    await server?.stop().catch(() => undefined);
    await lab.dispose();
    rmSync(directory, { recursive: true, force: true });
  }
}

async function startServer(subject: Subject, namespace: Namespace, directory: string) {
  if (subject.startsWith("charon")) return await startCharon(namespace, directory, { count });
  const proof = subject === "hometun, PSK" ? "psk" : "ed25519";
  return await startHometun(namespace, directory, { count, node, proof });
}

/** hometun's initiators, all in one process. */
async function startHomes(namespace: Namespace, plan: string): Promise<Players> {
  const playing = namespace.spawn([...node, "--import", "tsx", HOMES, plan]);
  await playing.line((line) => line === "ready", PATIENCE_MS);
  return {
    async connect() {
      playing.write("go\n");
      return JSON.parse(await playing.line((line) => line.startsWith("{"), PATIENCE_MS));
    },
    stop: async () => {
      await playing.stop();
    },
  };
}

function hasCharon(): boolean {
  const found = spawnSync("sh", ["-c", "command -v charon-systemd && command -v swanctl"]);
  if (found.status !== 0) process.stderr.write("charon is missing: bench/README.md\n");
  return found.status === 0;
}

/** The median of the rounds. */
function tableOf(all: readonly Result[]): string {
  const columns = [
    { heading: "server" },
    { heading: "homes come" },
    { heading: "tunnels/s", align: "right" },
    { heading: "half of them after", align: "right" },
    { heading: "server's CPU a tunnel", align: "right" },
    { heading: "homes'", align: "right" },
    { heading: "memory a tunnel", align: "right" },
  ] as const;
  const rows = SUBJECTS.flatMap((subject) => TIMES.map((time) => ({ subject, time }))).flatMap(
    ({ subject, time }) => {
      const mine = all.filter((each) => each.subject === subject && each.time === time);
      if (mine.length === 0) return [];
      const of = (pick: (result: Result) => number) => median(mine.map(pick));
      return [
        [
          subject,
          time === "first" ? "as it has started" : "back",
          of(({ tunnelsPerSecond }) => tunnelsPerSecond).toFixed(0),
          mine[0]?.quartilesMs[1] === undefined
            ? "–"
            : `${(of(({ quartilesMs }) => quartilesMs[1] ?? 0) / 1_000).toFixed(1)} s`,
          `${of(({ cpuMs }) => cpuMs).toFixed(2)} ms`,
          `${of(({ homesCpuMs }) => homesCpuMs).toFixed(2)} ms`,
          `${of(({ memory }) => memory).toFixed(1)} KiB`,
        ],
      ];
    },
  );
  return formatTable(columns, rows);
}

function median(numbers: readonly number[]): number {
  const sorted = [...numbers].sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)] ?? Number.NaN;
}

/** Puts the table between its markers; bench/bench.py has others. */
function publish(text: string): void {
  const document = readFileSync(DOCUMENT, "utf8");
  const [head, rest] = document.split(BEGIN);
  const tail = rest?.split(END)[1];
  if (head === undefined || tail === undefined) throw new Error(`no ${BEGIN} in ${DOCUMENT}`);
  const machine = `${cpus().length} × ${cpus()[0]?.model}, Node ${process.versions.node}`;
  const body = `${count} homes at once, ${machine}, ${new Date().toISOString().slice(0, 10)}:`;
  writeFileSync(DOCUMENT, `${head}${BEGIN}\n${body}\n\n\`\`\`\n${text}\`\`\`\n${END}${tail}`);
}
