/** Octets as they are told, from a namespace: what a test has captured, cut or turned a bit in. */

import { resolve } from "node:path";
import type { Namespace, Running } from "./namespace.ts";
import { nodeCommand } from "./node-command.ts";
import type { RawPacket } from "./raw-sender-process.ts";

const PROCESS = resolve(import.meta.dirname, "raw-sender-process.ts");

export class RawSender {
  readonly #process: Running;

  private constructor(process: Running) {
    this.#process = process;
  }

  static async start(namespace: Namespace): Promise<RawSender> {
    const running = namespace.spawn(nodeCommand(PROCESS));
    await running.line((line) => line === "ready");
    return new RawSender(running);
  }

  /** Throws when the kernel does not let it out. */
  async send(packet: RawPacket): Promise<void> {
    this.#process.write(`${JSON.stringify(packet)}\n`);
    const answer = await this.#process.line();
    if (answer !== "sent") throw new Error(answer);
  }
}
