/**
 * A region of octets that packets are built and taken apart in, in place, seen at every width the packet
 * path needs. On the fast path it is off-heap memory that never moves (`adapters/linux/slab.ts`); in tests
 * and in the fall-back an ordinary buffer does.
 */
export interface PacketMemory {
  readonly octets: Uint8Array;
  readonly view: DataView;
  /** Native byte order; index is offset / 2. */
  readonly words16: Uint16Array;
  /** Native byte order; index is offset / 4. */
  readonly words32: Uint32Array;
}

/** Packet memory on the JavaScript heap; `size` in octets is rounded up to a multiple of four. */
export function heapPacketMemory(size: number): PacketMemory {
  const buffer = new ArrayBuffer((size + 3) & ~3);
  return {
    octets: new Uint8Array(buffer),
    view: new DataView(buffer),
    words16: new Uint16Array(buffer),
    words32: new Uint32Array(buffer),
  };
}
