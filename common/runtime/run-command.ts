/** What `run` of the two daemons has in common: from the configuration to the end of the process. */

import type { DescriptorStore } from "../adapters/descriptor-store.ts";
import { systemClock } from "../adapters/system-clock.ts";
import type { LogConfig } from "../config/schema.ts";
import { abortedBy } from "./command-line.ts";
import { type Logger, openLog } from "./log.ts";
import { keepCodeReady } from "./ready-code.ts";
import type { Service } from "./service.ts";
import { RESTART, type Task } from "./tasks.ts";

export interface DaemonParts<Config extends { readonly log: LogConfig }> {
  /** Throws `ConfigError`. */
  readonly load: () => Config;
  /** Imports what opens sockets and devices: the other commands start without it. */
  readonly assembly: () => Promise<{
    assemble(config: Config, log: Logger, descriptors: DescriptorStore): Task[];
  }>;
  /** What the log says of it when it is ready. */
  readonly facts: (config: Config) => object;
  /** Called before it starts. */
  readonly prepare?: (daemon: {
    readonly service: Service;
    readonly tasks: readonly Task[];
    readonly log: Logger;
  }) => void;
}

/**
 * Resolves when it was told to stop, and has stopped. SIGUSR2 (RestartKillSignal= in the units) tells it that the next
 * process follows at once. Where that one would not start, with a mistaken configuration, it is a stop as any other:
 * nothing is left that nobody looks after.
 */
export async function runDaemon<Config extends { readonly log: LogConfig }>(
  parts: DaemonParts<Config>,
): Promise<void> {
  keepCodeReady();
  const config = parts.load();
  const log = openLog(config.log);
  const stop = abortedBy({
    SIGINT: () => undefined,
    SIGTERM: () => undefined,
    SIGUSR2: () => (isMistaken(parts.load) ? undefined : RESTART),
  });
  const { assemble } = await parts.assembly();
  const { openServiceManager } = await import("../adapters/systemd-notify.ts");
  const { openDescriptorStore } = await import("../adapters/descriptor-store.ts");
  const { Service } = await import("./service.ts");
  const manager = openServiceManager();
  const tasks = assemble(config, log, openDescriptorStore(manager));
  const service = new Service({ manager, tasks, clock: systemClock(), log });
  parts.prepare?.({ service, tasks, log });
  await service.run(stop, () => log.info(parts.facts(config), "ready"));
  log.info(stop.reason === RESTART ? "ended, the next process takes over" : "stopped");
}

function isMistaken(load: () => unknown): boolean {
  try {
    load();
    return false;
  } catch {
    return true; // the next process says what is wrong with it
  }
}
