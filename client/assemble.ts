/** The client's composition root: opens the adapters and gives them to the cores. */

import { readFileSync } from "node:fs";
import { controlTask } from "../common/adapters/control-socket.ts";
import { openDataPlane } from "../common/adapters/data-plane-choice.ts";
import type { DescriptorStore } from "../common/adapters/descriptor-store.ts";
import { metricsTask } from "../common/adapters/metrics-server.ts";
import { NeighborSocket } from "../common/adapters/neighbor-socket.ts";
import { RouteSocket } from "../common/adapters/netlink-socket.ts";
import { ProcessMetrics } from "../common/adapters/process-metrics.ts";
import { randomSupply } from "../common/adapters/random.ts";
import { queryRoute } from "../common/adapters/route-query.ts";
import { SequenceFile } from "../common/adapters/sequence-file.ts";
import { openStateDirectory, type StateDirectory } from "../common/adapters/state-directory.ts";
import { systemClock } from "../common/adapters/system-clock.ts";
import { openTunnelLinks } from "../common/adapters/tunnel-link.ts";
import { suitesOf } from "../common/config/keys.ts";
import { done, refused } from "../common/control/protocol.ts";
import type { Logger } from "../common/runtime/log.ts";
import { rehearse } from "../common/runtime/ready-code.ts";
import { StateHealth } from "../common/runtime/state-health.ts";
import { Closers, Failure, type Task, untilAborted } from "../common/runtime/tasks.ts";
import { VERSION } from "../common/version.ts";
import { AddressWatcher } from "./address-watch/watcher.ts";
import { assembleKeyExchange } from "./assemble-keys.ts";
import { assembleFirewall, assembleHooks, assembleLan } from "./assemble-lan.ts";
import type { ClientConfig } from "./config.ts";
import { HomeTunnel } from "./home-tunnel.ts";
import { firewallStatus } from "./lan/lan-status.ts";
import { clientMetrics } from "./metrics.ts";
import { rehearsal } from "./rehearsal.ts";
import { type ClientStatus, summarizeClient } from "./status.ts";

const FORWARDING = "/proc/sys/net/ipv6/conf/all/forwarding";
/** The server is one, and sends few: the limit is for a server gone mad. */
const ADVERTISEMENTS = { rate: 10, burst: 20 };

export function assemble(config: ClientConfig, log: Logger, descriptors: DescriptorStore): Task[] {
  const clock = systemClock();
  let held: StateDirectory | undefined;
  let tunnel: HomeTunnel | undefined;
  let status: () => ClientStatus | undefined = () => undefined;

  const tunnelTask: Task = {
    name: "tunnel",
    // Before any socket: of two that begin at once one goes on, and the other has touched nothing of its.
    prepare: () => {
      held = openStateDirectory(config.stateDirectory);
    },
    async run(signal, ready) {
      const closers = new Closers();
      try {
        const state = closers.add(held ?? openStateDirectory(config.stateDirectory));
        const health = new StateHealth(log);
        const sequences = closers.add(
          new SequenceFile(state.path("sequence-numbers"), health.of("sequence-numbers")),
        );
        const socket = closers.add(new RouteSocket());
        const links = openTunnelLinks(socket);
        // Before there is a tunnel.
        await assembleFirewall(config, { state, health, clock, log }).open();
        const dataPlane = await openDataPlane(config.dataPlane, {
          owner: "client",
          local: undefined,
          suites: suitesOf(config.keys),
          routes: socket,
          links,
          sequences,
          descriptors,
          now: clock.now,
          advertisements: ADVERTISEMENTS,
        });
        const { kind, crypto, reason } = dataPlane;
        log.info({ dataPlane: kind, crypto, reason }, "data plane");
        const watcher = new AddressWatcher({
          socket,
          server: config.server,
          excludeInterface: config.tunnel.interfaceName,
          clock,
          log,
          // The server may hold a home that slept through its probes.
          onResume: () => tunnel?.announce(),
        });
        const failure = new Failure();
        const keyExchange = assembleKeyExchange(config, {
          clock,
          dataPlane,
          log,
          closers,
        });
        const home = new HomeTunnel({
          config,
          ...(keyExchange === undefined ? {} : { keyExchange }),
          clock,
          dataPlane,
          health,
          watcher,
          openNeighbors: (name, listeners) => new NeighborSocket(name, listeners),
          isRouter: () => readFileSync(FORWARDING, "utf8").trim() !== "0",
          randomOctets: randomSupply(),
          version: VERSION,
          log,
        });
        closers.add(home);
        links.onChange((change) => home.followInterface(change));
        await home.open(failure.fail);
        const hooks = closers.add(assembleHooks(config, { clock, log }));
        home.observe((view) => hooks.follow(view));
        const lan = assembleLan(config, { socket, state, health, clock, log });
        if (lan !== undefined) {
          closers.add(lan);
          await lan.open(home.view);
          home.observe((view) => lan.follow(view));
        }
        const firewall = firewallStatus(config.firewall);
        status = () => ({ ...home.status(), lan: lan?.status(), firewall });
        closers.add(watcher);
        await watcher.start((uplink) => home.follow(uplink));
        tunnel = home;
        ready();
        const excludeInterface = config.tunnel.interfaceName;
        const query = () => queryRoute(socket, config.server, { excludeInterface });
        await rehearse(() => rehearsal(config, query), { stop: signal, log });
        await Promise.race([untilAborted(signal), failure.promise]);
      } finally {
        tunnel = undefined;
        await closers.end(signal);
      }
    },
    ailment: (now) => tunnel?.ailment(now),
    summary: () => (tunnel === undefined ? "no tunnel" : summarizeClient(tunnel.status())),
  };

  return [
    tunnelTask,
    ...metricsTasks(config, log, () => tunnel),
    controlTask(config.controlSocket, (request) => {
      if (tunnel === undefined) return refused("unavailable", "the daemon is starting");
      if (request.command === "status") return done(status());
      return done(tunnel.announce());
    }),
  ];
}

function metricsTasks(
  { metrics: listen }: ClientConfig,
  log: Logger,
  tunnel: () => HomeTunnel | undefined,
): Task[] {
  if (listen === undefined) return [];
  const own = new ProcessMetrics({ program: "hometun", version: VERSION });
  return [metricsTask(listen, () => clientMetrics({ process: own, tunnel: tunnel() }), log)];
}
