/** What a daemon keeps in memory, asked of the daemon itself (bench/heap-report.mjs) and of the kernel. */

import { readFile, rm } from "node:fs/promises";
import { resolve } from "node:path";
import { eventually, type Running } from "../test/support/namespace.ts";

const REPORTER = resolve(import.meta.dirname, "../bench/heap-report.mjs");

/** A tenth of the usual: what will be compiled is compiled sooner, so that it is not taken for something that grows. */
const INTERRUPT_BUDGET = 6_758;
/** Arguments for Node that make a daemon report. */
export const REPORTING = [
  "--expose-gc",
  `--interrupt-budget=${INTERRUPT_BUDGET}`,
  ...["--import", REPORTER],
] as const;

/** Octets. */
export interface Memory {
  /** In use after garbage collection, on and off the heap. */
  readonly heap: number;
  /** What the program keeps: `heap` without what the engine has compiled of it. */
  readonly data: number;
  readonly resident: number;
}

/** Octets. */
interface Report {
  readonly heapUsed: number;
  readonly external: number;
  /** Bytecode and machine code, with what belongs to them. */
  readonly code: number;
}

/** Of a daemon that was started with `REPORTING`, and with `file` as its HEAP_REPORT. */
export async function memoryOf(running: Running, file: string): Promise<Memory> {
  await rm(file, { force: true });
  running.kill("SIGUSR2");
  const text = await eventually(() => readFile(file, "utf8").catch(() => undefined));
  const { heapUsed, external, code } = JSON.parse(text) as Report;
  const heap = heapUsed + external;
  return { heap, data: heap - code, resident: await residentMemory(running) };
}

/** Octets; 0 when it does not run. */
export async function residentMemory(running: Running): Promise<number> {
  const status = await readFile(`/proc/${running.pid}/status`, "utf8").catch(() => "");
  return 1024 * Number(/VmRSS:\s+(\d+)/.exec(status)?.[1] ?? 0);
}
