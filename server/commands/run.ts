/** `hometun-server run` */

import { Command } from "commander";
import { ConfigMistakes } from "../../common/config/mistakes.ts";
import { ConfigError } from "../../common/errors.ts";
import { configOption } from "../../common/runtime/command-line.ts";
import type { Logger } from "../../common/runtime/log.ts";
import { runDaemon } from "../../common/runtime/run-command.ts";
import { VERSION } from "../../common/version.ts";
import { SERVER_DEFAULTS } from "../config.ts";
import { isReloadable, type ReloadableTask } from "../reload.ts";
import { loadConfig } from "./load.ts";

export function runCommand(): Command {
  return new Command("run")
    .description("serve the homes, in the foreground; SIGHUP reads the configuration anew")
    .addOption(configOption(SERVER_DEFAULTS.file))
    .action(({ config: file }: { config: string }) =>
      runDaemon({
        load: () => loadConfig(file),
        assembly: () => import("../assemble.ts"),
        facts: ({ homes }) => ({ version: VERSION, homes: homes.length }),
        prepare: ({ service, tasks, log }) => {
          const reloadable = tasks.filter(isReloadable);
          // One after the other: each reads the files as they are when its turn comes.
          let last: Promise<unknown> = Promise.resolve();
          process.on("SIGHUP", () => {
            last = last.then(() => service.reloading(() => reload(file, reloadable, log)));
          });
        },
      }),
    );
}

/**
 * A mistaken file changes nothing: the daemon goes on with what it has. Returns what the service manager should say
 * of it.
 */
async function reload(
  file: string,
  tasks: readonly ReloadableTask[],
  log: Logger,
): Promise<string | undefined> {
  try {
    const config = loadConfig(file);
    for (const task of tasks) await task.reload(config);
    log.info({ file, homes: config.homes.length }, "configuration reloaded");
    return undefined;
  } catch (error) {
    if (error instanceof ConfigMistakes) {
      for (const { message } of error.mistakes) log.error({ mistake: message }, "not reloaded");
    } else if (error instanceof ConfigError) {
      log.error({ mistake: error.message }, "not reloaded");
    } else {
      log.error({ err: error }, "not reloaded");
    }
    return "the configuration has mistakes and was not reloaded, see the log";
  }
}
