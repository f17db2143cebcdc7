/** Packets in packet memory, for tests of the packet path. */

import { heapPacketMemory, type PacketMemory } from "../../common/bytes/packet-memory.ts";
import { hex } from "./hex.ts";

/** Memory full of a pattern, so that a change anywhere shows. */
export function patternedMemory(size: number): PacketMemory {
  const memory = heapPacketMemory(size);
  memory.octets.forEach((_, i) => {
    memory.octets[i] = (i * 151 + 7) & 0xff;
  });
  return memory;
}

/** Writes a packet given in hex, or as octets, and returns its length. */
export function place(memory: PacketMemory, offset: number, packet: string | Uint8Array): number {
  const octets = typeof packet === "string" ? hex(packet) : packet;
  memory.octets.set(octets, offset);
  return octets.length;
}

export function textAt(memory: PacketMemory, offset: number, length: number): string {
  return Buffer.from(memory.octets.slice(offset, offset + length)).toString("hex");
}

/** Offsets at which two states of a memory differ, as `[from, to)` of the smallest range that holds them all. */
export function changedRange(before: Uint8Array, after: Uint8Array): [number, number] | undefined {
  const first = after.findIndex((octet, i) => octet !== before[i]);
  if (first < 0) return undefined;
  return [first, after.findLastIndex((octet, i) => octet !== before[i]) + 1];
}
