#!/usr/bin/env node
/** `hometun`: the home's end of the tunnel. */

import { openProgram, runProgram } from "../common/runtime/command-line.ts";
import { announceCommand } from "./commands/announce.ts";
import { checkConfigCommand } from "./commands/check-config.ts";
import { doctorCommand } from "./commands/doctor.ts";
import { initCommand } from "./commands/init.ts";
import { keygenCommand } from "./commands/keygen.ts";
import { runCommand } from "./commands/run.ts";
import { statusCommand } from "./commands/status.ts";

const program = openProgram(
  "hometun",
  "Keeps a home's IPv6 prefix, and its open connections, while its IPv4 address changes.",
  [
    initCommand(),
    runCommand(),
    statusCommand(),
    announceCommand(),
    checkConfigCommand(),
    doctorCommand(),
    keygenCommand(),
  ],
);

await runProgram(program, process.argv.slice(2));
