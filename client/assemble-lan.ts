/** The part of the composition root for what lives by the tunnel: the LAN, its firewall, the user's hooks. */

import { enableForwarding } from "../common/adapters/forwarding.ts";
import { openLanLinks } from "../common/adapters/lan-link.ts";
import { RouteGroup, type RouteSocket } from "../common/adapters/netlink-socket.ts";
import { runProgramOnce } from "../common/adapters/program.ts";
import { RouterSocket } from "../common/adapters/router-socket.ts";
import type { StateDirectory } from "../common/adapters/state-directory.ts";
import type { Clock } from "../common/adapters/system-clock.ts";
import { keepAside, readTextFile, removeFile, replaceFile } from "../common/adapters/text-file.ts";
import { SystemError } from "../common/errors.ts";
import type { Logger } from "../common/runtime/log.ts";
import type { StateHealth, StateReport } from "../common/runtime/state-health.ts";
import type { ClientConfig } from "./config.ts";
import { HomeFirewall } from "./firewall/firewall.ts";
import { Hooks } from "./hooks/hooks.ts";
import { ExportedLan } from "./lan/exported-lan.ts";
import { BuiltInLan, type LanSide } from "./lan/lan.ts";

/** Everybody may read what to tell the hosts. */
const EXPORT_MODE = 0o644;
/** Milliseconds; nft takes some 20. */
const NFT_TIMEOUT = 30_000;
const GROUPS = [RouteGroup.link, RouteGroup.ipv6Address] as const;

export interface LanAdapters {
  readonly socket: RouteSocket;
  readonly state: StateDirectory;
  readonly health: StateHealth;
  readonly clock: Clock;
  readonly log: Logger;
}

/** Undefined when the home has no LAN. */
export function assembleLan(config: ClientConfig, adapters: LanAdapters): LanSide | undefined {
  const { lan, tunnel } = config;
  if (lan === undefined) return undefined;
  const { socket, state, health, clock, log } = adapters;
  const tunnelAddress = tunnel.address;
  const links = openLanLinks(socket);
  const common = { config: lan, tunnelAddress, clock, links, enableForwarding, log };
  if (lan.mode === "export") {
    const write = (text: string) => replaceFile(lan.exportFile, text, EXPORT_MODE);
    return new ExportedLan({ ...common, write });
  }
  const file = state.path("lan.json");
  const report = health.of("lan.json");
  return new BuiltInLan({
    ...common,
    openRouter: (where, listeners) => new RouterSocket(where, listeners),
    subscribe: (onHint) => socket.subscribe(GROUPS, onHint),
    random: Math.random,
    memory: {
      read: () => readTextFile(file),
      write: (text) => reported(report, () => replaceFile(file, text)),
      damaged: () => report.damaged(keepAside(file, clock.wall())),
    },
  });
}

/** The firewall between tunnel and LAN, if there is to be one. */
export function assembleFirewall(
  { firewall, tunnel }: ClientConfig,
  { state, health, clock, log }: Pick<LanAdapters, "state" | "health" | "clock" | "log">,
): HomeFirewall {
  const file = state.path("firewall");
  const report = health.of("firewall");
  return new HomeFirewall({
    config: firewall,
    interfaceName: tunnel.interfaceName,
    nft: (input) => runProgramOnce({ command: ["nft", "-f", "-"], input, timeoutMs: NFT_TIMEOUT }),
    marker: {
      read: () => readTextFile(file)?.trim(),
      // The table stands without; it is only not taken down should `firewall = false` follow.
      write: (name) => void reported(report, () => replaceFile(file, `${name}\n`)),
      remove: () => void reported(report, () => removeFile(file)),
      damaged: () => report.damaged(keepAside(file, clock.wall())),
    },
    log,
  });
}

/** The user's own programs. */
export function assembleHooks(
  { hooks, tunnel, server }: ClientConfig,
  { clock, log }: Pick<LanAdapters, "clock" | "log">,
): Hooks {
  const { interfaceName } = tunnel;
  return new Hooks({ config: hooks, interfaceName, server, clock, run: runProgramOnce, log });
}

/** Whether it was done; who looks after the state hears of it. */
function reported(report: StateReport, work: () => void): boolean {
  try {
    work();
    report.written();
    return true;
  } catch (error) {
    if (!(error instanceof SystemError)) throw error;
    report.failing(error);
    return false;
  }
}
