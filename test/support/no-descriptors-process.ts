/** Takes all descriptors there are, then runs a program. Writes why that fails; ends well if the failure is all. */

import { closeSync, openSync } from "node:fs";
import { setTimeout as pause } from "node:timers/promises";
import { runProgramOnce } from "../../common/adapters/program.ts";

const run = () => runProgramOnce({ command: ["/bin/true"], timeoutMs: 10_000 });
await run(); // what is loaded for the first one needs a descriptor too
const taken: number[] = [];
try {
  for (;;) taken.push(openSync("/dev/null", "r"));
} catch {
  // None is left.
}
const why = await run().then(
  () => "it ran",
  (error: unknown) => String(error),
);
for (const each of taken) closeSync(each);
await pause(50);
process.stdout.write(why);
