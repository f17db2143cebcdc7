/** The configuration of a server with many homes, and what they say when they move. */

import { randomBytes } from "node:crypto";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { makeKeyPair } from "../client/key-pair.ts";
import {
  formatIpv4,
  type Ipv4Address,
  type Ipv6Address,
  parseIpv4,
  parseIpv6Prefix,
} from "../common/ip/address.ts";
import { withIcmpv6Checksum } from "../common/ip/icmpv6.ts";
import { encodeNeighborAdvertisement } from "../common/nd/neighbor-advertisement.ts";
import { ipv4LinkLayerOption, NdOptionType } from "../common/nd/option.ts";
import type { TunnelName } from "../common/tunnel/tunnel.ts";

const SERVER = parseIpv4("203.0.113.1");
/** Nobody is refused for haste: it is the server that is measured. */
const UNLIMITED = "[advertisements]\nrate = 1000000\nburst = 1000000\n";
const SPI_LENGTH = 4; // octets
const OWNER_ONLY = { mode: 0o600 };
/** The network for benchmarks, RFC 2544, as a number; 131,072 addresses. */
const BENCHMARK_NETWORK = (198 << 24) | (18 << 16);

/** Writes `server.toml` and a file for each home into a directory; returns the name of the first. */
export function writeHomes(directory: string, count: number): string {
  const homes = join(directory, "homes");
  mkdirSync(homes, { recursive: true, mode: 0o700 });
  let counted = 4_096;
  // What is as long as an SPI is counted: of 20,000 random ones two may be alike, which the server refuses.
  const random = (length: number) => {
    const octets = new Uint8Array(randomBytes(length));
    if (length === SPI_LENGTH) new DataView(octets.buffer).setUint32(0, counted++);
    return octets;
  };
  for (let index = 0; index < count; index++) {
    const name = nameOf(index);
    const prefix = parseIpv6Prefix(`2001:db8:${index.toString(16)}::/56`);
    const plan = { server: SERVER, prefixes: [prefix], suite: "aes-gcm-128" } as const;
    const pair = makeKeyPair({ name, encapsulation: "udp", ...plan }, random);
    writeFileSync(join(homes, `${name}.toml`), pair.server, OWNER_ONLY);
  }
  const file = join(directory, "server.toml");
  const lines = [
    `address = "${SERVER}"`,
    `homes = "${homes}"`,
    `state-directory = "${join(directory, "state")}"`,
    `control-socket = "${join(directory, "server.sock")}"`,
    UNLIMITED,
  ];
  writeFileSync(file, lines.join("\n"), OWNER_ONLY);
  return file;
}

/** Where a home is after so many moves: it goes to and fro between two addresses of its own. */
export function addressOf(index: number, move: number): Ipv4Address {
  const octets = new Uint8Array(4);
  new DataView(octets.buffer).setUint32(0, BENCHMARK_NETWORK + 2 * index + 1 + (move % 2));
  return formatIpv4(octets);
}

/** The whole ICMPv6 message by which a home says that it is at `address`. */
export function advertisementOf(
  home: { readonly linkLocal: Ipv6Address; readonly serverLinkLocal: Ipv6Address },
  address: Ipv4Address,
): Uint8Array {
  const message = encodeNeighborAdvertisement({
    router: true,
    solicited: false,
    override: true,
    target: home.linkLocal,
    options: [ipv4LinkLayerOption(NdOptionType.targetLinkLayerAddress, address)],
  });
  return withIcmpv6Checksum(home.linkLocal, home.serverLinkLocal, message);
}

function nameOf(index: number): TunnelName {
  return `home-${index}` as TunnelName;
}
