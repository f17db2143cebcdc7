/** A TCP transfer between two namespaces, to see whether a connection outlives what is done to its path. */

import { resolve } from "node:path";
import { type Namespace, PATIENCE_MS, type Running } from "./namespace.ts";
import { nodeCommand } from "./node-command.ts";

const PROCESS = resolve(import.meta.dirname, "transfer-process.ts");
/** Milliseconds; TCP may have backed off for a while. */
const END = Math.max(40_000, PATIENCE_MS);

/** What both ends say of the transfer: octets and their digest. */
export interface TransferResult {
  readonly sent: string;
  readonly received: string;
}

export class Transfer {
  readonly #sender: Running;
  readonly #receiver: Running;

  private constructor(sender: Running, receiver: Running) {
    this.#sender = sender;
    this.#receiver = receiver;
  }

  /** Begins to send, from one namespace to an address in the other; goes on until `finish`. */
  static async start(parts: {
    from: Namespace;
    to: Namespace;
    address: string;
    port: number;
    marker?: string;
  }): Promise<Transfer> {
    const { from, to, address, port, marker = "hometun" } = parts;
    const receiver = to.spawn(nodeCommand(PROCESS, "receive", String(port)));
    await receiver.line((line) => line === "listening");
    const sender = from.spawn(nodeCommand(PROCESS, "send", address, String(port), marker));
    await sender.line((line) => line === "sending");
    return new Transfer(sender, receiver);
  }

  /** Ends the transfer and waits until all of it has arrived. Throws when the connection broke. */
  async finish(): Promise<TransferResult> {
    this.#sender.endInput();
    const sent = await this.#sender.line(() => true, END);
    const received = await this.#receiver.line(() => true, END);
    return { sent, received };
  }
}
