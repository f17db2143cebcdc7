/** `hometun-server doctor` */

import { networkInterfaces } from "node:os";
import type { Command } from "commander";
import {
  examineClock,
  examineDataPlanes,
  examineIkePort,
  examineIpv6,
  examineKeyFile,
  examinePermissions,
  examineReversePathFilter,
  examineStateDirectory,
  examineUdpPort,
} from "../../common/adapters/doctor-checks.ts";
import type { RouteSocket } from "../../common/adapters/netlink-socket.ts";
import { readPrivateKey, readSharedKey } from "../../common/adapters/secret-file.ts";
import { suitesOf } from "../../common/config/keys.ts";
import { type Finding, fail, ok } from "../../common/doctor/finding.ts";
import { askIfRunning, openDoctorCommand } from "../../common/runtime/doctor-command.ts";
import { SERVER_DEFAULTS, type ServerConfig } from "../config.ts";
import { loadConfig } from "./load.ts";

export function doctorCommand(): Command {
  return openDoctorCommand({ defaultFile: SERVER_DEFAULTS.file, load: loadConfig, examine });
}

async function examine(config: ServerConfig, routes: RouteSocket): Promise<Finding[]> {
  const { homes, address } = config;
  const { isRunning, findings } = await askIfRunning(config.controlSocket);
  const usesIke = config.ikev2 !== undefined;
  const usesUdp = usesIke || homes.some(({ encapsulation }) => encapsulation === "udp");
  return [
    examinePermissions(),
    ...findings,
    ...(await examineDataPlanes({
      setting: config.dataPlane,
      owner: "server",
      suites: homes.flatMap(({ keys }) => suitesOf(keys)),
      routes,
    })),
    examineAddress(config),
    ...(usesIke ? [examineIkePort(address, isRunning)] : []),
    ...(usesUdp ? [examineUdpPort(address, isRunning)] : []),
    ...examineKeys(config),
    examineStateDirectory(config.stateDirectory),
    ...examineIpv6("server"),
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
