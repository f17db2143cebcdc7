/** What `run` of the two daemons has in common: from the configuration to the end of the process. */

import { systemClock } from "../adapters/system-clock.ts";
import type { LogConfig } from "../config/schema.ts";
import { interruption } from "./command-line.ts";
import { type Logger, openLog } from "./log.ts";
import { keepCodeReady } from "./ready-code.ts";
import type { Service } from "./service.ts";
import type { Task } from "./tasks.ts";

export interface DaemonParts<Config extends { readonly log: LogConfig }> {
  /** Throws `ConfigError`. */
  readonly load: () => Config;
  /** Imports what opens sockets and devices: the other commands start without it. */
  readonly assembly: () => Promise<{ assemble(config: Config, log: Logger): Task[] }>;
  /** What the log says of it when it is ready. */
  readonly facts: (config: Config) => object;
  /** Called before it starts. */
  readonly prepare?: (daemon: {
    readonly service: Service;
    readonly tasks: readonly Task[];
    readonly log: Logger;
  }) => void;
}

/** Resolves when it was told to stop, and has stopped. */
export async function runDaemon<Config extends { readonly log: LogConfig }>(
  parts: DaemonParts<Config>,
): Promise<void> {
  keepCodeReady();
  const config = parts.load();
  const log = openLog(config.log);
  const stop = interruption();
  const { assemble } = await parts.assembly();
  const { openServiceManager } = await import("../adapters/systemd-notify.ts");
  const { Service } = await import("./service.ts");
  const tasks = assemble(config, log);
  const manager = openServiceManager();
  const service = new Service({ manager, tasks, clock: systemClock(), log });
  parts.prepare?.({ service, tasks, log });
  await service.run(stop, () => log.info(parts.facts(config), "ready"));
  log.info("stopped");
}
