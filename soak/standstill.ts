/** Whether it was the machine that stood still or a daemon: what is asked when something did not happen in time. */

import { readFile } from "node:fs/promises";

const TICK_MS = 100;

/** How long this process itself did not get to run: a timer that comes late. */
export class Standstill {
  readonly #timer: NodeJS.Timeout;
  #tickedAt = performance.now();
  #longestMs = 0;

  constructor() {
    this.#timer = setInterval(() => this.#tick(), TICK_MS).unref();
  }

  /** `longestMs` speaks of what follows. */
  mark(): void {
    this.#longestMs = 0;
  }

  get longestMs(): number {
    return Math.round(Math.max(this.#longestMs, this.#lateness));
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  get #lateness(): number {
    return Math.max(0, performance.now() - this.#tickedAt - TICK_MS);
  }

  #tick(): void {
    this.#longestMs = Math.max(this.#longestMs, this.#lateness);
    this.#tickedAt = performance.now();
  }
}

/** What this process and the kernel say of the machine. */
export async function describeStandstill(standstill: Standstill): Promise<string> {
  const pressures = ["cpu", "io", "memory"].map(async (resource) => {
    const text = await readFile(`/proc/pressure/${resource}`, "utf8").catch(() => "unknown");
    return `${resource} ${text.split("\n")[0]}`;
  });
  const lines = await Promise.all(pressures);
  return [`the soak stood still for ${standstill.longestMs} ms at most`, ...lines].join("\n");
}

/** State, time used and what it waits for, as the kernel has it: a daemon that hangs is told from one that starves. */
export async function describeProcess(pid: number | undefined): Promise<string> {
  const part = async (name: string) =>
    await readFile(`/proc/${pid}/${name}`, "utf8").catch(() => undefined);
  const [stat, waiting, scheduled] = await Promise.all(["stat", "wchan", "schedstat"].map(part));
  if (stat === undefined) return "does not run";
  const [state] = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  const [ran, starved] = (scheduled ?? "").split(" ").map((ns) => Math.round(Number(ns) / 1e6));
  return `state ${state}, waits in ${waiting}, ran ${ran} ms, wanted to run for ${starved} ms more`;
}
