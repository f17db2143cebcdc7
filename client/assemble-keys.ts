/** Opens what the home negotiates its keys with, if it does. */

import { randomBytes, randomInt } from "node:crypto";
import { type IkeMessage, IkeTransport } from "../common/adapters/ike-transport.ts";
import { openKeyLog } from "../common/adapters/key-log-file.ts";
import { readProof } from "../common/adapters/proof-files.ts";
import type { Clock } from "../common/adapters/system-clock.ts";
import { settingsOf } from "../common/ikev2/default-settings.ts";
import { ipv6Octets } from "../common/ip/address.ts";
import type { Logger } from "../common/runtime/log.ts";
import type { Closers } from "../common/runtime/tasks.ts";
import type { DataPlane } from "../common/tunnel/data-plane.ts";
import type { ClientConfig } from "./config.ts";
import { HomeKeyExchange } from "./home-key-exchange.ts";
import { HOME_TUNNEL } from "./home-tunnel.ts";

const INTERFACE_ID = 8; // offset in an address
const SMALLEST_SPI = 256; // RFC 4303 section 2.1 reserves those below
const SPI_END = 2 ** 32;

/** Undefined when the configuration gives the keys. Throws `ConfigError`, `SystemError`. */
export function assembleKeyExchange(
  { keys, server, tunnel }: ClientConfig,
  adapters: {
    readonly clock: Clock;
    readonly dataPlane: DataPlane;
    readonly log: Logger;
    readonly closers: Closers;
  },
): HomeKeyExchange | undefined {
  if (keys.mode === "manual") return undefined;
  const { clock, dataPlane, log, closers } = adapters;
  const { keyed } = dataPlane;
  if (keyed === undefined) throw new Error(`no negotiated keys for the ${dataPlane.kind} plane`);
  const keyLog = openKeyLog(log);
  let exchange: HomeKeyExchange | undefined;
  const onMessage = (message: IkeMessage) => exchange?.receive(message);
  const proof = readProof(keys.proof);
  const { reauthenticateMs, childLifetimeMs } = keys;
  const transport = closers.add(new IkeTransport({ local: undefined, keyed, onMessage }));
  exchange = new HomeKeyExchange({
    tunnel: HOME_TUNNEL,
    server,
    port: transport.port,
    options: {
      identity: keys.identity,
      peerIdentity: keys.peerIdentity,
      ...proof,
      link: {
        interfaceId: ipv6Octets(tunnel.linkLocal).slice(INTERFACE_ID),
        fallback: keys.fallback,
      },
      initialContact: true,
      multicast: keys.multicast,
      ...(reauthenticateMs === undefined ? {} : { reauthenticateMs }),
      ...(childLifetimeMs === undefined ? {} : { childLifetimeMs }),
    },
    settings: {
      ...settingsOf(keys.negotiation),
      forceEncapsulation: tunnel.encapsulation === "udp",
      revealKeys: keyLog !== undefined,
    },
    ports: {
      random: (count) => new Uint8Array(randomBytes(count)),
      allocateSpi: () => randomInt(SMALLEST_SPI, SPI_END),
    },
    softLimit: keys.softLimit,
    clock,
    keyed,
    send: (message) => transport.send(message),
    sendKeepalive: (remote) => transport.sendKeepalive(remote),
    keyLog,
    log,
  });
  return exchange;
}
