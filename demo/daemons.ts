/** The two daemons, as they are installed, with the files that their commands make. */

import { mkdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { resolve } from "node:path";
import { askControl } from "../common/adapters/control-socket.ts";
import type { MoveStatus } from "../common/control/traffic.ts";
import { valueOfReply } from "../common/runtime/command-line.ts";
import type { HomeStatus } from "../server/status.ts";
import { eventually, type Running } from "../test/support/namespace.ts";
import { type Network, PREFIX, SERVER } from "./network.ts";

const PROGRAMS = resolve(import.meta.dirname, "../dist");
const HOME_PROGRAM = resolve(PROGRAMS, "client/main.js");
const SERVER_PROGRAM = resolve(PROGRAMS, "server/main.js");
/** In the enclosure's own file system in memory: keys and state are gone with it. */
const DIRECTORY = "/run/hometun-demo";
const CONTROL_SOCKET = `${DIRECTORY}/server.sock`;
const NAME = "alice";
const IDENTITY = "alice.example";
const SERVER_IDENTITY = "isp.example";
const OWNER_ONLY = { mode: 0o600 };

export interface Daemons {
  readonly home: Running;
  readonly server: Running;
}

export async function startDaemons(network: Network): Promise<Daemons> {
  await writeConfiguration(network);
  const start = (machine: "home" | "server", program: string) =>
    network[machine].spawn([process.execPath, program, "run", "-c", fileOf(machine)]);
  return { server: start("server", SERVER_PROGRAM), home: start("home", HOME_PROGRAM) };
}

/** Whether the keys stand in the files, instead of being negotiated by IKEv2. */
export function usesManualKeys(): boolean {
  return process.argv.includes("--manual-keys");
}

/** What the server says of the home: `hometun-server status alice --json`. */
export async function homeStatus(): Promise<HomeStatus> {
  return valueOfReply<HomeStatus>(
    await askControl(CONTROL_SOCKET, { command: "status", home: NAME }),
  );
}

/** Waits until the server has confirmed that the home is at `address`. */
export async function confirmedAt(address: string, timeoutMs: number): Promise<MoveStatus> {
  return await eventually(async () => {
    const { lastMove } = await homeStatus().catch(() => ({ lastMove: undefined }));
    return lastMove?.to === address && lastMove.confirmedInMs !== undefined ? lastMove : undefined;
  }, timeoutMs);
}

/** As people do it: `init` at either end, `home add` in between; or `keygen`, which makes both files. */
async function writeConfiguration(network: Network): Promise<void> {
  mkdirSync(`${DIRECTORY}/homes`, { recursive: true });
  if (usesManualKeys()) await writeManualKeys(network);
  else await writeIdentities(network);
  for (const daemon of ["home", "server"] as const) {
    const made = readFileSync(fileOf(daemon), "utf8");
    writeFileSync(fileOf(daemon), `${placesOf(daemon)}${made}`, OWNER_ONLY);
  }
}

async function writeIdentities({ home, server }: Network): Promise<void> {
  const atHome = (...args: string[]) =>
    home.run([process.execPath, HOME_PROGRAM, "init", "-o", fileOf("home"), ...args]);
  const atServer = (...args: string[]) => server.run([process.execPath, SERVER_PROGRAM, ...args]);
  const serverName = ["--address", SERVER, "--identity", SERVER_IDENTITY];
  const [said] = await Promise.all([
    atHome("--server", SERVER, "--identity", IDENTITY),
    atServer("init", "-o", fileOf("server"), ...serverName),
  ]);
  const publicKey = wordIn(said, /--public-key (\S+)/);
  const answer = await atServer(
    ...["home", "add", NAME, "-c", fileOf("server"), "--prefix", PREFIX],
    ...["--identity", IDENTITY, "--public-key", publicKey],
  );
  await atHome(wordIn(answer, /'(hometun:\S+)'/));
}

async function writeManualKeys({ home }: Network): Promise<void> {
  const plan = ["--name", NAME, "--server", SERVER, "--prefix", PREFIX, "--output", DIRECTORY];
  await home.run([process.execPath, HOME_PROGRAM, "keygen", ...plan]);
  renameSync(`${DIRECTORY}/${NAME}.server.toml`, `${DIRECTORY}/homes/${NAME}.toml`);
  renameSync(`${DIRECTORY}/${NAME}.client.toml`, fileOf("home"));
  const server = `address = "${SERVER}"\nhomes = "${DIRECTORY}/homes"\n`;
  writeFileSync(fileOf("server"), server, OWNER_ONLY);
}

function fileOf(daemon: "home" | "server"): string {
  return `${DIRECTORY}/${daemon}.toml`;
}

function wordIn(text: string, pattern: RegExp): string {
  const word = pattern.exec(text)?.[1];
  if (word === undefined) throw new Error(`hometun said something else:\n${text}`);
  return word;
}

function placesOf(daemon: "home" | "server"): string {
  return [
    `state-directory = "${DIRECTORY}/${daemon}-state"`,
    `control-socket = "${DIRECTORY}/${daemon}.sock"`,
    "",
  ].join("\n");
}
