/** Packets from an implementation that is not ours: scapy, in a namespace of the lab. `forge.py` has the details. */

import { spawnSync } from "node:child_process";
import { resolve } from "node:path";
import type { Encapsulation } from "../../common/tunnel/tunnel.ts";
import type { Namespace, Running } from "./namespace.ts";

/** Debian's, which has scapy; another Python in the path may not. */
const PYTHON = "/usr/bin/python3";
const SCRIPT = resolve(import.meta.dirname, "forge.py");
const PATIENCE = 40_000; // milliseconds; scapy takes its time, and so does a busy machine

/** An inner packet; what is left out is as it should be. */
export type ForgedPacket =
  | {
      readonly kind: "echo";
      readonly source: string;
      readonly destination: string;
      readonly hopLimit?: number;
    }
  | {
      readonly kind: "advertisement";
      readonly source: string;
      readonly destination: string;
      readonly target: string;
      /** Target Link-Layer Address options with these IPv4 addresses. */
      readonly addresses?: readonly string[];
      /** More options, as hexadecimal octets. */
      readonly options?: string;
      readonly hopLimit?: number;
      /** Of `R`, `S` and `O`; default `O`. */
      readonly flags?: string;
      readonly code?: number;
      readonly checksum?: number;
      readonly extensionHeader?: boolean;
    };

export interface SealOptions {
  /** A client's file; what it sends with is used. */
  readonly keys: string;
  /** The number of the first packet. */
  readonly sequence: number;
  readonly nextHeader?: number;
  /** Keys that nobody has, under the right SPI. */
  readonly wrongKey?: boolean;
}

/** Whether scapy can be used; the reason is printed when it cannot. */
export function canForge(): boolean {
  const probe = "import tomllib, cryptography, scapy.layers.ipsec";
  const { status, error, stderr } = spawnSync(PYTHON, ["-c", probe], { encoding: "utf8" });
  if (status === 0) return true;
  const why = error?.message ?? stderr.trim().split("\n").at(-1);
  process.stderr.write(`skipped: scapy (python3-scapy, python3-cryptography) is missing: ${why}\n`);
  return false;
}

export class Forge {
  readonly #process: Running;

  private constructor(process: Running) {
    this.#process = process;
  }

  static async start(namespace: Namespace): Promise<Forge> {
    const process = namespace.spawn([PYTHON, SCRIPT]);
    await process.line((line) => line.includes("ready"), PATIENCE);
    return new Forge(process);
  }

  /** ESP packets with these inside. */
  async seal(packets: readonly ForgedPacket[], options: SealOptions): Promise<Uint8Array[]> {
    const { esp } = await this.#ask<{ esp: string[] }>({ seal: packets, ...options });
    return esp.map((hex) => new Uint8Array(Buffer.from(hex, "hex")));
  }

  /** Sends ESP packets from this namespace, `pauseMs` apart. */
  async send(
    esp: readonly Uint8Array[],
    options: { to: string; encapsulation: Encapsulation; pauseMs?: number },
  ): Promise<void> {
    const { pauseMs = 0, ...rest } = options;
    const send = esp.map((octets) => Buffer.from(octets).toString("hex"));
    await this.#ask({ send, ...rest, pause: pauseMs / 1_000 });
  }

  /** Sends an IPv6 packet as it is, to an Ethernet address on an interface of this namespace. */
  async sendInClear(
    packet: ForgedPacket,
    options: { interface: string; mac: string },
  ): Promise<void> {
    await this.#ask({ clear: packet, ...options });
  }

  async #ask<Answer>(request: unknown): Promise<Answer> {
    this.#process.write(`${JSON.stringify(request)}\n`);
    return JSON.parse(await this.#process.line(() => true, PATIENCE)) as Answer;
  }
}
