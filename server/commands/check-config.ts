/** `hometun-server check-config` */

import { Command } from "commander";
import { configOption } from "../../common/runtime/command-line.ts";
import { formatQuantity } from "../../common/text/units.ts";
import { SERVER_DEFAULTS } from "../config.ts";
import { loadConfig } from "./load.ts";

export function checkConfigCommand(): Command {
  return new Command("check-config")
    .description("read the configuration, homes too, and tell every mistake")
    .addOption(configOption(SERVER_DEFAULTS.file))
    .action(({ config: file }: { config: string }) => {
      const { address, homes } = loadConfig(file);
      process.stdout.write(
        `${file}: good (${formatQuantity(homes.length, "home")} at ${address})\n`,
      );
    });
}
