/** Two programs of no part of ours: one in a home listens to a group, one on the server sends to it. */

import { resolve } from "node:path";
import { eventually, PATIENCE_MS, type Running } from "./namespace.ts";
import { nodeCommand } from "./node-command.ts";
import type { LabHome, TunnelLab } from "./tunnel-lab.ts";

const PROGRAM = resolve(import.meta.dirname, "multicast-process.ts");
const PORT = "5353";
const GLOBAL_SCOPE = "ff0e::4242";
/** What was sent is there by then, or it never will be; milliseconds. */
const TRANSIT_MS = PATIENCE_MS / 40;

export class MulticastStream {
  readonly #receiver: Running;
  readonly #sender: Running;
  #next = 0;

  private constructor(receiver: Running, sender: Running) {
    this.#receiver = receiver;
    this.#sender = sender;
  }

  /** `source`: the server's address that the datagrams come from; absent: the kernel chooses. */
  static async open(
    lab: TunnelLab,
    home: LabHome,
    options: { readonly group?: string; readonly source?: string } = {},
  ): Promise<MulticastStream> {
    const { group = GLOBAL_SCOPE, source } = options;
    const where = (interfaceName: string) => [group, PORT, interfaceName];
    const receive = nodeCommand(PROGRAM, "receive", ...where("ht0"));
    const from = source === undefined ? [] : [source];
    const send = nodeCommand(PROGRAM, "send", ...where(`ht-${home.name}`), ...from);
    const [receiver, sender] = [home.namespace.spawn(receive), lab.serverNamespace.spawn(send)];
    await Promise.all(
      [receiver, sender].map((process) => process.line((text) => text === "ready")),
    );
    return new MulticastStream(receiver, sender);
  }

  /** Sends datagrams, `pauseMs` apart, and returns how many came. */
  async deliver(count: number, pauseMs = 0): Promise<number> {
    this.#receiver.rest();
    for (let sent = 0; sent < count; sent++) {
      this.#sender.write(`${this.#next++}\n`);
      if (pauseMs > 0) await new Promise((done) => setTimeout(done, pauseMs));
    }
    await new Promise((done) => setTimeout(done, TRANSIT_MS));
    return this.#receiver.rest().length;
  }

  /** One datagram after the other until one comes. */
  async arrives(): Promise<void> {
    await eventually(async () => ((await this.deliver(1)) > 0 ? true : undefined), PATIENCE_MS);
  }

  async close(): Promise<void> {
    await Promise.all([this.#receiver.stop(), this.#sender.stop()]);
  }
}
