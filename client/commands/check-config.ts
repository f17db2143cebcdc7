/** `hometun check-config` */

import { Command } from "commander";
import { readProof } from "../../common/adapters/proof-files.ts";
import { formatIpv6Prefix } from "../../common/ip/address.ts";
import { configOption } from "../../common/runtime/command-line.ts";
import { CLIENT_DEFAULTS } from "../config.ts";
import { loadConfig } from "./load.ts";

export function checkConfigCommand(): Command {
  return new Command("check-config")
    .description("read the configuration and its keys, and tell every mistake")
    .addOption(configOption(CLIENT_DEFAULTS.file))
    .action(({ config: file }: { config: string }) => {
      const { server, tunnel, keys } = loadConfig(file);
      if (keys.mode === "ikev2") readProof(keys.proof);
      const prefixes = tunnel.prefixes.map(formatIpv6Prefix).join(", ");
      const what = prefixes === "" ? "what the server assigns" : prefixes;
      process.stdout.write(`${file}: good (${what} by ${server})\n`);
    });
}
