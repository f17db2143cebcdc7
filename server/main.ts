#!/usr/bin/env node
/** `hometun-server`: the other end of the homes' tunnels. */

import { openProgram, runProgram } from "../common/runtime/command-line.ts";
import { checkConfigCommand } from "./commands/check-config.ts";
import { doctorCommand } from "./commands/doctor.ts";
import { homeCommand } from "./commands/home.ts";
import { initCommand } from "./commands/init.ts";
import { runCommand } from "./commands/run.ts";
import { statusCommand } from "./commands/status.ts";

const program = openProgram(
  "hometun-server",
  "Serves homes whose IPv4 address changes: each keeps its IPv6 prefix.",
  [
    initCommand(),
    homeCommand(),
    runCommand(),
    statusCommand(),
    checkConfigCommand(),
    doctorCommand(),
  ],
);

await runProgram(program, process.argv.slice(2));
