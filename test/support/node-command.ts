/** The programs that tests run beside themselves. */

import { existsSync } from "node:fs";

/**
 * The command that runs a TypeScript file: as the harness of the kernel's tests has bundled it, which an emulated
 * machine reads in half the time, or else by tsx.
 */
export function nodeCommand(file: string, ...args: readonly string[]): string[] {
  const bundle = file.replace(/\.ts$/, ".bundle.js");
  const program = existsSync(bundle) ? [bundle] : ["--import", "tsx", file];
  return [process.execPath, ...program, ...args];
}
