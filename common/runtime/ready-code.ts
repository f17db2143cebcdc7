/**
 * Keeps code ready that runs seldom and must not wait then: what an address change runs, perhaps after days. V8 takes
 * ten times as long for the first call of everything as for the hundredth.
 */

import { setImmediate as nextTurn } from "node:timers/promises";
import { setFlagsFromString } from "node:v8";
import type { Logger } from "./log.ts";

/**
 * For the whole process, from here on. V8 throws away the bytecode of functions that were not called for a while, and
 * would compile them again amid the change; and it leaves the first calls of a function without inline caches. Costs
 * some hundred kilobytes.
 */
export function keepCodeReady(): void {
  setFlagsFromString("--no-flush-bytecode");
  setFlagsFromString("--no-lazy-feedback-allocation");
}

/** The first V8 that counts calls until it optimizes, usually 3,000; before, it counted octets of bytecode: 67,584. */
const V8_THAT_COUNTS_CALLS = 12;

/**
 * From here on V8 optimizes what has run several times as long as usual. When a thousand homes negotiate at once its
 * compiler, at what will have to be optimized anew a moment later, takes the processors that they need.
 */
export function optimizeLate(): void {
  const countsCalls = Number.parseInt(process.versions.v8, 10) >= V8_THAT_COUNTS_CALLS;
  setFlagsFromString(
    countsCalls ? "--invocation-count-for-turbofan=20000" : "--interrupt-budget=1000000",
  );
}

/** Something that is done again and again while nothing depends on it. */
export interface Rehearsal {
  /** Short: the event loop waits for it. */
  once(): void;
  /** How often it went well to the end. */
  readonly completed: number;
  close(): Promise<void>;
}

/** Until V8 has compiled what matters: some tenths of a second in all. */
const TIMES = 500;

/**
 * Resolves when it was done often enough, or `stop` aborted; all else has its turns in between. Where it fails nothing
 * is lost but time, at the first real change.
 */
export async function rehearse(
  prepare: () => Promise<Rehearsal>,
  { stop, log }: { readonly stop: AbortSignal; readonly log: Logger },
): Promise<void> {
  try {
    const rehearsal = await prepare();
    try {
      for (let time = 0; time < TIMES && !stop.aborted; time++) {
        rehearsal.once();
        await nextTurn();
      }
      log.debug({ completed: rehearsal.completed }, "address changes rehearsed");
    } finally {
      await rehearsal.close();
    }
  } catch (err) {
    log.debug({ err }, "address changes cannot be rehearsed");
  }
}
