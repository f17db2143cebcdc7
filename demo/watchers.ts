/** The ping and the download as the demonstration follows them, from what their processes write. */

import { resolve } from "node:path";
import type { Namespace, Running } from "../test/support/namespace.ts";
import { isAnswered, type Probe } from "./outage.ts";
import type { TransferNews } from "./transfer.ts";

const SCRIPTS = import.meta.dirname;
const PORT = 8080;

/** A script of the demonstration, in a machine. */
function start(machine: Namespace, script: string, ...args: (string | number)[]): Running {
  const file = resolve(SCRIPTS, script);
  return machine.spawn([process.execPath, ...process.execArgv, file, ...args.map(String)]);
}

export class Ping {
  readonly #process: Running;
  readonly #probes: { sentAt: number; answeredAt: number | undefined }[] = [];

  constructor(machine: Namespace, target: string, intervalMs: number) {
    this.#process = start(machine, "ping.ts", target, intervalMs);
  }

  /** All requests so far, in the order of sending; the last may be answered yet. */
  get probes(): readonly Probe[] {
    for (const line of this.#process.rest()) {
      const [what, number, at] = line.split(" ");
      if (what === "sent") this.#probes.push({ sentAt: Number(at), answeredAt: undefined });
      const probe = this.#probes[Number(number)];
      if (what === "answered" && probe !== undefined) probe.answeredAt ??= Number(at);
    }
    return this.#probes;
  }

  /** Of the answered among the last requests, the median's round trip in milliseconds. */
  get roundTripMs(): number | undefined {
    const times = this.probes
      .slice(-100)
      .filter(isAnswered)
      .map(({ sentAt, answeredAt = sentAt }) => answeredAt - sentAt)
      .sort((a, b) => a - b);
    return times[times.length >> 1];
  }

  /** Whether every request of the last `ms` was answered, those sent a moment ago apart. */
  isSteady(ms: number, now: number): boolean {
    const recent = this.probes.filter(({ sentAt }) => sentAt > now - ms && sentAt < now - 50);
    return recent.length > 0 && recent.every(isAnswered);
  }

  stop(): Promise<unknown> {
    return this.#process.stop();
  }
}

export class Download {
  readonly total: number;
  readonly #sender: Running;
  readonly #receiver: Running;
  readonly #arrivals: number[] = [];
  #octets = 0;
  #port: number | undefined;
  #received: Ending | undefined;
  #sent: Ending | undefined;
  #failure: string | undefined;

  private constructor(total: number, sender: Running, receiver: Running) {
    this.total = total;
    this.#sender = sender;
    this.#receiver = receiver;
  }

  static async start(plan: {
    readonly from: Namespace;
    readonly address: string;
    readonly to: Namespace;
    readonly octets: number;
    /** Octets per second. */
    readonly rate: number;
  }): Promise<Download> {
    const sender = start(plan.from, "transfer.ts", "send", PORT, plan.octets, plan.rate);
    await sender.line();
    const receiver = start(plan.to, "transfer.ts", "receive", plan.address, PORT);
    return new Download(plan.octets, sender, receiver);
  }

  /** Reads the news. */
  update(): void {
    for (const line of this.#sender.rest()) this.#learn(line, (ending) => (this.#sent = ending));
    for (const line of this.#receiver.rest()) {
      this.#learn(line, (ending) => (this.#received = ending));
    }
  }

  /** The changes are over: the rest may come at once. */
  hurry(): void {
    this.#sender.write("hurry\n");
  }

  /** When octets arrived. */
  get arrivals(): readonly number[] {
    this.update();
    return this.#arrivals;
  }

  /** Arrived so far. */
  get octets(): number {
    this.update();
    return this.#octets;
  }

  /** The receiver's TCP port; absent while it is not connected. */
  get port(): number | undefined {
    this.update();
    return this.#port;
  }

  /** Both ends' view when it is over. */
  get ending(): { readonly sent: Ending; readonly received: Ending } | undefined {
    this.update();
    if (this.#sent === undefined || this.#received === undefined) return undefined;
    return { sent: this.#sent, received: this.#received };
  }

  /** Why the connection broke, if it did. */
  get failure(): string | undefined {
    this.update();
    return this.#failure;
  }

  #learn(line: string, end: (ending: Ending) => void): void {
    const news = JSON.parse(line) as TransferNews;
    switch (news.kind) {
      case "listening":
        break;
      case "connected":
        this.#port = news.port;
        break;
      case "progress":
        this.#octets = news.octets;
        this.#arrivals.push(news.at);
        break;
      case "done":
        end(news);
        break;
      case "failed":
        this.#failure ??= news.reason;
        break;
    }
  }
}

export interface Ending {
  readonly octets: number;
  readonly sha256: string;
}
