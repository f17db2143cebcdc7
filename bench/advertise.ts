/**
 * Plays all homes of a server made by many-homes.ts: they move, say so through ESP in UDP, and answer the server's
 * probes. For a namespace in which 198.18.0.0/15 is local, with the server behind its default route.
 *
 *     node --import tsx bench/advertise.ts write DIRECTORY HOMES      makes server.toml and the homes' files
 *     node --import tsx bench/advertise.ts play DIRECTORY             reads commands, prints a line for each
 *
 * Command `send COUNT RATE`: that many advertisements, so many a second (0: as fast as the server confirms them,
 * with at most WINDOW in flight). Prints `{"sent":…,"answered":…,"seconds":…}` when the last answer is in.
 */

import { randomBytes } from "node:crypto";
import { createSocket } from "node:dgram";
import { once } from "node:events";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { setTimeout as pause } from "node:timers/promises";
import { heapPacketMemory, type PacketMemory } from "../common/bytes/packet-memory.ts";
import { openNodeTransform } from "../common/esp/node-transform.ts";
import { ReplayWindow } from "../common/esp/replay-window.ts";
import { InboundSa, OutboundSa } from "../common/esp/security-association.ts";
import { Icmpv6Type, withIcmpv6Checksum } from "../common/ip/icmpv6.ts";
import { decodeIpv6, encodeIpv6, IpProtocol } from "../common/ip/ipv6.ts";
import { UDP_ENCAPSULATION_PORT } from "../common/tunnel/tunnel.ts";
import { loadConfig } from "../server/commands/load.ts";
import type { HomeConfig, ServerConfig } from "../server/config.ts";
import { addressOf, advertisementOf, writeHomes } from "./many-homes.ts";

const WINDOW = 64; // advertisements not answered yet
const GIVE_UP_MS = 2_000; // without an answer
const HOP_LIMIT = 255;
const MORE_THAN_ANY_PACKET = 2_048; // octets
const SOCKET_BUFFER = 4 << 20; // octets

interface PlayedHome {
  readonly config: HomeConfig;
  readonly outbound: OutboundSa<PacketMemory>;
  readonly inbound: InboundSa<PacketMemory>;
}

class Homes {
  answered = 0;
  readonly #memory = heapPacketMemory(MORE_THAN_ANY_PACKET);
  readonly #server: string;
  readonly #homes: readonly PlayedHome[];
  readonly #bySpi: ReadonlyMap<number, PlayedHome>;
  readonly #socket = createSocket({ type: "udp4", recvBufferSize: SOCKET_BUFFER });

  constructor(config: ServerConfig) {
    const openTransform = openNodeTransform(randomBytes);
    this.#server = config.address;
    this.#homes = config.homes.map((home) => {
      if (home.keys.mode !== "manual") throw new Error(`${home.name} negotiates its keys`);
      // What the server receives with is what the home sends with.
      const { inbound: up, outbound: down } = home.keys;
      const limit = Number.MAX_SAFE_INTEGER;
      const outbound = new OutboundSa({
        keys: up,
        transform: openTransform(up, "outbound"),
        next: 1,
        limit,
      });
      const window = new ReplayWindow();
      const inbound = new InboundSa({
        keys: down,
        transform: openTransform(down, "inbound"),
        window,
      });
      return { config: home, outbound, inbound };
    });
    this.#bySpi = new Map(this.#homes.map((home) => [home.inbound.spi, home]));
    this.#socket.on("message", (packet) => this.#receive(packet));
  }

  get count(): number {
    return this.#homes.length;
  }

  async open(): Promise<void> {
    this.#socket.bind(UDP_ENCAPSULATION_PORT);
    await once(this.#socket, "listening");
  }

  close(): void {
    this.#socket.close();
  }

  /** The home says that it is where it is after so many moves. */
  advertise(index: number, move: number): void {
    const home = this.#homes[index];
    if (home !== undefined) {
      this.#send(home, advertisementOf(home.config, addressOf(index, move)));
    }
  }

  #send(home: PlayedHome, icmp: Uint8Array): void {
    const { linkLocal, serverLinkLocal } = home.config;
    const packet = encodeIpv6({
      trafficClass: 0,
      flowLabel: 0,
      nextHeader: IpProtocol.icmpv6,
      hopLimit: HOP_LIMIT,
      source: linkLocal,
      destination: serverLinkLocal,
      payload: icmp,
    });
    this.#memory.octets.set(packet, home.outbound.innerOffset);
    const length = home.outbound.seal(this.#memory, 0, packet.length);
    const sealed = this.#memory.octets.slice(0, length);
    this.#socket.send(sealed, UDP_ENCAPSULATION_PORT, this.#server);
  }

  #receive(packet: Uint8Array): void {
    if (packet.length < 8 || packet.length > MORE_THAN_ANY_PACKET) return;
    this.#memory.octets.set(packet);
    const home = this.#bySpi.get(this.#memory.view.getUint32(0));
    if (home === undefined) return;
    const length = home.inbound.open(this.#memory, 0, packet.length);
    if (length < 0) return;
    const at = home.inbound.innerOffset;
    const { payload } = decodeIpv6(this.#memory.octets.slice(at, at + length));
    if (payload[0] !== Icmpv6Type.echoRequest) return;
    const reply = payload.slice();
    reply[0] = Icmpv6Type.echoReply;
    const { linkLocal, serverLinkLocal } = home.config;
    this.#send(home, withIcmpv6Checksum(linkLocal, serverLinkLocal, reply));
    this.answered += 1;
  }
}

async function play(directory: string): Promise<void> {
  const homes = new Homes(loadConfig(join(directory, "server.toml")));
  await homes.open();
  process.stdout.write("ready\n");
  let sent = 0;
  for await (const line of createInterface({ input: process.stdin })) {
    const [, count = "0", rate = "0"] = line.split(" ");
    const answeredBefore = homes.answered;
    const before = sent;
    const began = performance.now();
    let lastAnswer = began;
    let seen = homes.answered;
    while (sent - before < Number(count)) {
      const elapsed = (performance.now() - began) / 1000;
      const due = Number(rate) === 0 ? Number(count) : Math.floor(elapsed * Number(rate));
      while (
        sent - before < Math.min(due, Number(count)) &&
        sent - before - (homes.answered - answeredBefore) < WINDOW
      ) {
        homes.advertise(sent % homes.count, Math.floor(sent / homes.count));
        sent += 1;
      }
      if (homes.answered !== seen) {
        seen = homes.answered;
        lastAnswer = performance.now();
      } else if (performance.now() - lastAnswer > GIVE_UP_MS) break;
      await pause(Number(rate) === 0 ? 0 : 1);
    }
    while (homes.answered - answeredBefore < sent - before) {
      if (performance.now() - lastAnswer > GIVE_UP_MS) break;
      if (homes.answered !== seen) {
        seen = homes.answered;
        lastAnswer = performance.now();
      }
      await pause(1);
    }
    const seconds = (performance.now() - began) / 1000;
    const answered = homes.answered - answeredBefore;
    process.stdout.write(`${JSON.stringify({ sent: sent - before, answered, seconds })}\n`);
  }
  homes.close();
}

const [, , command, directory = ".", count = "1"] = process.argv;
if (command === "write") writeHomes(directory, Number(count));
else await play(directory);
