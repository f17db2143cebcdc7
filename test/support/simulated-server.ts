/** A tunnel server with any number of homes, all real but for the kernel: the data plane is a table of counters. */

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Clock } from "../../common/adapters/system-clock.ts";
import {
  formatIpv4,
  type Ipv4Address,
  parseIpv4,
  parseIpv6,
  parseIpv6Prefix,
} from "../../common/ip/address.ts";
import { Icmpv6Type, withIcmpv6Checksum } from "../../common/ip/icmpv6.ts";
import { encodeNeighborAdvertisement } from "../../common/nd/neighbor-advertisement.ts";
import { ipv4LinkLayerOption, type NdOption, NdOptionType } from "../../common/nd/option.ts";
import { openLog } from "../../common/runtime/log.ts";
import { NO_REPORT } from "../../common/runtime/state-health.ts";
import type { Closable } from "../../common/runtime/tasks.ts";
import type { TunnelName } from "../../common/tunnel/tunnel.ts";
import type { HomeConfig, ServerConfig } from "../../server/config.ts";
import { ENDPOINT_ENTRY } from "../../server/state/endpoint-entry.ts";
import { HomeStore } from "../../server/state/home-store.ts";
import { TunnelServer } from "../../server/tunnel-server.ts";
import { CountersOnly } from "./counters-only.ts";

const HOME = parseIpv6("fe80::c");
const SERVER = parseIpv6("fe80::5");

export interface LogLine {
  readonly msg: string;
  readonly [field: string]: unknown;
}

export class SimulatedServer {
  readonly server: TunnelServer;
  readonly config: ServerConfig;
  readonly dataPlane: CountersOnly;
  readonly homes: readonly HomeConfig[];
  readonly log: LogLine[];
  readonly #probes: { readonly interfaceIndex: number; readonly icmp: Uint8Array }[];
  readonly #directory: string;
  readonly #store: Closable;

  private constructor(parts: {
    server: TunnelServer;
    config: ServerConfig;
    dataPlane: CountersOnly;
    homes: readonly HomeConfig[];
    log: LogLine[];
    probes: { readonly interfaceIndex: number; readonly icmp: Uint8Array }[];
    directory: string;
    store: Closable;
  }) {
    this.server = parts.server;
    this.config = parts.config;
    this.dataPlane = parts.dataPlane;
    this.homes = parts.homes;
    this.log = parts.log;
    this.#probes = parts.probes;
    this.#directory = parts.directory;
    this.#store = parts.store;
  }

  static async open(options: {
    homes: number;
    clock: Clock;
    /** What an earlier one left. */
    directory?: string;
  }): Promise<SimulatedServer> {
    const { directory = mkdtempSync(join(tmpdir(), "hometun-test-")) } = options;
    const homes = Array.from({ length: options.homes }, (_, index) => homeConfig(index));
    const dataPlane = new CountersOnly();
    const log: LogLine[] = [];
    const probes: { readonly interfaceIndex: number; readonly icmp: Uint8Array }[] = [];
    const config = serverConfig(homes, directory);
    const fail = (error: unknown): void => {
      throw error;
    };
    const report = { ...NO_REPORT, failing: fail };
    const store = new HomeStore(ENDPOINT_ENTRY, join(directory, "endpoints"), report);
    const server = new TunnelServer({
      config,
      clock: options.clock,
      dataPlane,
      store,
      health: { problem: undefined },
      sendNeighbor: (interfaceIndex, _destination, icmp) => {
        probes.push({ interfaceIndex, icmp });
        return true;
      },
      pathMtu: async () => undefined,
      ownAddresses: () => new Set<Ipv4Address>([config.address]),
      randomOctets: (count) => new Uint8Array(count).fill(probes.length + 1),
      version: "0.0.0",
      log: openLog(config.log, { stream: { write: (line) => log.push(JSON.parse(line)) } }),
    });
    await server.open(fail);
    return new SimulatedServer({ server, config, dataPlane, homes, log, probes, directory, store });
  }

  /** What a home's client sends when it has an address, with more options behind the address. */
  advertise(index: number, address: string, options: readonly NdOption[] = []): void {
    const message = encodeNeighborAdvertisement({
      router: true,
      solicited: false,
      override: true,
      target: HOME,
      options: [
        ipv4LinkLayerOption(NdOptionType.targetLinkLayerAddress, parseIpv4(address)),
        ...options,
      ],
    });
    this.hear(index + 1, message);
  }

  /** All homes answer the probes that were sent to them. */
  answerProbes(): void {
    for (const { interfaceIndex, icmp } of this.#probes.splice(0)) {
      const reply = icmp.slice();
      reply[0] = Icmpv6Type.echoReply;
      this.hear(interfaceIndex, reply);
    }
  }

  /** The whole text of something that is made in pieces. */
  static textOf(pieces: Iterable<string>): string {
    return [...pieces].join("");
  }

  /** Ends it, and begins another with the state that it leaves. */
  async restart(clock: Clock): Promise<SimulatedServer> {
    await this.#end();
    return SimulatedServer.open({ homes: this.homes.length, clock, directory: this.#directory });
  }

  async close(): Promise<void> {
    await this.#end();
    rmSync(this.#directory, { recursive: true });
  }

  async #end(): Promise<void> {
    await this.server.close();
    await this.#store.close();
  }

  /** A message came through a home's tunnel; its checksum is made here. */
  hear(interfaceIndex: number, icmp: Uint8Array): void {
    this.server.hear({
      interfaceIndex,
      source: HOME,
      destination: SERVER,
      hopLimit: 255,
      extensionHeaders: false,
      truncated: false,
      icmp: withIcmpv6Checksum(HOME, SERVER, icmp),
    });
  }
}

function homeConfig(index: number): HomeConfig {
  const association = (spi: number) => ({
    spi,
    suite: "aes-gcm-128" as const,
    encryptionKey: new Uint8Array(16),
    companion: new Uint8Array(4),
    extendedSequenceNumbers: true,
  });
  return {
    name: `home-${index}` as TunnelName,
    interfaceName: `ht-${index}`,
    linkLocal: HOME,
    serverLinkLocal: SERVER,
    prefixes: [parseIpv6Prefix(`2001:db8:${index.toString(16)}::/56`)],
    encapsulation: "udp",
    mtu: undefined,
    dns: undefined,
    keys: {
      mode: "manual",
      outbound: association(2 * index + 256),
      inbound: association(2 * index + 257),
    },
  } as HomeConfig;
}

/** An address in the network for benchmarks, RFC 2544. */
export function benchmarkAddress(index: number): string {
  return formatIpv4(Uint8Array.of(198, 18 + (index >> 16), (index >> 8) & 0xff, index & 0xff));
}

function serverConfig(homes: readonly HomeConfig[], directory: string): ServerConfig {
  return {
    address: parseIpv4("203.0.113.1"),
    encapsulations: ["udp"],
    homes,
    allowPrivateEndpoints: true,
    sharedEndpoints: false,
    followNat: true,
    clampMss: true,
    advertisements: { rate: 10, burst: 20 },
    stateDirectory: directory,
    controlSocket: join(directory, "server.sock"),
    metrics: undefined,
    allowRemoteMetrics: false,
    log: { level: "debug", format: "json" },
  } as Partial<ServerConfig> as ServerConfig;
}
