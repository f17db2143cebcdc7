/** What a daemon keeps in memory, asked of the daemon itself (bench/heap-report.mjs) and of the kernel. */

import { readFile, rm } from "node:fs/promises";
import { resolve } from "node:path";
import { eventually, type Running } from "../test/support/namespace.ts";

const REPORTER = resolve(import.meta.dirname, "../bench/heap-report.mjs");

/**
 * After a tenth of the usual: what will be compiled is compiled sooner, so that it is not taken for something that grows.
 * V8 counts calls since version 12 (Node 22), octets of bytecode before.
 */
const COMPILING_SOON =
  Number.parseInt(process.versions.v8, 10) >= 12
    ? ["--invocation-count-for-maglev=40", "--invocation-count-for-turbofan=300"]
    : ["--interrupt-budget=6758"];
const ENGINES = {
  compiling: COMPILING_SOON,
  interpreting: [
    ...["--no-opt", "--no-maglev", "--no-sparkplug"],
    // What it learns of a function it learns at the first call, and keeps.
    ...["--no-lazy-feedback-allocation", "--no-flush-bytecode"],
  ],
} as const;

/**
 * How the engine runs a daemon. One that compiles as it goes has more and more machine code in its memory, for hours; one
 * that only interprets has nothing there but what the program keeps.
 */
export type EngineMode = keyof typeof ENGINES;

/** Arguments for Node that make a daemon report. */
export function reporting(engine: EngineMode): readonly string[] {
  return ["--expose-gc", ...ENGINES[engine], "--import", REPORTER];
}

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

/** Of a daemon that was started with `reporting`, and with `file` as its HEAP_REPORT. */
export async function memoryOf(running: Running, file: string): Promise<Memory> {
  await rm(file, { force: true });
  running.kill("SIGURG");
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
