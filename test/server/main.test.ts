/** The command line as an operator meets it: what is printed where, and the exit status. */

import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { serveControl } from "../../common/adapters/control-socket.ts";
import { type ControlRequest, done, refused } from "../../common/control/protocol.ts";
import { homeText } from "../support/config-text.ts";
import { runMain } from "../support/program.ts";

let directory: string;
const at = (name: string) => join(directory, name);
const server = (...args: string[]) => runMain("server/main.ts", ...args);

const write = (name: string, text: string, mode: number) => {
  writeFileSync(at(name), text);
  chmodSync(at(name), mode);
};

beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), "hometun-test-"));
  for (const homes of ["homes", "exposed"]) mkdirSync(at(homes));
  write("homes/alice.toml", homeText(), 0o600);
  write("exposed/alice.toml", homeText(), 0o644);
  for (const homes of ["homes", "exposed"]) {
    write(`${homes}.toml`, `address = "203.0.113.1"\nhomes = "${at(homes)}"\n`, 0o644);
  }
});

afterAll(() => {
  rmSync(directory, { recursive: true });
});

describe.concurrent("hometun-server", { timeout: 30_000 }, () => {
  it("--help fits a screen of 24 lines and 80 columns", async () => {
    const { status, stdout } = await server("--help");
    expect(status).toBe(0);
    const lines = stdout.split("\n");
    expect(lines.length).toBeLessThanOrEqual(24);
    for (const line of lines) expect(line.length).toBeLessThanOrEqual(80);
  });

  it("check-config reads the homes' files", async () => {
    expect(await server("check-config", "-c", at("homes.toml"))).toEqual({
      status: 0,
      stdout: `${at("homes.toml")}: good (1 home at 203.0.113.1)\n`,
      stderr: "",
    });
  });

  it("refuses keys that others can read, and says how to mend it", async () => {
    const file = at("exposed/alice.toml");
    expect(await server("run", "-c", at("exposed.toml"))).toEqual({
      status: 2,
      stdout: "",
      stderr: `hometun-server: ${file}: holds keys, so only its owner may read and write it: chmod 600 ${file}\n`,
    });
  });

  it("says with status 3 that no daemon runs", async () => {
    const { status } = await server("status", "alice", "--socket", at("none.sock"));
    expect(status).toBe(3);
  });

  it("answers an unknown home with status 2", async () => {
    const control = await serveControl(at("control.sock"), (request) =>
      refused("unknown-home", `no home is called ${"home" in request ? request.home : "?"}`),
    );
    expect(await server("status", "bob", "--socket", at("control.sock"))).toEqual({
      status: 2,
      stdout: "",
      stderr: "hometun-server: no home is called bob\n",
    });
    await control.close();
  });

  it("status asks for a screenful, sorted and filtered by the daemon, and for all as JSON", async () => {
    const asked: ControlRequest[] = [];
    const control = await serveControl(at("asked.sock"), (request) => {
      asked.push(request);
      return refused("failed", "enough");
    });
    const status = (...args: string[]) => server("status", "--socket", at("asked.sock"), ...args);
    await status();
    await status("--sort", "traffic", "--state", "held");
    await status("--all");
    await status("--json", "--state", "never-heard");
    await control.close();
    expect(asked).toEqual([
      { command: "status", homes: { sort: "move", limit: 50 } },
      { command: "status", homes: { sort: "traffic", state: "held", limit: 50 } },
      { command: "status", homes: { sort: "move" } },
      { command: "status", homes: { sort: "move", state: "never-heard" } },
    ]);
  });

  it("tells a long status whole, though it goes into a pipe", async () => {
    const value = { text: "x".repeat(3_000_000) };
    const control = await serveControl(at("long.sock"), () => done(value));
    const { stdout } = await server("status", "--json", "--socket", at("long.sock"));
    await control.close();
    expect(JSON.parse(stdout)).toEqual(value);
  });

  it("refuses a state that no home can be in", async () => {
    const { status, stderr } = await server("status", "--state", "down");
    expect(status).toBe(2);
    expect(stderr).toMatch(/Allowed choices are confirmed, unconfirmed, held, never-heard/);
  });
});
