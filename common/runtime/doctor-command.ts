/** What `doctor` of the two programs has in common. What each examines is its own. */

import { Command } from "commander";
import { askControl, DaemonAbsentError } from "../adapters/control-socket.ts";
import { RouteSocket } from "../adapters/netlink-socket.ts";
import { type Finding, ok, warn } from "../doctor/finding.ts";
import { SystemError } from "../errors.ts";
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

/** What a daemon says of itself. */
export interface DaemonAnswer<Status> {
  readonly isRunning: boolean;
  /** Absent too while a running one does not say. */
  readonly status?: Status;
  /** Why it does not. */
  readonly findings: readonly Finding[];
}

/** Asks the daemon, if there is one: who does not answer is examined all the more. */
export async function askIfRunning<Status>(controlSocket: string): Promise<DaemonAnswer<Status>> {
  const silent = (detail: string, fix: string) => ({
    isRunning: true,
    findings: [warn("daemon", detail, fix)],
  });
  try {
    const reply = await askControl(controlSocket, { command: "status" });
    if (reply.kind === "done") {
      return { isRunning: true, status: reply.value as Status, findings: [] };
    }
    return silent(reply.reason, "ask again in a few seconds; if it stays so, see its log");
  } catch (error) {
    if (error instanceof DaemonAbsentError) return { isRunning: false, findings: [] };
    if (!(error instanceof SystemError)) throw error;
    return silent(error.message, "ask again in a few seconds; if it stays so, restart it");
  }
}
