/**
 * Plays many homes that connect at once, each with hometun's own initiator and a UDP socket of its own.
 *
 *     node --import tsx bench/ike/homes.ts PLAN
 *
 * Says `ready`, begins when a line comes, and answers with a line of JSON when every home has its keys. At the next
 * line all begin anew, as after a power cut, with no goodbye. It ends when its standard input does. Of the ESP that comes, the server's probes are answered.
 */

import { createPrivateKey, createPublicKey, randomInt } from "node:crypto";
import { createSocket, type Socket } from "node:dgram";
import type { LookupOneOptions } from "node:dns";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { createInterface } from "node:readline";
import { randomSupply } from "../../common/adapters/random.ts";
import { systemClock } from "../../common/adapters/system-clock.ts";
import type { Credential, Trust } from "../../common/ikev2/authentication.ts";
import { DEFAULT_SETTINGS } from "../../common/ikev2/default-settings.ts";
import { identificationOf } from "../../common/ikev2/identity.ts";
import {
  IkeInitiator,
  type InitiatorEffect,
  type InitiatorInput,
} from "../../common/ikev2/ike-initiator.ts";
import type { HomeOptions } from "../../common/ikev2/session-types.ts";
import { parseIpv4 } from "../../common/ip/address.ts";
import { Driver } from "../../common/runtime/drive.ts";
import { optimizeLate } from "../../common/runtime/ready-code.ts";
import type { Endpoint } from "../../common/tunnel/tunnel.ts";
import { echoOf } from "./echo.ts";
import type { HomesPlan, HomesReport, PlannedHome } from "./plan.ts";
import { rehearse } from "./rehearsal.ts";

const IKE_PORT = 500;
const ENCAPSULATION_PORT = 4500;
const MARKER_LENGTH = 4; // octets, RFC 3948 section 2.2
const INTERFACE_ID = Uint8Array.of(0, 0, 0, 0, 0, 0, 0, 2);
const SMALLEST_SPI = 256;
const SPI_END = 2 ** 32;
const QUARTERS = [0.25, 0.5, 0.75, 1];

const plan: HomesPlan = JSON.parse(readFileSync(process.argv[2] ?? "", "utf8"));
const clock = systemClock();
const ports = {
  random: randomSupply(),
  allocateSpi: () => randomInt(SMALLEST_SPI, SPI_END),
};
const remote = { address: parseIpv4(plan.server), port: IKE_PORT };

interface Home {
  readonly plan: PlannedHome;
  readonly socket: Socket;
  readonly local: Endpoint;
  /** Hears what comes; undefined before the first time. */
  driver: Driver<InitiatorInput, InitiatorEffect> | undefined;
  answerTo: ReturnType<typeof echoOf> | undefined;
}

/** Addresses need none. */
function lookup(
  address: string,
  _options: LookupOneOptions,
  found: (error: NodeJS.ErrnoException | null, address: string, family: number) => void,
): void {
  found(null, address, 4);
}

async function openHome(plan: PlannedHome): Promise<Home> {
  const socket = createSocket({ type: "udp4", lookup });
  const listening = once(socket, "listening");
  socket.bind(0, plan.address);
  await listening;
  const local = { address: parseIpv4(plan.address), port: socket.address().port };
  const home: Home = { plan, socket, local, driver: undefined, answerTo: undefined };
  socket.on("message", (datagram, { port }) => receive(home, datagram, port));
  return home;
}

function receive(home: Home, datagram: Buffer, port: number): void {
  const { address } = remote;
  const encapsulated = port === ENCAPSULATION_PORT;
  if (encapsulated && datagram.readUInt32BE(0) !== 0) {
    const answer = home.answerTo?.(datagram);
    if (answer !== undefined) home.socket.send(answer, port, address);
    return;
  }
  const message = Uint8Array.from(encapsulated ? datagram.subarray(MARKER_LENGTH) : datagram);
  const path = { local: home.local, remote: { address, port } };
  home.driver?.feed({ kind: "message", message, path, encapsulated, wallTime: clock.wall() });
}

function initiatorOf(planned: PlannedHome): IkeInitiator {
  const options: HomeOptions = {
    identity: identificationOf(planned.identity),
    peerIdentity: identificationOf(plan.serverIdentity),
    ...beliefOf(planned),
    link: { interfaceId: INTERFACE_ID, fallback: plan.fallback },
    initialContact: true,
  };
  return new IkeInitiator(options, DEFAULT_SETTINGS, ports);
}

/** Switches the home on. `up` is called when it has keys. */
function prepare(home: Home, up: () => void): Driver<InitiatorInput, InitiatorEffect> {
  const { plan: planned, socket } = home;
  home.driver?.close();
  home.answerTo = undefined;
  const core = initiatorOf(planned);
  const perform = (effect: InitiatorEffect): void => {
    if (effect.kind === "send") {
      const { message, encapsulated, path } = effect;
      const datagram = encapsulated ? withMarker(message) : message;
      socket.send(datagram, path.remote.port, path.remote.address);
    } else if (effect.kind === "session") {
      const { kind } = effect.effect;
      if (kind === "child-created") {
        if (home.answerTo === undefined) up();
        home.answerTo = echoOf(effect.effect.child);
      } else if (kind === "closed" || kind === "child-refused") {
        process.stderr.write(`${planned.identity}: ${JSON.stringify(effect.effect)}\n`);
      }
    }
  };
  const driver = new Driver<InitiatorInput, InitiatorEffect>({ core, clock, perform });
  home.driver = driver;
  return driver;
}

function beliefOf({ privateKey }: PlannedHome): { credential: Credential; trust: Trust } {
  if (privateKey === undefined || plan.serverPublicKey === undefined) {
    const key = new TextEncoder().encode(plan.sharedKey);
    return { credential: { kind: "shared-key", key }, trust: { kind: "shared-key", key } };
  }
  const pem = `-----BEGIN PUBLIC KEY-----\n${plan.serverPublicKey}\n-----END PUBLIC KEY-----\n`;
  const credential = { privateKey: createPrivateKey(privateKey), certificates: [] };
  return {
    credential: { kind: "private-key", ...credential },
    trust: { kind: "public-keys", publicKeys: [createPublicKey(pem)] },
  };
}

function withMarker(message: Uint8Array): Uint8Array {
  const datagram = new Uint8Array(MARKER_LENGTH + message.length);
  datagram.set(message, MARKER_LENGTH);
  return datagram;
}

rehearse(plan.fallback, ports);
optimizeLate();
const homes = await Promise.all(plan.homes.map(openHome));

function connectAll(): void {
  const upAt: number[] = [];
  const drivers = homes.map((home) =>
    prepare(home, () => {
      upAt.push(performance.now() - beganAt);
      if (upAt.length === homes.length) report(upAt, cpuBefore);
    }),
  );
  const cpuBefore = process.cpuUsage();
  const beganAt = performance.now();
  drivers.forEach((driver, index) => {
    const local = homes[index]?.local;
    if (local !== undefined) driver.feed({ kind: "start", path: { local, remote } });
  });
}

function report(upAt: readonly number[], cpuBefore: NodeJS.CpuUsage): void {
  const { user, system } = process.cpuUsage(cpuBefore);
  const answer: HomesReport = {
    seconds: (upAt.at(-1) ?? 0) / 1_000,
    quartilesMs: QUARTERS.map((part) => Math.round(upAt[Math.ceil(part * upAt.length) - 1] ?? 0)),
    tunnels: upAt.length,
    cpuSeconds: (user + system) / 1e6,
  };
  process.stdout.write(`${JSON.stringify(answer)}\n`);
}

const lines = createInterface({ input: process.stdin });
lines.on("line", connectAll);
lines.once("close", () => process.exit());
process.once("SIGTERM", () => process.exit()); // a profile is written then
process.stdout.write("ready\n");
