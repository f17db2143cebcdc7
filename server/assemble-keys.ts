/** Opens what homes negotiate their keys with, if the server has an identity. */

import { randomInt } from "node:crypto";
import { type IkeMessage, IkeTransport } from "../common/adapters/ike-transport.ts";
import { openKeyLog } from "../common/adapters/key-log-file.ts";
import {
  readHomeProof,
  readServerProof,
  type ServerProof,
} from "../common/adapters/proof-files.ts";
import { randomSupply } from "../common/adapters/random.ts";
import type { Clock } from "../common/adapters/system-clock.ts";
import { settingsOf } from "../common/ikev2/default-settings.ts";
import type { Logger } from "../common/runtime/log.ts";
import type { Closers } from "../common/runtime/tasks.ts";
import type { DataPlane } from "../common/tunnel/data-plane.ts";
import type { Endpoint, TunnelName } from "../common/tunnel/tunnel.ts";
import type { HomeConfig, ServerConfig } from "./config.ts";
import { HomeKeyExchange, type KeyedHome } from "./home-key-exchange.ts";
import type { AssociationEntry } from "./state/association-entry.ts";
import type { HomeStore } from "./state/home-store.ts";
import type { TunnelServerParts } from "./tunnel-server.ts";

const SMALLEST_SPI = 256; // RFC 4303 section 2.1 reserves those below
const SPI_END = 2 ** 32;

/** Undefined for a server without an identity. Throws `ConfigError`, `SystemError`. */
export function assembleKeyExchange(
  { ikev2, address, homes }: ServerConfig,
  adapters: {
    readonly clock: Clock;
    readonly dataPlane: DataPlane;
    readonly log: Logger;
    readonly closers: Closers;
    readonly onKeyed: (home: TunnelName, endpoint: Endpoint) => void;
    readonly onSource: (home: TunnelName, endpoint: Endpoint) => void;
    readonly memory: HomeStore<AssociationEntry>;
    readonly endpointOf: (home: TunnelName) => Endpoint | undefined;
  },
): TunnelServerParts["keyExchange"] {
  const { clock, dataPlane, log, closers } = adapters;
  const { keyed } = dataPlane;
  if (ikev2 === undefined || keyed === undefined) return undefined;
  const { identity, authLifetime, dns, multicast } = ikev2;
  const proof = readServerProof(ikev2);
  const keyLog = openKeyLog(log);
  let exchange: HomeKeyExchange | undefined;
  const onMessage = (message: IkeMessage) => exchange?.receive(message);
  const transport = closers.add(new IkeTransport({ local: address, keyed, onMessage }));
  exchange = new HomeKeyExchange({
    address,
    identity,
    authLifetime,
    dns,
    multicast,
    settings: {
      ...settingsOf(ikev2.negotiation),
      // Who it is is not known yet when NATs are looked for.
      forceEncapsulation: !homes.some(usesBareEsp),
      revealKeys: keyLog !== undefined,
    },
    ports: {
      random: randomSupply(),
      allocateSpi: () => randomInt(SMALLEST_SPI, SPI_END),
    },
    clock,
    keyed,
    send: (message) => transport.send(message),
    sendKeepalive: (remote) => transport.sendKeepalive(remote),
    onKeyed: adapters.onKeyed,
    onSource: adapters.onSource,
    memory: adapters.memory,
    endpointOf: adapters.endpointOf,
    keyLog,
    log,
  });
  return { exchange, prove: (homes) => homes.flatMap((home) => proven(home, proof)) };
}

/** Nothing for a home whose keys stand in its file. */
function proven(config: HomeConfig, server: ServerProof): KeyedHome[] {
  const { keys } = config;
  if (keys.mode === "manual") return [];
  const { identity, softLimit, childLifetimeMs, proof } = keys;
  const lifetime = { softLimit, childLifetimeMs };
  return [{ config, identity, ...lifetime, ...readHomeProof(proof, server) }];
}

/** Where there is no NAT. */
function usesBareEsp({ keys, encapsulation }: HomeConfig): boolean {
  return keys.mode === "ikev2" && encapsulation === "esp";
}
