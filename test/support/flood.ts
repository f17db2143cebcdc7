/** Bad packets in great number, and what becomes of everybody else's meanwhile. */

import { resolve } from "node:path";
import type { Namespace } from "./namespace.ts";
import { nodeCommand } from "./node-command.ts";

const PROCESS = resolve(import.meta.dirname, "flood-process.ts");
const MARGIN_MS = 30_000;

export const FLOOD_KINDS = [
  "esp-unknown-spi",
  "udp-unknown-spi",
  "esp-bad-icv",
  "udp-bad-icv",
  "short",
  "keepalive",
  "ike-garbage",
  "ike-garbage-4500",
  "ike-init",
  "ike-init-4500",
] as const;

export type FloodKind = (typeof FLOOD_KINDS)[number];

/** Packets a second that really went out. */
export async function flood(
  from: Namespace,
  parts: {
    readonly kind: FloodKind;
    readonly to: string;
    /** Packets a second. */
    readonly rate: number;
    readonly seconds: number;
    /** One that the victim knows; for the kinds with a bad ICV. */
    readonly spi?: number;
    /** Called when it has begun. */
    readonly begun?: () => void;
  },
): Promise<number> {
  const { kind, to, rate, seconds, spi = 0, begun } = parts;
  const argv = [kind, to, String(rate), String(seconds), spi.toString(16)];
  const running = from.spawn(nodeCommand(PROCESS, ...argv));
  await running.line((line) => line === "flooding");
  begun?.();
  const line = await running.line(() => true, seconds * 1000 + MARGIN_MS);
  const [packets = 0, ms = 1] = line.split(" ").map(Number);
  return (1000 * packets) / ms;
}

/** Pings for a while, and returns which part of them was not answered: 0 to 1. */
export async function lossOf(
  from: Namespace,
  to: string,
  parts: { readonly rate: number; readonly seconds: number },
): Promise<number> {
  const { rate, seconds } = parts;
  const count = Math.round(rate * seconds);
  const argv = ["ping", "-n", "-q", "-c", count, "-i", 1 / rate, "-W", "2", to].map(String);
  const output = await from
    .run(argv, { timeoutMs: seconds * 1000 + MARGIN_MS })
    .catch((error: { stdout?: string }) => error.stdout ?? "");
  const [, sent, received] = /(\d+) packets transmitted, (\d+) received/.exec(output) ?? [];
  if (sent === undefined || received === undefined) throw new Error(`ping said: ${output}`);
  return 1 - Number(received) / Number(sent);
}
