/** `hometun run` */

import { Command } from "commander";
import { configOption, interruption } from "../../common/runtime/command-line.ts";
import { openLog } from "../../common/runtime/log.ts";
import { runTasks } from "../../common/runtime/tasks.ts";
import { VERSION } from "../../common/version.ts";
import { CLIENT_DEFAULTS } from "../config.ts";
import { loadConfig } from "./load.ts";

export function runCommand(): Command {
  return new Command("run")
    .description("keep the tunnel up, in the foreground")
    .addOption(configOption(CLIENT_DEFAULTS.file))
    .action(async ({ config: file }: { config: string }) => {
      const config = loadConfig(file);
      const log = openLog(config.log);
      const stop = interruption();
      // Only this command needs what opens sockets and devices: the others start without it.
      const { assemble } = await import("../assemble.ts");
      const tasks = assemble(config, log);
      await runTasks(tasks, stop, {
        onReady: () => log.info({ version: VERSION, server: config.server }, "ready"),
      });
      log.info("stopped");
    });
}
