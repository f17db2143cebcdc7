/**
 * Preloaded into a daemon: on SIGUSR2 collects garbage and writes what is in use to the file $HEAP_REPORT.
 *
 *     HEAP_REPORT=FILE node --expose-gc --import ./bench/heap-report.mjs dist/server/main.js run …
 */

import { renameSync, writeFileSync } from "node:fs";

process.on("SIGUSR2", () => {
  globalThis.gc();
  globalThis.gc();
  const { HEAP_REPORT: file } = process.env;
  writeFileSync(`${file}.new`, JSON.stringify(process.memoryUsage()));
  renameSync(`${file}.new`, file);
});
