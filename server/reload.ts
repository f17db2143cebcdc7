/** How a running server takes a new configuration. */

import type { Task } from "../common/runtime/tasks.ts";
import type { ServerConfig } from "./config.ts";

/** A task that can take a new configuration while it runs. */
export interface ReloadableTask extends Task {
  /** Homes that are in both configurations keep their endpoints, sequence numbers and packets. */
  reload(config: ServerConfig): Promise<void>;
}

export function isReloadable(task: Task): task is ReloadableTask {
  return "reload" in task && typeof task.reload === "function";
}
