/** The two daemons, as they are installed, with the files `hometun keygen` makes. */

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
const OWNER_ONLY = { mode: 0o600 };

export interface Daemons {
  readonly home: Running;
  readonly server: Running;
}

export async function startDaemons(network: Network): Promise<Daemons> {
  await writeConfiguration(network);
  const start = (machine: "home" | "server", program: string) =>
    network[machine].spawn([
      process.execPath,
      program,
      "run",
      "-c",
      `${DIRECTORY}/${machine}.toml`,
    ]);
  return { server: start("server", SERVER_PROGRAM), home: start("home", HOME_PROGRAM) };
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

async function writeConfiguration({ home }: Network): Promise<void> {
  const homes = `${DIRECTORY}/homes`;
  mkdirSync(homes, { recursive: true });
  const plan = ["--name", NAME, "--server", SERVER, "--prefix", PREFIX, "--output", DIRECTORY];
  await home.run([process.execPath, HOME_PROGRAM, "keygen", ...plan]);
  renameSync(`${DIRECTORY}/${NAME}.server.toml`, `${homes}/${NAME}.toml`);
  const made = readFileSync(`${DIRECTORY}/${NAME}.client.toml`, "utf8");
  writeFileSync(`${DIRECTORY}/home.toml`, `${placesOf("home")}${made}`, OWNER_ONLY);
  const server = `address = "${SERVER}"\nhomes = "${homes}"\n${placesOf("server")}`;
  writeFileSync(`${DIRECTORY}/server.toml`, server, OWNER_ONLY);
}

function placesOf(daemon: "home" | "server"): string {
  return [
    `state-directory = "${DIRECTORY}/${daemon}-state"`,
    `control-socket = "${DIRECTORY}/${daemon}.sock"`,
    "",
  ].join("\n");
}
