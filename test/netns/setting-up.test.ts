/**
 * From nothing to a tunnel by the commands that people are told to use: init at either end, home add in between.
 *
 *     ┌ home ───────────────────┐                       ┌ server ───────────────────────┐
 *     │ wan 198.51.100.7        │ ═════════════════════ │ wan 198.51.100.1              │
 *     │ hometun init, run       │                       │ hometun-server init, home add │
 *     └─────────────────────────┘                       └───────────────────────────────┘
 */

import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { ClientStatus } from "../../client/status.ts";
import type { ServerStatus } from "../../server/status.ts";
import { canUseNamespaces, Lab, type Namespace } from "../support/namespace.ts";
import {
  CLIENT_PROGRAM,
  Daemon,
  daemonsAreBuilt,
  homeIn,
  pingUntilAnswered,
  SERVER,
  SERVER_PROGRAM,
} from "../support/tunnel-lab.ts";

const HOME = "198.51.100.7";
const POOL = "2001:db8:100::/40";

describe.skipIf(!canUseNamespaces({ tun: true }) || !daemonsAreBuilt())("setting up a home", () => {
  const lab = new Lab();
  let directory: string;
  let home: Namespace;
  let server: Namespace;
  let daemon: Daemon<ServerStatus>;

  const at = (...names: string[]) => join(directory, ...names);
  const run = (machine: Namespace, program: string, ...args: string[]) =>
    machine.run([process.execPath, program, ...args]);
  const homeAdd = (name: string, ...args: string[]) =>
    run(server, SERVER_PROGRAM, "home", "add", name, "-c", at("server.toml"), ...args);
  const lineIn = (said: string) => /hometun:[^'\s]+/.exec(said)?.[0] ?? "";

  /** State and control socket of an end go to this test's directory; nothing else of its file is changed. */
  async function place(file: string, name: string): Promise<string> {
    const socket = at(`${name}.sock`);
    const places = `state-directory = "${at(name)}"\ncontrol-socket = "${socket}"\n`;
    await writeFile(file, places + (await readFile(file, "utf8")));
    return socket;
  }

  /** Runs the home's client until its tunnel is confirmed, pings, and stops it. */
  async function expectTunnel(file: string, name: string): Promise<void> {
    const socket = await place(file, name);
    const places = { configFile: file, controlSocket: socket };
    const client = new Daemon<ClientStatus>({
      namespace: home,
      program: CLIENT_PROGRAM,
      ...places,
    });
    await client.start();
    const { prefixes, address } = await client.until(({ state }) => state.kind === "confirmed");
    const atServer = homeIn(await daemon.status(), name);
    expect(atServer.prefixes).toEqual(prefixes);
    await pingUntilAnswered(server, address ?? "");
    await client.stop();
  }

  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), "hometun-lab-"));
    home = await lab.namespace("home");
    server = await lab.namespace("server");
    await lab.connect(home, "wan", server, "wan");
    await home.run(`ip addr add ${HOME}/24 dev wan; ip route add default via ${SERVER}`);
    await server.run(`ip addr add ${SERVER}/24 dev wan`);
  });

  afterAll(async () => {
    await lab.dispose();
    if (directory !== undefined) await rm(directory, { recursive: true });
  });

  it("begins with a server that has no home yet", async () => {
    const name = ["--address", SERVER, "--identity", "isp.example"];
    await run(server, SERVER_PROGRAM, "init", ...name, "-o", at("server.toml"));
    const places = {
      configFile: at("server.toml"),
      controlSocket: await place(at("server.toml"), "server"),
    };
    daemon = new Daemon({ namespace: server, program: SERVER_PROGRAM, ...places });
    expect((await daemon.start()).homes).toEqual([]);
  });

  it("with key pairs: the home tells its public key, the ISP answers with a line", async () => {
    const file = at("alice", "client.toml");
    const who = ["--server", SERVER, "--identity", "alice.example"];
    const said = await run(home, CLIENT_PROGRAM, "init", ...who, "-o", file);
    const publicKey = /--public-key (\S+)/.exec(said)?.[1] ?? "";
    const proof = ["--identity", "alice.example", "--public-key", publicKey];
    const answer = await homeAdd("alice", ...proof, "--pool", POOL);
    expect(answer).toContain("The server has read it.");
    await run(home, CLIENT_PROGRAM, "init", lineIn(answer), "-o", file);
    await expectTunnel(file, "alice");
  });

  it("with a shared key: the ISP makes it, the home pastes one line", async () => {
    const file = at("bob", "client.toml");
    const line = lineIn(await homeAdd("bob", "--psk", "--pool", POOL));
    await writeFile(at("line"), line);
    await home.run(
      `"${process.execPath}" "${CLIENT_PROGRAM}" init - -o "${file}" < "${at("line")}"`,
    );
    await expectTunnel(file, "bob");
  });

  it("the ISP takes a home away: the running server serves it no longer", async () => {
    const said = await run(
      server,
      SERVER_PROGRAM,
      "home",
      "remove",
      "bob",
      "-c",
      at("server.toml"),
    );
    expect(said).toContain("The server serves it no longer.");
    expect((await daemon.status()).homes.map(({ name }) => name)).toEqual(["alice"]);
  });
});
