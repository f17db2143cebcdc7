/** Keeps code ready that runs seldom and must not wait then: what an address change runs, perhaps after days. */

import { setFlagsFromString } from "node:v8";

/**
 * For the whole process, from here on. V8 throws away the bytecode of functions that were not called for a while, and
 * would compile them again amid the change; and it leaves the first calls of a function without inline caches. Costs
 * some hundred kilobytes.
 */
export function keepCodeReady(): void {
  setFlagsFromString("--no-flush-bytecode");
  setFlagsFromString("--no-lazy-feedback-allocation");
}
