/** `hometun run` */

import { Command } from "commander";
import { systemClock } from "../../common/adapters/system-clock.ts";
import { configOption, interruption } from "../../common/runtime/command-line.ts";
import { openLog } from "../../common/runtime/log.ts";
import { keepCodeReady } from "../../common/runtime/ready-code.ts";
import { VERSION } from "../../common/version.ts";
import { CLIENT_DEFAULTS } from "../config.ts";
import { loadConfig } from "./load.ts";

export function runCommand(): Command {
  return new Command("run")
    .description("keep the tunnel up, in the foreground")
    .addOption(configOption(CLIENT_DEFAULTS.file))
    .action(async ({ config: file }: { config: string }) => {
      keepCodeReady();
      const config = loadConfig(file);
      const log = openLog(config.log);
      const stop = interruption();
      // Only this command needs what opens sockets and devices: the others start without it.
      const { assemble } = await import("../assemble.ts");
      const { openServiceManager } = await import("../../common/adapters/systemd-notify.ts");
      const { Service } = await import("../../common/runtime/service.ts");
      const tasks = assemble(config, log);
      const manager = openServiceManager();
      const service = new Service({ manager, tasks, clock: systemClock(), log });
      await service.run(stop, () => log.info({ version: VERSION, server: config.server }, "ready"));
      log.info("stopped");
    });
}
