/** The two halves of a home with negotiated keys, as the ISP and the home make them. */

import { chmodSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { publicKeyText } from "../../common/adapters/key-files.ts";
import { homeText } from "../support/config-text.ts";
import { runMain, runWithInput } from "../support/program.ts";

let directory: string;
const at = (...names: string[]) => join(directory, ...names);
const hometun = (...args: string[]) => runMain("client/main.ts", ...args);
const server = (...args: string[]) => runMain("server/main.ts", ...args);
const homeAdd = (name: string, ...args: string[]) =>
  server("home", "add", name, "-c", at("server.toml"), ...args);
const home = (command: "line" | "remove", name: string) =>
  server("home", command, name, "-c", at("server.toml"));
const modeOf = (file: string) => statSync(file).mode & 0o777;

beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), "hometun-test-"));
});

afterAll(() => {
  rmSync(directory, { recursive: true });
});

describe("setting up a home", { timeout: 60_000 }, () => {
  it("begins with the server's key and configuration, once", async () => {
    const init = ["init", "--address", "203.0.113.1", "--identity", "isp.example"];
    const made = await server(...init, "-o", at("server.toml"));
    expect(made).toMatchObject({ status: 0, stderr: "" });
    const publicKey = publicKeyText(readFileSync(at("server-key.pem"), "utf8"));
    expect(made.stdout).toContain(`Its public key, which is no secret`);
    expect(made.stdout).toContain(publicKey);
    expect([modeOf(at("server.toml")), modeOf(at("server-key.pem"))]).toEqual([0o600, 0o600]);
    expect(await server(...init, "-o", at("server.toml"))).toMatchObject({
      status: 2,
      stderr: `hometun-server: ${at("server.toml")}: exists already, and is not overwritten\n`,
    });
  });

  it("with key pairs, nothing secret leaves its machine", async () => {
    const file = at("alice", "client.toml");
    const init = ["init", "--server", "203.0.113.1", "--identity", "alice.example", "-o", file];
    const first = await hometun(...init);
    expect(first).toMatchObject({ status: 0, stderr: "" });
    expect(modeOf(at("alice", "key.pem"))).toBe(0o600);
    const [publicKey = ""] = /MCow\S+/.exec(first.stdout) ?? [];
    const added = await homeAdd(
      "alice",
      ...["--identity", "alice.example", "--public-key", publicKey],
      ...["--prefix", "2001:db8:a::/56"],
    );
    expect(added).toMatchObject({ status: 0, stderr: "" });
    expect(added.stdout).toContain("The server is not running: hometun-server run");
    const [line = ""] = /hometun:[^']+/.exec(added.stdout) ?? [];
    expect(await hometun("init", line, "--lan", "eth1", "-o", file)).toMatchObject({
      status: 0,
      stderr: "",
      stdout: expect.stringContaining(`Next: hometun doctor -c ${file}`),
    });
    const key = readFileSync(at("alice", "key.pem"), "utf8").split("\n")[1] ?? "";
    expect(first.stdout + added.stdout + readFileSync(file, "utf8")).not.toContain(key);
    expect(await hometun("check-config", "-c", file)).toMatchObject({ status: 0 });
    expect(await server("check-config", "-c", at("server.toml"))).toMatchObject({
      stdout: `${at("server.toml")}: good (1 home at 203.0.113.1)\n`,
    });
  });

  it("with a shared key, the line is pasted and never an argument", async () => {
    const added = await homeAdd("bob", "--psk", "--pool", "2001:db8::/40");
    expect(added).toMatchObject({ status: 0, stderr: "" });
    expect(added.stdout).toContain("bob has 2001:db8::/56");
    const [line = ""] = /hometun:\S+/.exec(added.stdout) ?? [];
    const file = at("bob", "client.toml");
    const refused = await hometun("init", line, "-o", file);
    expect(refused).toMatchObject({ status: 2, stderr: expect.stringContaining("hometun init -") });
    expect(refused.stderr).not.toContain("psk=");
    const made = await runWithInput(`${line}\n`, "client/main.ts", "init", "-", "-o", file);
    expect(made).toMatchObject({ status: 0, stderr: "" });
    expect(readFileSync(at("bob", "psk"), "utf8")).toBe(
      readFileSync(at("homes", "bob.psk"), "utf8"),
    );
    expect([modeOf(at("bob", "psk")), modeOf(at("homes", "bob.psk"))]).toEqual([0o600, 0o600]);
    expect(made.stdout).not.toMatch(/[0-9a-f]{32}/);
  });

  it("keys that others can read are a mistake to check-config, as to run", async () => {
    const keys = [at("bob", "psk"), at("homes", "bob.psk")];
    for (const key of keys) chmodSync(key, 0o644);
    const [atHome, atServer] = await Promise.all([
      hometun("check-config", "-c", at("bob", "client.toml")),
      server("check-config", "-c", at("server.toml")),
    ]);
    for (const key of keys) chmodSync(key, 0o600);
    const told = (key = "") => `${key}: holds keys, so only its owner may read and write it`;
    expect(atHome).toMatchObject({ status: 2, stderr: expect.stringContaining(told(keys[0])) });
    expect(atServer).toMatchObject({ status: 2, stderr: expect.stringContaining(told(keys[1])) });
  });

  it("two homes with one key are warned of", async () => {
    const line = /^public-key = .*$/m.exec(readFileSync(at("homes", "alice.toml"), "utf8"))?.[0];
    const text = `name = "anna"\nprefixes = ["2001:db8:f01::/56"]\n[keys]\nmode = "ikev2"\nidentity = "anna"\n${line}\n`;
    writeFileSync(at("homes", "anna.toml"), text, { mode: 0o600 });
    expect(await server("check-config", "-c", at("server.toml"))).toMatchObject({
      status: 0,
      stderr: "hometun-server: warning: homes alice and anna have one key: make each its own\n",
    });
    rmSync(at("homes", "anna.toml"));
  });

  it("is refused in one line where a home or a prefix is there already", async () => {
    expect(await homeAdd("bob", "--psk", "--prefix", "2001:db8:b::/56")).toMatchObject({
      status: 2,
      stderr: `hometun-server: ${at("homes", "bob.toml")}: exists already, and is not overwritten\n`,
    });
    expect(await homeAdd("carol", "--psk", "--prefix", "2001:db8:a::/64")).toMatchObject({
      status: 2,
      stderr: `hometun-server: ${at("homes", "carol.toml")}: prefixes[0]: overlaps 2001:db8:a::/56 of home alice\n`,
    });
    expect(await homeAdd("../carol", "--psk", "--prefix", "2001:db8:c::/56")).toMatchObject({
      status: 2,
      stderr: expect.stringMatching(/^hometun-server: home add: name: expected .*\n$/),
    });
    expect(await homeAdd("carol", "--prefix", "2001:db8:c::/56")).toMatchObject({
      status: 2,
      stderr: "hometun-server: expected one of --public-key, --psk and --psk-file\n",
    });
  });

  it("is refused by the option that is mistaken, not by a file that is never written", async () => {
    expect(await homeAdd("carol", "--psk")).toMatchObject({
      status: 2,
      stderr: "hometun-server: the home needs a prefix: say --prefix or --pool\n",
    });
    expect(await homeAdd("carol", "--psk", "--prefix", "PREFIX")).toMatchObject({
      status: 2,
      stderr: expect.stringMatching(
        /^hometun-server: --prefix: expected an IPv6 prefix .* such as 2001:db8:a::\/56.*\n$/,
      ),
    });
    expect(await homeAdd("carol", "--psk", "--pool", "POOL")).toMatchObject({
      status: 2,
      stderr: expect.stringMatching(/^hometun-server: --pool: expected an IPv6 prefix .*\n$/),
    });
  });

  it("tells a home's line again, the same as at first", async () => {
    const lineIn = ({ stdout }: { stdout: string }) => /hometun:[^'\s]+/.exec(stdout)?.[0];
    const added = await homeAdd("erin", "--psk", "--pool", "2001:db8::/40");
    const again = await home("line", "erin");
    expect(again).toMatchObject({ status: 0, stderr: "" });
    expect(lineIn(again)).toBe(lineIn(added));
    expect(lineIn(await home("line", "alice"))).toMatch(/home=alice\.example&key=MCow/);
    expect(await home("line", "nobody")).toMatchObject({
      status: 2,
      stderr: 'hometun-server: no home is called "nobody"\n',
    });
    writeFileSync(
      at("homes", "manual.toml"),
      homeText({ name: "manual", prefix: "2001:db8:f00::/56" }),
      { mode: 0o600 },
    );
    expect(await home("line", "manual")).toMatchObject({
      status: 2,
      stderr: expect.stringContaining("home manual has manual keys, and no line"),
    });
    rmSync(at("homes", "manual.toml"));
  });

  it("takes a home away with the key that was made for it, and nothing of another's", async () => {
    expect(await home("remove", "erin")).toEqual({
      status: 0,
      stdout: `${at("homes", "erin.toml")} removed\n${at("homes", "erin.psk")} removed\n\nThe server is not running.\n`,
      stderr: "",
    });
    expect(await home("remove", "erin")).toMatchObject({
      status: 2,
      stderr: 'hometun-server: no home is called "erin"\n',
    });
    const key = at("homes", "frank.psk");
    await homeAdd("frank", "--psk", "--pool", "2001:db8::/40");
    await homeAdd("gina", "--psk-file", key, "--pool", "2001:db8::/40");
    expect(await home("remove", "frank")).toMatchObject({ status: 0, stderr: "" });
    expect(modeOf(key)).toBe(0o600);
    expect(await homeAdd("frank", "--psk", "--pool", "2001:db8::/40")).toMatchObject({
      status: 2,
      stderr: `hometun-server: ${key}: exists already, and is not overwritten: take that key with --psk-file ${key}, or remove the file\n`,
    });
    expect(await home("remove", "gina")).toMatchObject({ status: 0 });
    expect(modeOf(key)).toBe(0o600); // it is named for another home
    rmSync(key);
  });

  it("takes a home away that is mistaken, and says what else keeps the server from reading", async () => {
    for (const name of ["hugo", "ines"]) {
      writeFileSync(at("homes", `${name}.toml`), "mistaken", { mode: 0o600 });
    }
    const { status, stdout, stderr } = await home("remove", "hugo");
    expect({ status, stdout }).toEqual({
      status: 2,
      stdout: `${at("homes", "hugo.toml")} removed\n`,
    });
    expect(stderr).toContain(at("homes", "ines.toml"));
    expect(await home("remove", "ines")).toMatchObject({ status: 0, stderr: "" });
  });

  it("does not replace a configuration unless told to, and a key never", async () => {
    const file = at("alice", "client.toml");
    const key = readFileSync(at("alice", "key.pem"), "utf8");
    const init = [
      ...["init", "--server", "203.0.113.9", "--identity", "alice.example", "-o", file],
      ...["--server-identity", "other.example"],
      ...["--server-public-key", "MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE="],
    ];
    expect(await hometun(...init)).toMatchObject({
      status: 2,
      stderr: `hometun: ${file}: exists already, and is not overwritten\n`,
    });
    expect(await hometun(...init, "--force")).toMatchObject({ status: 0 });
    expect(readFileSync(file, "utf8")).toContain("203.0.113.9");
    expect(modeOf(file)).toBe(0o600);
    expect(readFileSync(at("alice", "key.pem"), "utf8")).toBe(key);
  });

  it("tells every mistake, and writes nothing then", async () => {
    const file = at("none", "client.toml");
    const args = ["--server", "x", "--identity", "a b", "-o", file];
    const { status, stderr } = await hometun("init", ...args);
    expect(status).toBe(2);
    expect(stderr.trim().split("\n")).toEqual([
      expect.stringContaining("server: expected an IPv4 address"),
      expect.stringContaining("keys.identity: expected a name"),
    ]);
    expect(() => statSync(at("none"))).toThrow("ENOENT");
    expect(await hometun("init", "-o", file)).toMatchObject({
      status: 2,
      stderr: "hometun: expected --server and --identity, or the line that your ISP gave you\n",
    });
  });

  it("does without a key that is gone only if the ISP is told", async () => {
    const line =
      "hometun:203.0.113.1?server=isp.example&home=dave.example&key=MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE";
    const { status, stderr } = await hometun("init", line, "-o", at("dave", "client.toml"));
    expect({ status, stderr }).toMatchObject({
      status: 2,
      stderr: expect.stringContaining("key.pem: missing, and the ISP knows its public key"),
    });
  });

  it("helps on a screen of 24 lines and 80 columns", async () => {
    const helps = await Promise.all([
      hometun("init", "--help"),
      server("init", "--help"),
      server("home", "--help"),
      server("home", "add", "--help"),
      server("home", "line", "--help"),
      server("home", "remove", "--help"),
    ]);
    for (const { stdout } of helps) {
      const lines = stdout.split("\n");
      expect(lines.length).toBeLessThanOrEqual(24);
      for (const line of lines) expect(line.length).toBeLessThanOrEqual(80);
    }
  });
});
