/** The server that homes connect to, in the namespace it is given: what is asked of any, and hometun's. charon.ts has the other. */

import { mkdirSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { askControl } from "../../common/adapters/control-socket.ts";
import { newPrivateKey, publicKeyText } from "../../common/adapters/key-files.ts";
import { valueOfReply } from "../../common/runtime/command-line.ts";
import { homeFileText, serverFileText } from "../../server/home-file.ts";
import type { ServerStatus } from "../../server/status.ts";
import { eventually, type Namespace, type Running } from "../../test/support/namespace.ts";
import type { HomesPlan, PlannedHome } from "./plan.ts";

const PROGRAM = resolve(import.meta.dirname, "../../dist/server/main.js");
export const OWNER_ONLY = { mode: 0o600 };
const START_MS = 120_000;
export const SERVER = "203.0.113.1";
export const IDENTITY = "isp.example";
export const SHARED_KEY = "the same for all, since this is a benchmark";
/** The network for benchmarks, RFC 2544. */
const NETWORK = [198, 18];

export interface Server {
  readonly pid: number;
  /** What the homes need to know. */
  readonly plan: HomesPlan;
  /** Homes that have had their keys since then (wall-clock milliseconds) and nothing older, as the server says. */
  tunnels(since: number): Promise<number>;
  stop(): Promise<void>;
}

export type Proof = "psk" | "ed25519";

/** Our own, as it is installed; an interface and a route for each home included. */
export async function startHometun(
  namespace: Namespace,
  directory: string,
  options: { readonly count: number; readonly proof: Proof; readonly node: readonly string[] },
): Promise<Server> {
  const { count, proof, node } = options;
  const homes = join(directory, "homes");
  mkdirSync(homes);
  const keyFile = join(directory, "server-key.pem");
  const pskFile = join(directory, "psk");
  const serverKey = newPrivateKey();
  writeFileSync(keyFile, serverKey, OWNER_ONLY);
  writeFileSync(pskFile, SHARED_KEY, OWNER_ONLY);
  const planned = plannedHomes(count, proof);
  for (const [index, { identity, privateKey }] of planned.entries()) {
    const name = `home-${index}`;
    const text = homeFileText({
      name,
      prefixes: [`2001:db8:${index.toString(16)}::/56`],
      identity,
      proof:
        privateKey === undefined
          ? { kind: "shared-key", file: pskFile }
          : { kind: "public-key", publicKey: publicKeyText(privateKey) },
    });
    writeFileSync(join(homes, `${name}.toml`), text, OWNER_ONLY);
  }
  const file = join(directory, "server.toml");
  const socket = join(directory, "server.sock");
  const places = `state-directory = "${directory}/state"\ncontrol-socket = "${socket}"\n`;
  const plan = { address: SERVER, homes, identity: IDENTITY, privateKeyFile: keyFile };
  const quiet = `[log]\nlevel = "warn"\n`;
  const text = `data-plane = "userspace"\n${places}${serverFileText(plan)}${quiet}`;
  writeFileSync(file, text, OWNER_ONLY);
  const running = namespace.spawn([...node, PROGRAM, "run", "-c", file]);
  const status = async (limit?: number) =>
    valueOfReply<ServerStatus>(
      await askControl(socket, {
        command: "status",
        homes: limit === undefined ? {} : { limit },
      }),
    );
  const up = await untilStarted(running, () => status(0));
  return {
    pid: up.pid,
    plan: {
      server: SERVER,
      serverIdentity: IDENTITY,
      sharedKey: SHARED_KEY,
      fallback: false,
      ...(proof === "psk" ? {} : { serverPublicKey: publicKeyText(serverKey) }),
      homes: planned,
    },
    async tunnels(since) {
      const all = await status();
      const isUp = ({ keys, state }: ServerStatus["homes"][number]) =>
        keys?.state === "established" && keys.since >= since && state.kind === "confirmed";
      return all.homes.filter(isUp).length;
    },
    stop: async () => {
      await running.stop();
    },
  };
}

export function plannedHomes(count: number, proof: Proof): PlannedHome[] {
  return Array.from({ length: count }, (_, index) => ({
    identity: `home-${index}.homes.example`,
    address: [...NETWORK, 1 + (index >> 8), index & 0xff].join("."),
    ...(proof === "psk" ? {} : { privateKey: newPrivateKey() }),
  }));
}

/** Throws with what it said when it ends instead. */
export async function untilStarted<T>(running: Running, ask: () => Promise<T>): Promise<T> {
  let hasEnded = false;
  void running.exited.then(() => {
    hasEnded = true;
  });
  return await eventually(async () => {
    if (hasEnded) throw new Error(`the server ended:\n${running.stderr}`);
    return await ask().catch(() => undefined);
  }, START_MS);
}
