/**
 * What users meet when something is missing: one line that says what, and what to do; never a stack.
 *
 *     ┌ machine ────────────────┐
 *     │ wan 198.51.100.1        │     with both programs and, for each case, something that is not as it should be
 *     └─────────────────────────┘
 */

import { spawnSync } from "node:child_process";
import { chmod, chown, mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { canUseNamespaces, Lab, type Namespace } from "../support/namespace.ts";
import { CLIENT_PROGRAM, daemonsAreBuilt, SERVER, SERVER_PROGRAM } from "../support/tunnel-lab.ts";

const NOBODY = 65_534;
/** Root in name only. */
const POWERLESS = ["setpriv", "--inh-caps=-all", "--bounding-set=-all"];
const AS_NOBODY = ["setpriv", `--reuid=${NOBODY}`, `--regid=${NOBODY}`, "--clear-groups"];

const skipped = !canUseNamespaces() || !daemonsAreBuilt();
const nobodyCanRun = !skipped && canNobodyRun();

/** A checkout in root's home is not for everyone to read. */
function canNobodyRun(): boolean {
  const [setpriv, ...options] = [...AS_NOBODY, process.execPath, CLIENT_PROGRAM, "--version"];
  const can = spawnSync(setpriv ?? "", options).status === 0;
  if (!can) process.stderr.write("skipped: the user nobody cannot read this checkout\n");
  return can;
}

interface Outcome {
  readonly status: number | null;
  readonly said: string;
}

interface Daemon {
  readonly name: string;
  readonly program: string;
  readonly config: string;
}

describe.skipIf(skipped)("when something is missing", () => {
  const lab = new Lab();
  let machine: Namespace;
  let directory: string;
  let client: Daemon;
  let server: Daemon;

  beforeAll(async () => {
    machine = await lab.namespace("machine");
    await machine.run(
      `ip link add wan type veth peer name isp; ip link set wan up; ip link set isp up
       ip addr add ${SERVER}/24 dev wan; ip route add default via 198.51.100.254`,
    );
    directory = await mkdtemp(join(tmpdir(), "hometun-lab-"));
    await chmod(directory, 0o755);
    const homes = join(directory, "homes");
    await mkdir(homes);
    const keygen = ["keygen", "--name", "alice", "--server", SERVER, "--prefix", "2001:db8:a::/48"];
    expect(await run([CLIENT_PROGRAM, ...keygen, "--output", directory])).toMatchObject({
      status: 0,
    });
    await writeFile(
      join(homes, "alice.toml"),
      await readFile(join(directory, "alice.server.toml")),
      { mode: 0o600 },
    );
    client = { name: "hometun", program: CLIENT_PROGRAM, config: join(directory, "client.toml") };
    server = {
      name: "hometun-server",
      program: SERVER_PROGRAM,
      config: join(directory, "server.toml"),
    };
    const where = (name: string) => [
      `state-directory = "${join(directory, name)}"`,
      `control-socket = "${join(directory, `${name}.sock`)}"`,
    ];
    const keys = await readFile(join(directory, "alice.client.toml"), "utf8");
    await writeFile(client.config, [...where("client"), keys].join("\n"), { mode: 0o600 });
    await writeFile(
      server.config,
      [`address = "${SERVER}"`, `homes = "${homes}"`, ...where("server")].join("\n"),
    );
  });

  afterAll(async () => {
    await lab.dispose();
    if (directory !== undefined) await rm(directory, { recursive: true });
  });

  /** Node's arguments, run to the end. A daemon that goes on would not end in time, which is an error. */
  async function run(args: readonly string[], prefix: readonly string[] = []): Promise<Outcome> {
    const running = machine.spawn([...prefix, process.execPath, ...args], {
      env: { NO_COLOR: "1" },
    });
    const late = setTimeout(() => running.kill("SIGKILL"), 20_000);
    const { code } = await running.exited;
    clearTimeout(late);
    return { status: code, said: `${running.stdout}\n${running.stderr}`.trim() };
  }

  const daemons = () => [client, server];

  async function expectRefusal(
    daemon: Daemon,
    expected: { status: number; says: RegExp },
    prefix: readonly string[] = [],
    command = "run",
  ): Promise<void> {
    const outcome = await run([daemon.program, command, "-c", daemon.config], prefix);
    expect(outcome.said).toMatch(expected.says);
    expect(outcome.said).not.toMatch(/^\s+at .*[:(]\d+/m);
    expect(outcome.said).not.toContain("unexpected error");
    expect(outcome.said).not.toContain("node:internal");
    expect(outcome.status).toBe(expected.status);
    // One line tells it all; what comes before is the log.
    expect(outcome.said.split("\n").at(-1)).toMatch(new RegExp(`^${daemon.name}: `));
  }

  it("status without a daemon says so, with status 3", async () => {
    const says = /no daemon is running/;
    await Promise.all([
      ...daemons().map((daemon) => expectRefusal(daemon, { status: 3, says }, [], "status")),
      expectRefusal(client, { status: 3, says }, [], "announce"),
    ]);
  });

  it("without the capabilities, each daemon names what it may not do", async () => {
    for (const daemon of daemons()) {
      await expectRefusal(daemon, { status: 1, says: /cannot .*(EPERM|EACCES).*root/s }, POWERLESS);
    }
  });

  it.skipIf(!nobodyCanRun)("as nobody, the same", async () => {
    const theirs = await mkdtemp(join(tmpdir(), "hometun-lab-nobody-"));
    try {
      const config = join(theirs, "client.toml");
      const text = (await readFile(client.config, "utf8")).replaceAll(
        `${directory}/client`,
        `${theirs}/client`,
      );
      await writeFile(config, text, { mode: 0o600 });
      await chown(config, NOBODY, NOBODY);
      await chown(theirs, NOBODY, NOBODY);
      const says = /cannot .*(EPERM|EACCES).*root/s;
      await expectRefusal({ ...client, config }, { status: 1, says }, AS_NOBODY);
    } finally {
      await rm(theirs, { recursive: true });
    }
  });

  it.skipIf(!nobodyCanRun)("as nobody, a state directory that is not theirs is named", async () => {
    const theirs = join(directory, "theirs.toml");
    await writeFile(theirs, await readFile(client.config), { mode: 0o600 });
    await chown(theirs, NOBODY, NOBODY);
    const says = /cannot .*(state directory|control socket).*(EPERM|EACCES)/s;
    await expectRefusal({ ...client, config: theirs }, { status: 1, says }, AS_NOBODY);
  });

  it("without /dev/net/tun, each daemon says how to get it", async () => {
    const hidden = ["unshare", "-m", "sh", "-ec", 'mount -t tmpfs none /dev/net; exec "$@"', "sh"];
    for (const daemon of daemons()) {
      await expectRefusal(daemon, { status: 1, says: /\/dev\/net\/tun.*modprobe tun/ }, hidden);
    }
  });

  it("with UDP port 4500 in use, each daemon says so", async () => {
    const taken = machine.spawn([
      process.execPath,
      "-e",
      `require("node:dgram").createSocket("udp4").bind(4500, () => console.log("bound"))`,
    ]);
    await taken.line((line) => line === "bound");
    for (const daemon of daemons()) {
      await expectRefusal(daemon, { status: 1, says: /cannot open UDP port 4500.*EADDRINUSE/ });
    }
    await taken.stop();
  });

  it("with an interface of another kind under the tunnel's name, the client says so", async () => {
    await machine.run("ip link add ht0 type veth peer name other");
    await expectRefusal(client, {
      status: 1,
      says: /cannot open the tunnel interface ht0: EINVAL/,
    });
    await machine.run("ip link del ht0");
  });

  it("with an address in the file that the machine does not have, the server says so", async () => {
    const config = join(directory, "elsewhere.toml");
    const text = await readFile(server.config, "utf8");
    await writeFile(config, text.replace(SERVER, "203.0.113.99"));
    const says = /203\.0\.113\.99.*EADDRNOTAVAIL.*does not have that address/;
    await expectRefusal({ ...server, config }, { status: 1, says });
  });

  it("with a configuration that is not there, each names the file, with status 2", async () => {
    const config = join(directory, "missing.toml");
    const says = /missing\.toml/;
    for (const command of ["run", "check-config", "status"]) {
      await Promise.all(
        daemons().map((daemon) =>
          expectRefusal({ ...daemon, config }, { status: 2, says }, [], command),
        ),
      );
    }
  });

  it.skipIf(!nobodyCanRun)("with a configuration that may not be read, the same", async () => {
    const says = /client\.toml.*(permission|EACCES)/i;
    await expectRefusal(client, { status: 2, says }, AS_NOBODY);
  });

  it("with a file of keys that the world may read, the client refuses, with status 2", async () => {
    const config = join(directory, "open.toml");
    await writeFile(config, await readFile(client.config));
    await chmod(config, 0o644);
    await expectRefusal({ ...client, config }, { status: 2, says: /open\.toml.*(0?600|chmod)/ });
  });

  it("with a home's file that the world may read, the server refuses, with status 2", async () => {
    const file = join(directory, "homes", "alice.toml");
    await chmod(file, 0o644);
    await expectRefusal(server, { status: 2, says: /alice\.toml.*(0?600|chmod)/ });
    await chmod(file, 0o600);
  });

  it("with a control socket whose directory cannot be made, each says so", async () => {
    for (const daemon of daemons()) {
      const config = join(directory, "socketless.toml");
      const text = await readFile(daemon.config, "utf8");
      const moved = text.replace(
        /^control-socket = .*$/m,
        'control-socket = "/proc/nowhere/at/all.sock"',
      );
      await writeFile(config, moved, { mode: 0o600 });
      await chmod(config, 0o600);
      const says = /control socket \/proc\/nowhere\/at\/all\.sock: ENOENT/;
      await expectRefusal({ ...daemon, config }, { status: 1, says });
    }
  });

  it("with a second instance, the first goes on and the second says so", async () => {
    for (const daemon of daemons()) {
      const running = machine.spawn([process.execPath, daemon.program, "run", "-c", daemon.config]);
      await running.errorLine((line) => line.includes('"ready"'));
      await expectRefusal(daemon, { status: 1, says: /another instance is running/ });
      const outcome = await run([daemon.program, "status", "-c", daemon.config, "--json"]);
      expect(outcome.status).toBe(0);
      expect(JSON.parse(outcome.said)).toMatchObject({ pid: running.pid });
      running.kill("SIGTERM");
      expect(await running.exited).toEqual({ code: 0, signal: null });
    }
  });

  it("with no network at all, the client waits for one instead of ending", async () => {
    await machine.run(["ip", "route", "flush", "default"]);
    await machine.run(["ip", "addr", "flush", "dev", "wan"]);
    const running = machine.spawn([process.execPath, client.program, "run", "-c", client.config]);
    await running.errorLine((line) => line.includes('"ready"'));
    const outcome = await run([client.program, "status", "-c", client.config]);
    expect(outcome.said).toContain("no address");
    expect(outcome.status).toBe(0);
    running.kill("SIGTERM");
    expect(await running.exited).toEqual({ code: 0, signal: null });
  });
});
