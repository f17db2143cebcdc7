/** A server whose one home is nobody's and moves again and again, so that real homes meet practised code. */

import { randomSupply } from "../common/adapters/random.ts";
import { systemClock } from "../common/adapters/system-clock.ts";
import { type Ipv4Address, parseIpv4, parseIpv6, parseIpv6Prefix } from "../common/ip/address.ts";
import { Icmpv6Type, withIcmpv6Checksum } from "../common/ip/icmpv6.ts";
import { CHANGE_LENGTH, changeId, changeOption } from "../common/nd/change.ts";
import { encodeNeighborAdvertisement } from "../common/nd/neighbor-advertisement.ts";
import { ipv4LinkLayerOption, NdOptionType } from "../common/nd/option.ts";
import { silentLog } from "../common/runtime/log.ts";
import type { Rehearsal } from "../common/runtime/ready-code.ts";
import { IdleDataPlane } from "../common/tunnel/idle-data-plane.ts";
import type { TunnelName } from "../common/tunnel/tunnel.ts";
import type { HomeConfig, ServerConfig } from "./config.ts";
import { TunnelServer } from "./tunnel-server.ts";

const NO_KEYS = {
  spi: 0,
  suite: "aes-gcm-128",
  encryptionKey: new Uint8Array(16),
  companion: new Uint8Array(4),
  extendedSequenceNumbers: true,
} as const;

const HOME: HomeConfig = {
  name: "rehearsal" as TunnelName,
  interfaceName: "rehearsal",
  linkLocal: parseIpv6("fe80::2"),
  serverLinkLocal: parseIpv6("fe80::1"),
  prefixes: [parseIpv6Prefix("2001:db8::/56")],
  encapsulation: "udp",
  mtu: undefined,
  dns: undefined,
  keys: { mode: "manual", outbound: NO_KEYS, inbound: NO_KEYS },
};
const HERE = parseIpv4("10.0.0.1");
const THERE = parseIpv4("10.0.0.2");
const HOP_LIMIT = 255;

/** All of the server's life of a move but packets and files. `config` is the real server's. */
export async function rehearsal(config: ServerConfig): Promise<Rehearsal> {
  const dataPlane = new IdleDataPlane();
  const randomOctets = randomSupply();
  const probes: Uint8Array[] = [];
  const server = new TunnelServer({
    config: {
      ...config,
      homes: [HOME],
      allowPrivateEndpoints: true,
      advertisements: { rate: Number.MAX_SAFE_INTEGER, burst: Number.MAX_SAFE_INTEGER },
    },
    clock: systemClock(),
    dataPlane,
    store: FORGETFUL,
    health: { problem: undefined },
    sendNeighbor: (_interface, _destination, icmp) => probes.push(icmp) > 0,
    pathMtu: async () => undefined,
    ownAddresses: () => new Set(),
    randomOctets,
    version: "",
    log: silentLog(),
  });
  // What fails ends nothing: nobody depends on it.
  await server.open(() => undefined);
  const hear = (icmp: Uint8Array) =>
    server.hear({
      interfaceIndex: dataPlane.interfaceIndex(HOME.name),
      source: HOME.linkLocal,
      destination: HOME.serverLinkLocal,
      hopLimit: HOP_LIMIT,
      extensionHeaders: false,
      truncated: false,
      icmp: withIcmpv6Checksum(HOME.linkLocal, HOME.serverLinkLocal, icmp),
    });
  let moves = 0;
  return {
    once: () => {
      moves += 1;
      hear(advertisementOf(moves % 2 === 0 ? HERE : THERE, randomOctets(CHANGE_LENGTH)));
      for (const probe of probes.splice(0)) {
        probe[0] = Icmpv6Type.echoReply;
        hear(probe);
      }
    },
    get completed() {
      return server.totals().confirmations.count;
    },
    close: () => server.close(),
  };
}

const FORGETFUL = {
  recall: () => undefined,
  remember: () => undefined,
  retain: () => undefined,
  flush: () => undefined,
  close: async () => undefined,
};

function advertisementOf(address: Ipv4Address, change: Uint8Array): Uint8Array {
  return encodeNeighborAdvertisement({
    router: true,
    solicited: false,
    override: true,
    target: HOME.linkLocal,
    options: [
      ipv4LinkLayerOption(NdOptionType.targetLinkLayerAddress, address),
      changeOption(changeId(change)),
    ],
  });
}
