/** What passed an interface, recorded by tcpdump and read from its file (pcap, draft-ietf-opsawg-pcap). */

import { randomBytes } from "node:crypto";
import { open, readFile } from "node:fs/promises";
import { join } from "node:path";
import type { Namespace, Running } from "./namespace.ts";

const FILE_HEADER = 24;
const RECORD_HEADER = 16;
const ETHERNET_HEADER = 14;
const IPV4_PROTOCOL = 9; // offset in the header
const UDP_HEADER = 8;
const ESP_HEADER = 8; // SPI and sequence number
const ESP_PORT = 4500;

export const EtherType = { ipv4: 0x0800, ipv6: 0x86dd } as const;

/** A packet of an Ethernet, without the Ethernet's header. */
export interface CapturedPacket {
  readonly etherType: number;
  readonly octets: Uint8Array;
}

/** An ESP packet and how it travelled. */
export interface CapturedEsp {
  readonly encapsulation: "esp" | "udp";
  /** As dotted text. */
  readonly source: string;
  readonly destination: string;
  readonly spi: number;
  /** The lower 32 bits, which are all that is sent (RFC 4303 section 2.2.1). */
  readonly sequence: number;
  readonly octets: Uint8Array;
}

export class Capture {
  readonly #file: string;
  readonly #tcpdump: Running;
  /** Where in the file `news` goes on. */
  #at = FILE_HEADER;

  private constructor(file: string, tcpdump: Running) {
    this.#file = file;
    this.#tcpdump = tcpdump;
  }

  /** Returns when packets are being recorded. */
  static async start(
    namespace: Namespace,
    interfaceName: string,
    directory: string,
    filter = "",
  ): Promise<Capture> {
    const file = join(directory, `${interfaceName}-${randomBytes(3).toString("hex")}.pcap`);
    const command = `exec tcpdump --immediate-mode -B 16384 -Z root -U -n -s 0 -i ${interfaceName} -w ${file} ${filter} 2>&1`;
    const tcpdump = namespace.spawn(["sh", "-c", command]);
    await tcpdump.line((line) => line.includes("listening on"));
    return new Capture(file, tcpdump);
  }

  /** What was recorded so far. */
  async packets(): Promise<CapturedPacket[]> {
    return readPackets(await readFile(this.#file), FILE_HEADER).packets;
  }

  /** What was recorded since the last call. */
  async news(): Promise<CapturedPacket[]> {
    const file = await open(this.#file);
    try {
      const { size } = await file.stat();
      const octets = new Uint8Array(Math.max(0, size - this.#at));
      const { bytesRead } = await file.read(octets, 0, octets.length, this.#at);
      const { packets, end } = readPackets(octets.subarray(0, bytesRead), 0);
      this.#at += end;
      return packets;
    } finally {
      await file.close();
    }
  }

  /** The ESP among it. */
  async esp(): Promise<CapturedEsp[]> {
    return (await this.packets()).flatMap(espOf);
  }

  /** Returns how many packets it missed, which the file will never tell. */
  async stop(): Promise<number> {
    await this.#tcpdump.stop();
    const [, missed = "0"] = /(\d+) packets? dropped by kernel/.exec(this.#tcpdump.stdout) ?? [];
    return Number(missed);
  }
}

/** The whole records from `from` on, and where the last of them ends. */
function readPackets(
  file: Uint8Array,
  from: number,
): { readonly packets: CapturedPacket[]; readonly end: number } {
  const view = new DataView(file.buffer, file.byteOffset, file.length);
  const packets: CapturedPacket[] = [];
  let end = from;
  while (end + RECORD_HEADER <= file.length) {
    const length = view.getUint32(end + 8, true);
    const start = end + RECORD_HEADER;
    if (start + length > file.length) break; // still being written
    end = start + length;
    if (length < ETHERNET_HEADER) continue;
    const etherType = view.getUint16(start + 12);
    packets.push({ etherType, octets: file.subarray(start + ETHERNET_HEADER, end) });
  }
  return { packets, end };
}

/** The ESP in a packet, usually one. */
export function espOf({ etherType, octets }: CapturedPacket): CapturedEsp[] {
  if (etherType !== EtherType.ipv4 || octets.length < 20) return [];
  const view = new DataView(octets.buffer, octets.byteOffset, octets.length);
  const header = (view.getUint8(0) & 0x0f) * 4;
  if ((view.getUint16(6) & 0x3fff) !== 0) return []; // a fragment
  const packet = octets.subarray(header, view.getUint16(2));
  const addresses = {
    source: octets.subarray(12, 16).join("."),
    destination: octets.subarray(16, 20).join("."),
  };
  switch (octets[IPV4_PROTOCOL]) {
    case 50:
      return esp("esp", packet, addresses);
    case 17: {
      if (view.getUint16(header + 2) !== ESP_PORT && view.getUint16(header) !== ESP_PORT) {
        return [];
      }
      return esp("udp", packet.subarray(UDP_HEADER), addresses);
    }
    default:
      return [];
  }
}

/**
 * Between two namespaces the kernel hands over many datagrams as one (UDP_SEGMENT) and never cuts it. The next one in it
 * is found by its first eight octets: the same SPI, the next number.
 */
function esp(
  encapsulation: CapturedEsp["encapsulation"],
  octets: Uint8Array,
  addresses: { readonly source: string; readonly destination: string },
): CapturedEsp[] {
  const found: CapturedEsp[] = [];
  for (let rest = octets; rest.length >= ESP_HEADER; ) {
    const view = new DataView(rest.buffer, rest.byteOffset, rest.length);
    const [spi, sequence] = [view.getUint32(0), view.getUint32(4)];
    const next = Buffer.alloc(ESP_HEADER);
    next.writeUInt32BE(spi);
    next.writeUInt32BE((sequence + 1) >>> 0, 4);
    const at = encapsulation === "esp" ? -1 : Buffer.from(rest).indexOf(next, ESP_HEADER);
    const length = at < 0 ? rest.length : at;
    found.push({ encapsulation, ...addresses, spi, sequence, octets: rest.subarray(0, length) });
    rest = rest.subarray(length);
  }
  return found;
}
