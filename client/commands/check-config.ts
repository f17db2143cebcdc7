/** `hometun check-config` */

import { Command } from "commander";
import { faultOfProgram } from "../../common/adapters/program.ts";
import { readProof } from "../../common/adapters/proof-files.ts";
import { formatIpv6Prefix } from "../../common/ip/address.ts";
import { configOption } from "../../common/runtime/command-line.ts";
import { CLIENT_DEFAULTS } from "../config.ts";
import type { HooksConfig } from "../hooks/hook-config.ts";
import { loadConfig } from "./load.ts";

export function checkConfigCommand(): Command {
  return new Command("check-config")
    .description("read the configuration and its keys, and tell every mistake")
    .addOption(configOption(CLIENT_DEFAULTS.file))
    .action(({ config: file }: { config: string }) => {
      const { server, tunnel, keys, hooks } = loadConfig(file);
      if (keys.mode === "ikev2") readProof(keys.proof);
      for (const fault of faultsOfHooks(hooks)) {
        process.stderr.write(`hometun: warning: ${file}: ${fault}\n`);
      }
      const prefixes = tunnel.prefixes.map(formatIpv6Prefix).join(", ");
      const what = prefixes === "" ? "what the server assigns" : prefixes;
      process.stdout.write(`${file}: good (${what} by ${server})\n`);
    });
}

/** The daemon runs without them, and says so when it is too late. */
function faultsOfHooks({ commands }: HooksConfig): string[] {
  return Object.entries(commands).flatMap(([event, command]) => {
    const fault = command === undefined ? undefined : faultOfProgram(command[0]);
    return fault === undefined ? [] : [`on-${event}: ${command?.[0]}: ${fault}`];
  });
}
