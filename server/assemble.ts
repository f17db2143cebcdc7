/** The server's composition root: opens the adapters and gives them to the cores. */

import { networkInterfaces } from "node:os";
import { controlTask } from "../common/adapters/control-socket.ts";
import { openDataPlane } from "../common/adapters/data-plane-choice.ts";
import type { DescriptorStore } from "../common/adapters/descriptor-store.ts";
import { Icmpv6Sender } from "../common/adapters/linux/icmpv6-sender.ts";
import { InterfaceNeighborSocket } from "../common/adapters/linux/neighbor-socket.ts";
import { metricsTask } from "../common/adapters/metrics-server.ts";
import { RouteGroup, RouteSocket } from "../common/adapters/netlink-socket.ts";
import { ProcessMetrics } from "../common/adapters/process-metrics.ts";
import { randomSupply } from "../common/adapters/random.ts";
import { queryRoute } from "../common/adapters/route-query.ts";
import { SequenceFile } from "../common/adapters/sequence-file.ts";
import { openStateDirectory, type StateDirectory } from "../common/adapters/state-directory.ts";
import { systemClock } from "../common/adapters/system-clock.ts";
import { openTunnelLinks } from "../common/adapters/tunnel-link.ts";
import { suitesOf } from "../common/config/keys.ts";
import { done, JsonPieces, refused } from "../common/control/protocol.ts";
import type { Ipv4Address } from "../common/ip/address.ts";
import type { Logger } from "../common/runtime/log.ts";
import { optimizeLate, rehearse } from "../common/runtime/ready-code.ts";
import { StateHealth } from "../common/runtime/state-health.ts";
import { Closers, Failure, type Task, untilAborted } from "../common/runtime/tasks.ts";
import type { TunnelName } from "../common/tunnel/tunnel.ts";
import { VERSION } from "../common/version.ts";
import { assembleKeyExchange } from "./assemble-keys.ts";
import type { ServerConfig } from "./config.ts";
import { serverMetrics } from "./metrics.ts";
import { rehearsal } from "./rehearsal.ts";
import type { ReloadableTask } from "./reload.ts";
import { ASSOCIATION_ENTRY } from "./state/association-entry.ts";
import { ENDPOINT_ENTRY } from "./state/endpoint-entry.ts";
import { HomeStore } from "./state/home-store.ts";
import { TunnelServer } from "./tunnel-server.ts";

export function assemble(config: ServerConfig, log: Logger, descriptors: DescriptorStore): Task[] {
  const clock = systemClock();
  let server: TunnelServer | undefined;
  let begin = () => {};
  /** Until the tunnels stand, or cannot. */
  const beginning = new Promise<void>((resolve) => {
    begin = resolve;
  });

  let held: StateDirectory | undefined;
  const tunnelsTask: ReloadableTask = {
    name: "tunnels",
    // Before any socket: of two that begin at once one goes on, and the other has touched nothing of its.
    prepare: () => {
      held = openStateDirectory(config.stateDirectory);
    },
    async run(signal, ready) {
      const closers = new Closers();
      const failure = new Failure();
      try {
        const state = closers.add(held ?? openStateDirectory(config.stateDirectory));
        const health = new StateHealth(log);
        const sequences = closers.add(
          new SequenceFile(state.path("sequence-numbers"), health.of("sequence-numbers")),
        );
        const store = closers.add(
          new HomeStore(ENDPOINT_ENTRY, state.path("endpoints"), health.of("endpoints")),
        );
        const associations = closers.add(
          new HomeStore(ASSOCIATION_ENTRY, state.path("associations"), health.of("associations")),
        );
        const socket = closers.add(new RouteSocket());
        const links = openTunnelLinks(socket);
        const dataPlane = await openDataPlane(config.dataPlane, {
          owner: "server",
          local: config.address,
          suites: config.homes.flatMap(({ keys }) => suitesOf(keys)),
          routes: socket,
          links,
          sequences,
          descriptors,
          now: clock.now,
          advertisements: config.advertisements,
        });
        const { kind, crypto, reason } = dataPlane;
        log.info({ dataPlane: kind, crypto, reason }, "data plane");
        const neighbors = closers.add(
          new InterfaceNeighborSocket((message) => tunnels.hear(message)),
        );
        const sender = closers.add(new Icmpv6Sender());
        const keyExchange = assembleKeyExchange(config, {
          clock,
          dataPlane,
          log,
          closers,
          onKeyed: (home, endpoint) => tunnels.keyed(home, endpoint),
          onSource: (home, endpoint) => tunnels.observed(home, endpoint),
          memory: associations,
          endpointOf: (home) => store.recall(home)?.endpoint,
        });
        const tunnels = new TunnelServer({
          config,
          ...(keyExchange === undefined ? {} : { keyExchange }),
          clock,
          dataPlane,
          store,
          health,
          sendNeighbor: (interfaceIndex, destination, icmp) =>
            sender.send(interfaceIndex, destination, icmp),
          pathMtu: async (address) => queryRoute(socket, address)?.mtu,
          ownAddresses,
          randomOctets: randomSupply(),
          version: VERSION,
          log,
        });
        dataPlane.onEvent(({ kind }) => {
          if (kind === "advertised") neighbors.receive();
        });
        closers.add(tunnels);
        links.onChange((change) => tunnels.followInterface(change));
        await tunnels.open(failure.fail);
        closers.add(
          socket.subscribe([RouteGroup.ipv4Address], () => tunnels.refreshOwnAddresses()),
        );
        server = tunnels;
        begin();
        ready();
        await rehearse(() => rehearsal(config), { stop: signal, log });
        optimizeLate();
        await Promise.race([untilAborted(signal), failure.promise]);
      } finally {
        server = undefined;
        begin();
        await closers.end(signal);
      }
    },
    ailment: (now) => server?.ailment(now),
    summary: () => server?.summary() ?? "no tunnels",
    async reload(wanted) {
      await beginning;
      await server?.setHomes(wanted.homes);
      if (settingsOf(wanted) === settingsOf(config)) return;
      log.warn("homes are taken over; the other settings need a restart");
    },
  };

  return [
    tunnelsTask,
    ...metricsTasks(config, log, () => server),
    controlTask(config.controlSocket, (request) => {
      if (server === undefined) return refused("unavailable", "the daemon is starting");
      if (request.command !== "status")
        return refused("unknown-command", "servers do not announce");
      if (request.home === undefined) {
        return done(new JsonPieces(server.statusPieces(request.homes ?? {})));
      }
      const status = server.statusOf(request.home as TunnelName);
      return status === undefined
        ? refused("unknown-home", `no home is called ${JSON.stringify(request.home)}`)
        : done(status);
    }),
  ];
}

/** All but the homes, to be compared. */
function settingsOf(config: ServerConfig): string {
  return JSON.stringify({ ...config, homes: [] });
}

function metricsTasks(
  { metrics: listen }: ServerConfig,
  log: Logger,
  server: () => TunnelServer | undefined,
): Task[] {
  if (listen === undefined) return [];
  const own = new ProcessMetrics({ program: "hometun-server", version: VERSION });
  const source = () => serverMetrics({ process: own, server: server(), now: systemClock().now });
  return [metricsTask(listen, source, log)];
}

/** This machine's IPv4 addresses. */
function ownAddresses(): ReadonlySet<Ipv4Address> {
  const all = Object.values(networkInterfaces()).flatMap((addresses) => addresses ?? []);
  return new Set(
    all.filter(({ family }) => family === "IPv4").map(({ address }) => address as Ipv4Address),
  );
}
