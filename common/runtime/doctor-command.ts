/** What `doctor` of the two programs has in common. What each examines is its own. */

import { Command } from "commander";
import { askControl, DaemonAbsentError } from "../adapters/control-socket.ts";
import { RouteSocket } from "../adapters/netlink-socket.ts";
import type { ControlReply } from "../control/protocol.ts";
import { type Finding, ok } from "../doctor/finding.ts";
import { configOption, jsonOption, showFindings } from "./command-line.ts";

/** What `doctor` of one program is made of. */
export interface DoctorParts<Config> {
  readonly defaultFile: string;
  readonly load: (file: string) => Config;
  readonly examine: (config: Config, routes: RouteSocket) => Promise<Finding[]>;
}

export function openDoctorCommand<Config>(parts: DoctorParts<Config>): Command {
  return new Command("doctor")
    .description("examine this machine: what works, what does not, and what mends it")
    .addOption(configOption(parts.defaultFile))
    .addOption(jsonOption())
    .action(async ({ config: file, json }: { config: string; json?: boolean }) => {
      const config = parts.load(file);
      const routes = new RouteSocket();
      try {
        showFindings([ok("configuration", file), ...(await parts.examine(config, routes))], json);
      } finally {
        routes.close();
      }
    });
}

/** The daemon's answer; undefined where none is running. */
export async function askIfRunning(controlSocket: string): Promise<ControlReply | undefined> {
  try {
    return await askControl(controlSocket, { command: "status" });
  } catch (error) {
    if (error instanceof DaemonAbsentError) return undefined;
    throw error;
  }
}
