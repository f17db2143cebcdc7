/** `hometun doctor` */

import type { Command } from "commander";
import {
  examineClock,
  examineDataPlanes,
  examineIpv6,
  examineKeyFile,
  examineNat,
  examinePermissions,
  examineReversePathFilter,
  examineStateDirectory,
  examineUdpPort,
  examineUplink,
  networkInterfaceExists,
} from "../../common/adapters/doctor-checks.ts";
import {
  examineFirewall,
  examineOtherRouters,
  probeIke,
  probeMtu,
  probeProtocol50,
  probeUdp,
} from "../../common/adapters/doctor-probes.ts";
import type { RouteSocket } from "../../common/adapters/netlink-socket.ts";
import { queryRoute } from "../../common/adapters/route-query.ts";
import { readPrivateKey, readSharedKey } from "../../common/adapters/secret-file.ts";
import { mtuSuiteOf, suitesOf } from "../../common/config/keys.ts";
import { type Finding, fail, ok, warn } from "../../common/doctor/finding.ts";
import { settingsOf } from "../../common/ikev2/default-settings.ts";
import {
  askIfRunning,
  type DaemonAnswer,
  openDoctorCommand,
} from "../../common/runtime/doctor-command.ts";
import { CLIENT_DEFAULTS, type ClientConfig } from "../config.ts";
import { firewallTable } from "../firewall/ruleset.ts";
import {
  describeLanState,
  type LanInterfaceState,
  type LanInterfaceStatus,
} from "../lan/lan-status.ts";
import { examineServer, isUp } from "../reachability.ts";
import type { ClientStatus } from "../status.ts";
import { loadConfig } from "./load.ts";

export function doctorCommand(): Command {
  return openDoctorCommand({ defaultFile: CLIENT_DEFAULTS.file, load: loadConfig, examine });
}

async function examine(config: ClientConfig, routes: RouteSocket): Promise<Finding[]> {
  const { tunnel, keys, server } = config;
  const daemon = await askIfRunning<ClientStatus>(config.controlSocket);
  const { status } = daemon;
  const uplink = queryRoute(routes, server, { excludeInterface: tunnel.interfaceName });
  return [
    examinePermissions(),
    ...daemon.findings,
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
    ...(uplink === undefined ? [] : [examineNat(uplink.address, tunnel.encapsulation)]),
    // IKE shares the port with ESP, whether or not that goes in UDP.
    ...(tunnel.encapsulation === "udp" || keys.mode === "ikev2"
      ? [examineUdpPort(undefined, daemon.isRunning)]
      : []),
    // Without a way to the server all of it would say the same again.
    ...(uplink === undefined ? [] : await examineWays(config, daemon)),
    ...examineKeys(keys),
    examineStateDirectory(config.stateDirectory),
    ...examineIpv6("client", tunnel.interfaceName),
    examineReversePathFilter(),
    examineClock(Date.now()),
    ...(await examineLans(config, daemon)),
    ...(config.firewall.enabled && status !== undefined
      ? [await examineFirewall(firewallTable(tunnel.interfaceName))]
      : []),
  ];
}

/** Whether the server is reached, outside of the tunnel and through it. */
async function examineWays(
  config: ClientConfig,
  { isRunning, status }: DaemonAnswer<ClientStatus>,
): Promise<Finding[]> {
  const { server, tunnel } = config;
  return [
    ...(await probeWays(config)),
    // One that runs and does not say how it is has a finding of its own.
    ...(status === undefined && isRunning
      ? []
      : [examineServer({ server, encapsulation: tunnel.encapsulation }, status)]),
    ...(status !== undefined && isUp(status) ? [await probeTunnelMtu(status)] : []),
  ];
}

/** By both encapsulations, that one may know whether the other would do. */
function probeWays({ server, tunnel, keys }: ClientConfig): Promise<Finding[]> {
  // IKE goes in UDP, whatever ESP does.
  const udp = { server, isChosen: tunnel.encapsulation === "udp" || keys.mode === "ikev2" };
  const esp = { server, isChosen: tunnel.encapsulation === "esp" };
  return Promise.all([
    keys.mode === "ikev2" ? probeIke(udp, settingsOf(keys.negotiation).ikeSuites) : probeUdp(udp),
    probeProtocol50(esp),
  ]);
}

function probeTunnelMtu({ interface: interfaceName, serverLinkLocal, mtu }: ClientStatus) {
  return probeMtu({ interfaceName, peer: serverLinkLocal, mtu });
}

/** Of those in the configuration itself, reading it has said. */
function examineKeys(keys: ClientConfig["keys"]): Finding[] {
  if (keys.mode === "manual") return [];
  const { proof } = keys;
  return proof.kind === "shared-key"
    ? [examineKeyFile(() => readSharedKey(proof.file), proof.file)]
    : [examineKeyFile(() => readPrivateKey(proof.privateKeyFile), proof.privateKeyFile)];
}

/** What the daemon says of each LAN, and who else speaks there. */
async function examineLans(
  { lan }: ClientConfig,
  { isRunning, status }: DaemonAnswer<ClientStatus>,
): Promise<Finding[]> {
  if (lan === undefined) return [];
  const findings = lan.interfaces.map(async (name): Promise<Finding[]> => {
    const known = status?.lan?.interfaces.find((each) => each.interface === name);
    const state = examineLan(name, known, isRunning);
    return networkInterfaceExists(name) ? [state, await examineOtherRouters(name)] : [state];
  });
  return (await Promise.all(findings)).flat();
}

const LAN_FIXES: Readonly<Record<LanInterfaceState, string>> = {
  "no-prefix": "ask the ISP for a larger prefix, or name fewer interfaces in lan",
  unassigned: "see above why the tunnel is not up",
  uplink: "name the interface of the home's own network in lan, not the one to the ISP",
  missing: "see `ip link` for the right name; it is used as soon as it is there",
  waiting: "plug in the cable, or the access point; see `ip -6 addr`",
  failing: "see the daemon's log",
  silent: "see above why the tunnel is not up",
  withdrawn: "see above why the tunnel is not up",
  advertising: "",
  exported: "",
};

/** The LAN itself is as it should be. */
const FOLLOWS_THE_TUNNEL: ReadonlySet<LanInterfaceState> = new Set([
  "unassigned",
  "silent",
  "withdrawn",
]);

function examineLan(
  name: string,
  known: LanInterfaceStatus | undefined,
  isRunning: boolean,
): Finding {
  const subject = `LAN ${name}`;
  if (known === undefined) {
    const ask = isRunning
      ? "restart the daemon, if it has read another configuration"
      : "start the daemon";
    return networkInterfaceExists(name)
      ? warn(subject, "the interface is there; the rest is not known", ask)
      : fail(subject, "there is no such interface", LAN_FIXES.missing);
  }
  const { prefix, state } = known;
  const said = `${prefix === undefined ? "" : `${prefix}, `}${describeLanState(known)}`;
  if (state === "advertising" || state === "exported") return ok(subject, said);
  const bad = FOLLOWS_THE_TUNNEL.has(state) ? warn : fail;
  return bad(subject, said, LAN_FIXES[state]);
}
