/** `hometun run` */

import { Command } from "commander";
import { configOption } from "../../common/runtime/command-line.ts";
import { runDaemon } from "../../common/runtime/run-command.ts";
import { VERSION } from "../../common/version.ts";
import { CLIENT_DEFAULTS } from "../config.ts";
import { loadConfig } from "./load.ts";

export function runCommand(): Command {
  return new Command("run")
    .description("keep the tunnel up, in the foreground")
    .addOption(configOption(CLIENT_DEFAULTS.file))
    .action(({ config: file }: { config: string }) =>
      runDaemon({
        load: () => loadConfig(file),
        assembly: () => import("../assemble.ts"),
        facts: ({ server }) => ({ version: VERSION, server }),
        // A terminal that is closed sends it too, and would take the tunnel down.
        prepare: ({ log }) => {
          process.on("SIGHUP", () => {
            log.warn("SIGHUP is ignored: a changed configuration needs a restart");
          });
        },
      }),
    );
}
