/** The command line as a user meets it: what is printed where, and the exit status. */

import { chmodSync, existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type ControlServer, serveControl } from "../../common/adapters/control-socket.ts";
import { openStateDirectory } from "../../common/adapters/state-directory.ts";
import { type ControlReply, done, refused } from "../../common/control/protocol.ts";
import type { Finding } from "../../common/doctor/finding.ts";
import { CLIENT_TEXT } from "../support/config-text.ts";
import { runMain } from "../support/program.ts";

let directory: string;
const at = (name: string) => join(directory, name);
const hometun = (...args: string[]) => runMain("client/main.ts", ...args);

beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), "hometun-test-"));
});

afterAll(() => {
  rmSync(directory, { recursive: true });
});

describe.concurrent("hometun", { timeout: 30_000 }, () => {
  it("--help fits a screen of 24 lines and 80 columns", async () => {
    const { status, stdout } = await hometun("--help");
    expect(status).toBe(0);
    expect(stdout).toMatch(/run.*status.*announce.*check-config.*keygen.*Exit status: 0 /s);
    const lines = stdout.split("\n");
    expect(lines.length).toBeLessThanOrEqual(24);
    for (const line of lines) expect(line.length).toBeLessThanOrEqual(80);
  });

  it("keygen --help fits too", async () => {
    const { stdout } = await hometun("keygen", "--help");
    const lines = stdout.split("\n");
    expect(lines.length).toBeLessThanOrEqual(24);
    for (const line of lines) expect(line.length).toBeLessThanOrEqual(80);
  });

  it("answers a usage mistake with status 2", async () => {
    expect(await hometun("status", "--jsn")).toEqual({
      status: 2,
      stdout: "",
      stderr:
        "hometun: unknown option '--jsn' (Did you mean --json?)\nhometun: see hometun --help\n",
    });
  });

  it("answers configuration mistakes with status 2, one line each", async () => {
    const file = at("mistaken.toml");
    writeFileSync(file, CLIENT_TEXT.replace("fe80::5", "5").replace("203.0.113.1", "x"));
    chmodSync(file, 0o600);
    expect(await hometun("run", "-c", file)).toEqual({
      status: 2,
      stdout: "",
      stderr:
        `hometun: ${file}: server: expected an IPv4 address such as 203.0.113.1, got "x"\n` +
        `hometun: ${file}: tunnel.server-link-local: expected a link-local address (fe80::/10) such as fe80::1, got "5"\n`,
    });
  });

  it("check-config warns of hooks that cannot be run", async () => {
    const file = at("hooks.toml");
    const plain = at("plain");
    writeFileSync(plain, "", { mode: 0o644 });
    const hooks = [
      `on-up = ["${at("none")}", "up"]`,
      `on-down = ["${plain}"]`,
      'on-move = ["/bin/sh"]',
    ];
    writeFileSync(file, `${hooks.join("\n")}\n${CLIENT_TEXT}`, { mode: 0o600 });
    expect(await hometun("check-config", "-c", file)).toMatchObject({
      status: 0,
      stderr:
        `hometun: warning: ${file}: on-up: ${at("none")}: no such file\n` +
        `hometun: warning: ${file}: on-down: ${plain}: not executable: chmod 755 ${plain}\n`,
    });
    const directory = [`on-up = ["${dirname(plain)}"]`];
    writeFileSync(file, `${directory}\n${CLIENT_TEXT}`);
    expect((await hometun("check-config", "-c", file)).stderr).toMatch(/: expected a program$/m);
  });

  it("answers a file that is not there with status 2", async () => {
    const { status, stderr } = await hometun("check-config", "-c", at("none.toml"));
    expect({ status, stderr }).toEqual({
      status: 2,
      stderr: `hometun: ${at("none.toml")}: no such file\n`,
    });
  });

  it("says with status 3 that no daemon runs", async () => {
    const { status, stderr } = await hometun("status", "--socket", at("none.sock"));
    expect(status).toBe(3);
    expect(stderr).toMatch(/^hometun: no daemon is running: nobody answers at .*none\.sock\n/);
  });

  it("run touches no socket where another has the state directory", async () => {
    const path = at("sockets/one.sock");
    const file = at("second.toml");
    const state = openStateDirectory(at("state"));
    const lines = [`state-directory = "${at("state")}"`, `control-socket = "${path}"`];
    writeFileSync(file, `${lines.join("\n")}\n${CLIENT_TEXT}`, { mode: 0o600 });
    const { status, stderr } = await hometun("run", "-c", file);
    state.close();
    expect(status).toBe(1);
    expect(stderr).toMatch(/^hometun: cannot use the state directory .*another instance/);
    expect(existsSync(dirname(path))).toBe(false);
  });

  it("doctor says of each thing whether it works, and its exit status whether all do", async () => {
    const args = ["keygen", "--name", "doctored", "--server", "203.0.113.1"];
    await hometun(...args, "--prefix", "2001:db8:d::/48", "--output", directory);
    const { status, stdout } = await hometun("doctor", "--json", "-c", at("doctored.client.toml"));
    const findings = JSON.parse(stdout) as { subject: string; verdict: string }[];
    expect(findings.map(({ subject }) => subject)).toEqual(
      expect.arrayContaining(["configuration", "permissions", "kernel data plane", "clock"]),
    );
    expect(status).toBe(findings.some(({ verdict }) => verdict === "fail") ? 1 : 0);
  });

  it("doctor goes on where the daemon does not say how it is", async () => {
    const path = at("starting.sock");
    const file = at("starting.toml");
    const lines = [`control-socket = "${path}"`, 'lan = "lo9"', "firewall = false"];
    writeFileSync(file, `${lines.join("\n")}\n${CLIENT_TEXT}`, { mode: 0o600 });
    const why = "the daemon is starting";
    const server = await serveControl(path, () => refused("unavailable", why));
    const { stdout, stderr } = await hometun("doctor", "--json", "-c", file);
    await server.close();
    expect(stderr).toBe("");
    const findings = JSON.parse(stdout) as Finding[];
    expect(findings.map(({ subject }) => subject)).toEqual(
      expect.arrayContaining(["permissions", "kernel data plane", "clock", "LAN lo9"]),
    );
    expect(findings).toContainEqual({
      ...{ subject: "daemon", verdict: "warn", detail: why },
      fix: "ask again in a few seconds; if it stays so, see its log",
    });
    expect(findings.map(({ fix = "" }) => fix).join()).not.toContain("start the daemon");
  });

  it("keygen makes files that check-config finds good, and never overwrites", async () => {
    const args = ["keygen", "--name", "alice", "--server", "203.0.113.1"];
    args.push("--prefix", "2001:db8:a::/56", "-o", directory);
    const made = await hometun(...args);
    expect(made).toMatchObject({ status: 0, stderr: "" });
    expect(made.stdout).toContain("alice.client.toml");
    expect(made.stdout).not.toMatch(/[0-9a-f]{16}/);
    const file = at("alice.client.toml");
    expect(await hometun("check-config", "-c", file)).toEqual({
      status: 0,
      stdout: `${file}: good (2001:db8:a::/56 by 203.0.113.1)\n`,
      stderr: "",
    });
    expect(await hometun(...args)).toMatchObject({
      status: 2,
      stderr: `hometun: ${file}: exists already, and is not overwritten\n`,
    });
  });

  it("keygen says what it expects", async () => {
    const { status, stderr } = await hometun(
      ...["keygen", "--name", "a b", "--server", "0.0.0.0", "--prefix", "2001:db8::/8"],
    );
    expect(status).toBe(2);
    expect(stderr.split("\n").map((line) => line.split(": ")[2])).toEqual([
      "name",
      "server",
      "prefix[0]",
      undefined,
    ]);
  });

  it("status and announce talk to the daemon's socket", async () => {
    const path = at("control.sock");
    const asked: string[] = [];
    const server: ControlServer = await serveControl(path, (request) => {
      asked.push(request.command);
      if (request.command === "announce") return done({ address: "198.51.100.7" });
      return done({ pid: 1, prefixes: ["2001:db8:a::/56"] });
    });
    const status = await hometun("status", "--json", "--socket", path);
    expect(JSON.parse(status.stdout)).toEqual({ pid: 1, prefixes: ["2001:db8:a::/56"] });
    expect(await hometun("announce", "--socket", path)).toEqual({
      status: 0,
      stdout: "198.51.100.7 is announced\n",
      stderr: "",
    });
    expect(asked).toEqual(["status", "announce"]);
    await server.close();
  });

  it("status --watch outlives a restart of the daemon", async () => {
    const path = at("watched.sock");
    const replies: ControlReply[] = [
      done({ pid: 1 }),
      refused("unavailable", "the daemon is starting"),
      done({ pid: 2 }),
    ];
    const end = refused("unknown-home", "enough");
    const server = await serveControl(path, () => replies.shift() ?? end);
    expect(await hometun("status", "--watch", "--json", "--socket", path)).toEqual({
      status: 2,
      stdout: '{"pid":1}\n{"pid":2}\n',
      stderr: "hometun: enough\n",
    });
    await server.close();
  });
});
