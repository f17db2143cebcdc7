/**
 * Preloaded into a daemon: on SIGURG, for which it has no other use, collects garbage and writes what is in use, and how
 * much of that is compiled code, to the file $HEAP_REPORT.
 *
 *     HEAP_REPORT=FILE node --expose-gc --import ./bench/heap-report.mjs dist/server/main.js run …
 */

import { renameSync, writeFileSync } from "node:fs";
import { getHeapCodeStatistics } from "node:v8";

process.on("SIGURG", () => {
  globalThis.gc();
  globalThis.gc();
  const { HEAP_REPORT: file } = process.env;
  const { code_and_metadata_size, bytecode_and_metadata_size } = getHeapCodeStatistics();
  const code = code_and_metadata_size + bytecode_and_metadata_size;
  writeFileSync(`${file}.new`, JSON.stringify({ ...process.memoryUsage(), code }));
  renameSync(`${file}.new`, file);
});
