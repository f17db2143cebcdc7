/** Writes lines to its log, and ends well if nothing of that ended it before. */

import { setTimeout as pause } from "node:timers/promises";
import { openLog } from "../../common/runtime/log.ts";

const log = openLog({ level: "info", format: "json" });
for (let line = 1; line <= 3; line++) {
  log.info({ line }, "event");
  await pause(50);
}
