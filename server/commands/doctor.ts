/** `hometun-server doctor` */

import { networkInterfaces } from "node:os";
import { Command } from "commander";
import { askControl, DaemonAbsentError } from "../../common/adapters/control-socket.ts";
import {
  examineClock,
  examineDataPlanes,
  examineForwarding,
  examineKeyFile,
  examinePermissions,
  examineReversePathFilter,
  examineStateDirectory,
  examineUdpPort,
} from "../../common/adapters/doctor-checks.ts";
import { RouteSocket } from "../../common/adapters/netlink-socket.ts";
import { readPrivateKey, readSharedKey } from "../../common/adapters/secret-file.ts";
import { suitesOf } from "../../common/config/keys.ts";
import { type Finding, fail, ok } from "../../common/doctor/finding.ts";
import { configOption, jsonOption, showFindings } from "../../common/runtime/command-line.ts";
import { SERVER_DEFAULTS, type ServerConfig } from "../config.ts";
import { loadConfig } from "./load.ts";

export function doctorCommand(): Command {
  return new Command("doctor")
    .description("examine this machine: what works, what does not, and what mends it")
    .addOption(configOption(SERVER_DEFAULTS.file))
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

async function examine(config: ServerConfig, routes: RouteSocket): Promise<Finding[]> {
  const { homes, address } = config;
  const usesUdp = homes.some(({ encapsulation }) => encapsulation === "udp");
  return [
    examinePermissions(),
    ...(await examineDataPlanes({
      setting: config.dataPlane,
      owner: "server",
      suites: homes.flatMap(({ keys }) => suitesOf(keys)),
      routes,
    })),
    examineAddress(config),
    ...(usesUdp ? [examineUdpPort(address, await isRunning(config.controlSocket))] : []),
    ...examineKeys(config),
    examineStateDirectory(config.stateDirectory),
    examineForwarding("server"),
    examineReversePathFilter(),
    examineClock(Date.now()),
  ];
}

/** Homes with negotiated keys may have a file each: all good ones make one line. */
function examineKeys({ homes, ikev2 }: ServerConfig): Finding[] {
  if (ikev2 === undefined) return [];
  const { privateKeyFile } = ikev2;
  const own =
    privateKeyFile === undefined
      ? []
      : [examineKeyFile(() => readPrivateKey(privateKeyFile), privateKeyFile)];
  const files = homes.flatMap(({ keys }) =>
    keys.mode === "ikev2" && keys.proof.kind === "shared-key" ? [keys.proof.file] : [],
  );
  const findings = files.map((file) => examineKeyFile(() => readSharedKey(file), file));
  const bad = findings.filter(({ verdict }) => verdict !== "ok");
  const summary = ok("keys", `${files.length} of homes, in files that nobody else can read`);
  return [...own, ...(files.length > 0 && bad.length === 0 ? [summary] : bad)];
}

function examineAddress({ address }: ServerConfig): Finding {
  const all = Object.values(networkInterfaces()).flatMap((addresses) => addresses ?? []);
  if (all.some((each) => each.address === address)) return ok("address", address);
  const fix = "give it to an interface, or set address to one that this machine has";
  return fail("address", `this machine does not have ${address}`, fix);
}

async function isRunning(controlSocket: string): Promise<boolean> {
  try {
    await askControl(controlSocket, { command: "status" });
    return true;
  } catch (error) {
    if (error instanceof DaemonAbsentError) return false;
    throw error;
  }
}
