/**
 * Homes, an ISP and a server, with both real daemons, for the system tests:
 *
 *     ┌ home 0 ────────────┐          ┌ router ───────────────────────┐          ┌ server ─────────────┐
 *     │ hometun run    wan ── 192.0.2.0/27 ── wan0                    │          │ hometun-server run  │
 *     │ ht0           wan2 ── 203.0.113.0/27 ─ wan0b          server ── 198.51.100.0/24 ── wan ht-NAME │
 *     │ 2001:db8:a::1      │          │                               │          │ lan 2001:db8:ffff::1│
 *     └────────────────────┘          │                               │          └──┬──────────────────┘
 *     ┌ home 1 ────────────┐          │                               │          ┌──┴──────────────────┐
 *     │ as home 0      wan ── 192.0.2.32/27 ─ wan1                    │          │ far                 │
 *     │ 2001:db8:b::1 wan2 ── 203.0.113.32/27  wan1b        stranger ─┐          │ lan 2001:db8:ffff::2│
 *     └────────────────────┘          └───────────────────────────────┘          └─────────────────────┘
 *                                      ┌ stranger ────────────────────┐
 *                                      │ wan  203.0.113.226/27        │
 *                                      └──────────────────────────────┘
 *
 * Routers are .1 (.225 for the stranger) of their networks, homes begin at .7 (.39 for the second home).
 */

import { spawnSync } from "node:child_process";
import { generateKeyPairSync, type KeyObject, randomBytes } from "node:crypto";
import { existsSync, writeFileSync } from "node:fs";
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import type { ClientStatus } from "../../client/status.ts";
import { askControl } from "../../common/adapters/control-socket.ts";
import type { Encapsulation, Suite } from "../../common/tunnel/tunnel.ts";
import type { HomeStatus, ServerStatus } from "../../server/status.ts";
import { Capture } from "./capture.ts";
import {
  eventually,
  Lab,
  type Namespace,
  PATIENCE_MS,
  type Running,
  type SpawnOptions,
} from "./namespace.ts";
import { NotifySocket } from "./notify-socket.ts";

const DIST = resolve(import.meta.dirname, "../../dist");
export const CLIENT_PROGRAM = join(DIST, "client/main.js");
export const SERVER_PROGRAM = join(DIST, "server/main.js");

export const SERVER = "198.51.100.1";
export const STRANGER = "203.0.113.226";
/** Behind the server. */
export const FAR = "2001:db8:ffff::2";

export interface HomeOptions {
  readonly name: string;
  readonly encapsulation?: Encapsulation;
  readonly suite?: Suite;
  /** Keys by IKEv2, and what the ends prove themselves with. */
  readonly ikev2?: "psk" | "ed25519";
  /** Pairs of SAs are renewed after so many packets. */
  readonly rekeyPackets?: number;
  /** Lines of TOML for the client's table `[keys]` with `ikev2`. */
  readonly keys?: string;
  /** Lines of TOML for the client's table `[tunnel]`. */
  readonly tunnel?: string;
  /** Lines of TOML for the head of `client.toml`. */
  readonly client?: string;
}

export interface TunnelLabOptions {
  readonly homes: readonly HomeOptions[];
  /** Lines of TOML for `server.toml`. */
  readonly server?: string;
  /** Lines of TOML for the server's table `[ikev2]`. */
  readonly ikev2?: string;
  /** What Node itself is given, before the program. */
  readonly node?: readonly string[];
  /** The daemons have a service manager that keeps descriptors for them. */
  readonly isManaged?: boolean;
}

/** Whether the daemons have been built; `npm test` does, vitest alone does not. */
export function daemonsAreBuilt(): boolean {
  const built = existsSync(CLIENT_PROGRAM) && existsSync(SERVER_PROGRAM);
  if (!built) process.stderr.write("skipped: the daemons are not built, run `npm run build`\n");
  return built;
}

/** A daemon that can be started again and again; its status is asked for over its control socket. */
export class Daemon<Status> {
  readonly configFile: string;
  readonly controlSocket: string;
  readonly #namespace: Namespace;
  readonly #program: string;
  readonly #node: readonly string[];
  readonly #manager: NotifySocket | undefined;
  #running: Running | undefined;

  constructor(parts: {
    readonly namespace: Namespace;
    readonly program: string;
    readonly configFile: string;
    readonly controlSocket: string;
    readonly node?: readonly string[] | undefined;
    readonly manager?: NotifySocket | undefined;
  }) {
    this.#manager = parts.manager;
    this.#namespace = parts.namespace;
    this.#program = parts.program;
    this.#node = parts.node ?? [];
    this.configFile = parts.configFile;
    this.controlSocket = parts.controlSocket;
  }

  /** Starts it and waits until it answers. Throws with its log when it ends instead. */
  async start(): Promise<Status> {
    const running = this.launch();
    let ended = false;
    void running.exited.then(() => {
      ended = true;
    });
    return await eventually(async () => {
      if (ended) throw new Error(`the daemon ended:\n${running.stderr}`);
      return await this.status().catch(() => undefined);
    }, PATIENCE_MS);
  }

  /** Starts a second instance beside it. */
  another(): Running {
    return this.#namespace.spawn(this.#command);
  }

  /** Starts it and does not wait. */
  launch(options: SpawnOptions = {}): Running {
    const { startOptions } = this.#manager ?? {};
    this.#running = this.#namespace.spawn(this.#command, { ...startOptions, ...options });
    return this.#running;
  }

  get #command(): string[] {
    return [process.execPath, ...this.#node, this.#program, "run", "-c", this.configFile];
  }

  get running(): Running {
    if (this.#running === undefined) throw new Error("the daemon was not started");
    return this.#running;
  }

  async status(): Promise<Status> {
    const reply = await askControl(this.controlSocket, { command: "status" });
    if (reply.kind === "refused") throw new Error(reply.reason);
    return reply.value as Status;
  }

  /** `hometun announce` */
  async announce(): Promise<void> {
    await askControl(this.controlSocket, { command: "announce" });
  }

  /** The first status that fits. Throws with the last one, and the log, when none does. */
  async until(
    fits: (status: Status) => boolean,
    timeoutMs = PATIENCE_MS,
    everyMs?: number,
  ): Promise<Status> {
    let last: Status | undefined;
    try {
      return await eventually(
        async () => {
          last = await this.status().catch(() => undefined);
          return last !== undefined && fits(last) ? last : undefined;
        },
        timeoutMs,
        everyMs,
      );
    } catch (error) {
      const status = JSON.stringify(last, null, 1);
      throw new Error(`${this.#program}: ${String(error)}\n${status}\n${this.#running?.stderr}`);
    }
  }

  /** SIGKILL: nothing is cleaned up. */
  async crash(): Promise<void> {
    this.running.kill("SIGKILL");
    await this.running.exited;
  }

  /** As systemd does it. Throws when it does not end well. */
  async restart(): Promise<void> {
    await this.#end("SIGUSR2");
    await this.start();
  }

  /** SIGTERM. Throws when it does not end well. */
  async stop(): Promise<void> {
    await this.#end("SIGTERM");
  }

  async #end(how: NodeJS.Signals): Promise<void> {
    this.running.kill(how);
    const { code, signal } = await this.running.exited;
    if (code !== 0) throw new Error(`ended with ${code ?? signal}:\n${this.running.stderr}`);
  }
}

/** A home: its namespace, its client, and what its ISP does to it. */
export class LabHome {
  readonly name: string;
  readonly namespace: Namespace;
  readonly client: Daemon<ClientStatus>;
  /** Its files as `hometun keygen` made them. */
  readonly keyFile: string;
  /** Our address in the prefix. */
  readonly address: string;
  readonly #index: number;
  readonly #namespaceOfServer: Namespace;

  constructor(parts: {
    name: string;
    index: number;
    namespace: Namespace;
    server: Namespace;
    client: Daemon<ClientStatus>;
    keyFile: string;
  }) {
    this.name = parts.name;
    this.namespace = parts.namespace;
    this.client = parts.client;
    this.keyFile = parts.keyFile;
    this.address = innerAddress(parts.index);
    this.#index = parts.index;
    this.#namespaceOfServer = parts.server;
  }

  /** An IPv4 address on one of the uplinks; the first is number 7. */
  ipv4(number: number, uplink: Uplink = "wan"): string {
    return uplinkAddress(this.#index, uplink, number);
  }

  /** All at once, as DHCP clients and PPP do: the address is replaced, the default route made anew. */
  async take(number: number, uplink: Uplink = "wan"): Promise<string> {
    const address = this.ipv4(number, uplink);
    const gateway = this.ipv4(1, uplink);
    await this.batch([
      "addr flush dev wan",
      "addr flush dev wan2",
      `addr add ${address}/27 dev ${uplink}`,
      `route replace default via ${gateway}`,
    ]);
    return address;
  }

  /** No IPv4 address, and no route to anywhere. */
  async leave(): Promise<void> {
    await this.batch(["addr flush dev wan", "addr flush dev wan2"]);
  }

  /** IPv4 commands of ip(8), in one process. */
  async batch(lines: readonly string[]): Promise<void> {
    await this.namespace.run(
      `printf '%s\\n' ${lines.map((line) => `'${line}'`).join(" ")} | ip -4 -batch -`,
    );
  }

  /** What the server says of this home. */
  async atServer(server: Daemon<ServerStatus>): Promise<HomeStatus> {
    return homeIn(await server.status(), this.name);
  }

  /** A packet from here to the far host and back; tried again until it works. */
  async reachesFar(octets = 56): Promise<void> {
    await pingUntilAnswered(this.namespace, FAR, octets);
  }

  async isReachedFrom(namespace: Namespace = this.#namespaceOfServer, octets = 56): Promise<void> {
    await pingUntilAnswered(namespace, this.address, octets);
  }
}

export type Uplink = "wan" | "wan2";

export class TunnelLab {
  readonly lab = new Lab();
  readonly directory: string;
  readonly router: Namespace;
  readonly serverNamespace: Namespace;
  readonly far: Namespace;
  readonly stranger: Namespace;
  readonly server: Daemon<ServerStatus>;
  readonly homes: readonly LabHome[];
  readonly #managers: readonly NotifySocket[];

  private constructor(parts: {
    lab: Lab;
    directory: string;
    router: Namespace;
    serverNamespace: Namespace;
    far: Namespace;
    stranger: Namespace;
    server: Daemon<ServerStatus>;
    homes: readonly LabHome[];
    managers: readonly NotifySocket[];
  }) {
    this.#managers = parts.managers;
    this.lab = parts.lab;
    this.directory = parts.directory;
    this.router = parts.router;
    this.serverNamespace = parts.serverNamespace;
    this.far = parts.far;
    this.stranger = parts.stranger;
    this.server = parts.server;
    this.homes = parts.homes;
  }

  /** Builds the networks and writes the configuration; starts no daemon. */
  static async build(options: TunnelLabOptions): Promise<TunnelLab> {
    const lab = new Lab();
    const directory = await mkdtemp(join(tmpdir(), "hometun-lab-"));
    try {
      return await TunnelLab.#build(options, lab, directory);
    } catch (error) {
      await lab.dispose();
      await rm(directory, { recursive: true, force: true });
      throw error;
    }
  }

  /** Builds, starts everything, and waits until every home is confirmed on both sides. */
  static async open(options: TunnelLabOptions): Promise<TunnelLab> {
    const built = await TunnelLab.build(options);
    try {
      await built.server.start();
      await Promise.all(built.homes.map(({ client }) => client.start()));
      for (const home of built.homes) await built.confirmed(home, home.ipv4(7));
      return built;
    } catch (error) {
      await built.dispose();
      throw error;
    }
  }

  static async #build(options: TunnelLabOptions, lab: Lab, directory: string): Promise<TunnelLab> {
    const [router, serverNamespace, far, stranger] = await Promise.all([
      lab.namespace("router"),
      lab.namespace("server"),
      lab.namespace("far"),
      lab.namespace("stranger"),
    ]);
    await lab.connect(serverNamespace, "wan", router, "server");
    await lab.connect(serverNamespace, "lan", far, "lan");
    await lab.connect(stranger, "wan", router, "stranger");
    await Promise.all([
      router.run(
        `sysctl -qw net.ipv4.ip_forward=1 net.ipv4.conf.all.rp_filter=0
         ip addr add 198.51.100.254/24 dev server; ip addr add 203.0.113.225/27 dev stranger`,
      ),
      // The kernel does not ask whether far is still there: its answers would be counted as advertisements by no home.
      serverNamespace.run(
        `sysctl -qw net.ipv6.conf.all.forwarding=1 net.ipv6.neigh.lan.delay_first_probe_time=600
         ip addr add ${SERVER}/24 dev wan; ip route add default via 198.51.100.254
         ip addr add 2001:db8:ffff::1/64 dev lan nodad`,
      ),
      far.run(`ip addr add ${FAR}/64 dev lan nodad; ip route add default via 2001:db8:ffff::1`),
      stranger.run(`ip addr add ${STRANGER}/27 dev wan; ip route add default via 203.0.113.225`),
    ]);

    const state = join(directory, "server");
    await mkdir(join(state, "homes"), { recursive: true });
    const serverFile = join(state, "server.toml");
    const serverSocket = join(state, "server.sock");
    await writeFile(
      serverFile,
      [
        `address = "${SERVER}"`,
        `homes = "${join(state, "homes")}"`,
        `state-directory = "${join(state, "state")}"`,
        `control-socket = "${serverSocket}"`,
        withDataPlane(options.server),
        ...(options.homes.some(({ ikev2 }) => ikev2) ? serverIdentity(state) : []),
        options.ikev2 ?? "",
      ].join("\n"),
    );
    const homes: LabHome[] = [];
    const managers: NotifySocket[] = [];
    const managerOf = (name: string) => {
      if (options.isManaged !== true) return undefined;
      const manager = new NotifySocket(join(directory, `${name}.notify`));
      managers.push(manager);
      return manager;
    };
    for (const [index, home] of options.homes.entries()) {
      const { node } = options;
      const parts = { lab, directory, router, serverNamespace, index, home, node };
      homes.push(await addHome({ ...parts, manager: managerOf(home.name) }));
    }
    return new TunnelLab({
      lab,
      directory,
      router,
      serverNamespace,
      far,
      stranger,
      server: new Daemon({
        namespace: serverNamespace,
        program: SERVER_PROGRAM,
        configFile: serverFile,
        controlSocket: serverSocket,
        node: options.node,
        manager: managerOf("server"),
      }),
      homes,
      managers,
    });
  }

  home(name: string): LabHome {
    const home = this.homes.find((each) => each.name === name);
    if (home === undefined) throw new Error(`no home ${name} in this lab`);
    return home;
  }

  /** Waits until both sides say that the home is at this address. */
  async confirmed(
    home: LabHome,
    address: string,
  ): Promise<{ client: ClientStatus; server: HomeStatus }> {
    const client = await home.client.until(
      ({ state, uplink }) => state.kind === "confirmed" && uplink?.address === address,
    );
    const server = await this.server.until((status) => {
      const { state, endpoint } = homeIn(status, home.name);
      return state.kind === "confirmed" && endpoint?.address === address;
    });
    return { client, server: homeIn(server, home.name) };
  }

  /** Records what passes an interface of the router. */
  async capture(interfaceName: string, filter = ""): Promise<Capture> {
    return await Capture.start(this.router, interfaceName, this.directory, filter);
  }

  /** Interfaces of the router on which the outer packets are seen. */
  get outerLinks(): readonly string[] {
    return [...this.homes.flatMap((_, index) => [`wan${index}`, `wan${index}b`]), "server"];
  }

  async dispose(): Promise<void> {
    await this.lab.dispose();
    for (const manager of this.#managers) manager.close();
    await rm(this.directory, { recursive: true, force: true });
  }
}

/** That home's part of a server's status. */
export function homeIn(status: ServerStatus, name: string): HomeStatus {
  const home = status.homes.find((each) => each.name === name);
  if (home === undefined) throw new Error(`the server knows no home ${name}`);
  return home;
}

/** One echo after the other until one is answered. */
export async function pingUntilAnswered(from: Namespace, to: string, octets = 56): Promise<void> {
  await eventually(
    () =>
      from
        .run(["ping", "-n", "-c", "1", "-W", "1", "-s", String(octets), to])
        .catch(() => undefined),
    PATIENCE_MS,
  );
}

async function addHome(parts: {
  lab: Lab;
  directory: string;
  router: Namespace;
  serverNamespace: Namespace;
  index: number;
  home: HomeOptions;
  node: readonly string[] | undefined;
  manager: NotifySocket | undefined;
}): Promise<LabHome> {
  const { lab, directory, router, serverNamespace, index, home, node, manager } = parts;
  const { name, encapsulation = "udp", suite = "aes-cbc-256-hmac-sha2-256-128" } = home;
  const namespace = await lab.namespace(name);
  await lab.connect(namespace, "wan", router, `wan${index}`);
  await lab.connect(namespace, "wan2", router, `wan${index}b`);
  await router.run(
    `ip addr add ${uplinkAddress(index, "wan", 1)}/27 dev wan${index}
     ip addr add ${uplinkAddress(index, "wan2", 1)}/27 dev wan${index}b`,
  );
  await namespace.run("sysctl -qw net.ipv6.conf.all.forwarding=1");

  const own = join(directory, name);
  await mkdir(own);
  if (home.ikev2 === undefined) {
    makeManualKeys({ name, index, suite, encapsulation, own });
  } else {
    await makeIkev2Files({ home, index, own, server: join(directory, "server") });
  }
  const keyFile = join(own, `${name}.client.toml`);
  const configFile = join(own, "client.toml");
  const controlSocket = join(own, "client.sock");
  const keys = await readFile(keyFile, "utf8");
  const text = [
    `state-directory = "${join(own, "state")}"`,
    `control-socket = "${controlSocket}"`,
    withDataPlane(home.client),
    keys.replace("[tunnel]\n", `[tunnel]\n${home.tunnel ?? ""}\n`),
  ].join("\n");
  await writeFile(configFile, text, { mode: 0o600 });
  const serverFile = join(directory, "server", "homes", `${name}.toml`);
  await writeFile(serverFile, await readFile(join(own, `${name}.server.toml`)), { mode: 0o600 });

  const program = CLIENT_PROGRAM;
  const client = new Daemon<ClientStatus>({
    ...{ namespace, program, configFile, controlSocket, node, manager },
  });
  const laboratory = new LabHome({
    name,
    index,
    namespace,
    server: serverNamespace,
    client,
    keyFile,
  });
  await laboratory.take(7);
  return laboratory;
}

function makeManualKeys(plan: {
  readonly name: string;
  readonly index: number;
  readonly suite: Suite;
  readonly encapsulation: Encapsulation;
  readonly own: string;
}): void {
  const { name, index, suite, encapsulation, own } = plan;
  const made = spawnSync(
    process.execPath,
    [
      ...[CLIENT_PROGRAM, "keygen", "--name", name, "--server", SERVER, "--output", own],
      ...["--prefix", innerPrefix(index), "--suite", suite, "--encapsulation", encapsulation],
    ],
    { encoding: "utf8" },
  );
  if (made.status !== 0) throw new Error(`hometun keygen: ${made.stderr}`);
}

/** The table of the server's identity, and its key pair. */
function serverIdentity(state: string): string[] {
  const { privateKey, publicKey } = generateKeyPairSync("ed25519");
  writeFileSync(join(state, "key.pem"), privateKey.export({ format: "pem", type: "pkcs8" }), {
    mode: 0o600,
  });
  writeFileSync(join(state, "key.pub"), publicKeyText(publicKey));
  return [
    "[ikev2]",
    'identity = "server.example"',
    `private-key-file = "${join(state, "key.pem")}"`,
  ];
}

function publicKeyText(key: KeyObject): string {
  return key.export({ format: "der", type: "spki" }).toString("base64");
}

/** Both files of a home that negotiates its keys, and what they name. */
async function makeIkev2Files(plan: {
  readonly home: HomeOptions;
  readonly index: number;
  readonly own: string;
  readonly server: string;
}): Promise<void> {
  const { home, index, own, server } = plan;
  const secret = { mode: 0o600 };
  const lines = [
    "[keys]",
    'mode = "ikev2"',
    `identity = "${home.name}.example"`,
    ...(home.rekeyPackets === undefined ? [] : [`rekey-packets = ${home.rekeyPackets}`]),
  ];
  const encapsulation = home.encapsulation === "esp" ? ['encapsulation = "esp"'] : [];
  const client = [
    `server = "${SERVER}"`,
    "[tunnel]",
    ...encapsulation,
    ...lines,
    home.keys ?? "",
    'server-identity = "server.example"',
  ];
  const atServer = [
    `name = "${home.name}"`,
    `prefixes = ["${innerPrefix(index)}"]`,
    ...encapsulation,
    ...lines,
  ];
  if (home.ikev2 === "psk") {
    const file = join(own, "psk");
    await writeFile(file, randomBytes(32).toString("hex"), secret);
    client.push(`psk-file = "${file}"`);
    atServer.push(`psk-file = "${file}"`);
  } else {
    const { privateKey, publicKey } = generateKeyPairSync("ed25519");
    const file = join(own, "key.pem");
    await writeFile(file, privateKey.export({ format: "pem", type: "pkcs8" }), secret);
    const serverKey = await readFile(join(server, "key.pub"), "utf8");
    client.push(`private-key-file = "${file}"`, `server-public-key = "${serverKey}"`);
    atServer.push(`public-key = "${publicKeyText(publicKey)}"`);
  }
  await writeFile(join(own, `${home.name}.client.toml`), client.join("\n"), secret);
  await writeFile(join(own, `${home.name}.server.toml`), atServer.join("\n"), secret);
}

/** The userspace one, which works everywhere, unless a test asks for another. */
function withDataPlane(lines = ""): string {
  return lines.includes("data-plane") ? lines : `data-plane = "userspace"\n${lines}`;
}

function uplinkAddress(index: number, uplink: Uplink, number: number): string {
  const network = uplink === "wan" ? "192.0.2" : "203.0.113";
  return `${network}.${32 * index + number}`;
}

function innerPrefix(index: number): string {
  return `2001:db8:${(10 + index).toString(16)}::/48`;
}

function innerAddress(index: number): string {
  return `2001:db8:${(10 + index).toString(16)}::1`;
}
