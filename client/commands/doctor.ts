/** `hometun doctor` */

import { Command } from "commander";
import { askControl, DaemonAbsentError } from "../../common/adapters/control-socket.ts";
import {
  examineClock,
  examineDataPlanes,
  examineForwarding,
  examinePermissions,
  examineReversePathFilter,
  examineUdpPort,
  examineUplink,
} from "../../common/adapters/doctor-checks.ts";
import { RouteSocket } from "../../common/adapters/netlink-socket.ts";
import { mtuSuiteOf, suitesOf } from "../../common/config/keys.ts";
import { describeEncapsulation } from "../../common/control/describe.ts";
import { type Finding, ok, warn } from "../../common/doctor/finding.ts";
import {
  configOption,
  jsonOption,
  showFindings,
  valueOfReply,
} from "../../common/runtime/command-line.ts";
import { CLIENT_DEFAULTS, type ClientConfig } from "../config.ts";
import type { ClientStatus } from "../status.ts";
import { loadConfig } from "./load.ts";

export function doctorCommand(): Command {
  return new Command("doctor")
    .description("examine this machine: what works, what does not, and what mends it")
    .addOption(configOption(CLIENT_DEFAULTS.file))
    .addOption(jsonOption())
    .action(async ({ config: file, json }: { config: string; json?: boolean }) => {
      const config = loadConfig(file);
      const routes = new RouteSocket();
      try {
        showFindings([ok("configuration", file), ...(await examine(config, routes))], json);
      } finally {
        routes.close();
      }
    });
}

async function examine(config: ClientConfig, routes: RouteSocket): Promise<Finding[]> {
  const { tunnel, keys, server } = config;
  const status = await statusOf(config.controlSocket);
  return [
    examinePermissions(),
    ...(await examineDataPlanes({
      setting: config.dataPlane,
      owner: "client",
      suites: suitesOf(keys),
      routes,
    })),
    ...(await examineUplink(routes, {
      server,
      excludeInterface: tunnel.interfaceName,
      encapsulation: tunnel.encapsulation,
      suite: mtuSuiteOf(keys),
    })),
    ...(tunnel.encapsulation === "udp" ? [examineUdpPort(undefined, status !== undefined)] : []),
    examineForwarding("client"),
    examineReversePathFilter(),
    examineClock(Date.now()),
    reachability(config, status),
  ];
}

/** Only ESP that comes back tells that ESP gets through. */
function reachability({ server, tunnel }: ClientConfig, status: ClientStatus | undefined): Finding {
  const subject = "server";
  const way = describeEncapsulation(tunnel.encapsulation);
  if (status === undefined) {
    return warn(
      subject,
      `whether ${way} gets through is not known`,
      "start the daemon, then ask again",
    );
  }
  if (status.state.kind === "confirmed") return ok(subject, `${server} answers through ${way}`);
  const other = tunnel.encapsulation === "esp" ? "udp" : "esp";
  const fix = `see that firewalls let ${way} pass, or try encapsulation = "${other}" at both ends`;
  return warn(subject, status.problem ?? `the tunnel is ${status.state.kind}`, fix);
}

async function statusOf(controlSocket: string): Promise<ClientStatus | undefined> {
  try {
    return valueOfReply<ClientStatus>(await askControl(controlSocket, { command: "status" }));
  } catch (error) {
    if (error instanceof DaemonAbsentError) return undefined;
    throw error;
  }
}
