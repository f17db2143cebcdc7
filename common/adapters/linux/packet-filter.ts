/** Classic BPF programs for sockets, Linux Documentation/networking/filter.rst. */

import { Slab } from "./slab.ts";

/** `struct sock_filter`. */
export type Instruction = readonly [code: number, jt: number, jf: number, k: number];

/** Octets of what `SO_ATTACH_FILTER` takes. */
export const PROGRAM_LENGTH = 16;

/** A program in memory. The kernel copies it: keep the object until the call has returned. */
export class PacketFilter {
  /** `struct sock_fprog`: the number of instructions, then their address. */
  readonly program = new Slab(PROGRAM_LENGTH);
  readonly #instructions: Slab;

  constructor(instructions: readonly Instruction[]) {
    this.#instructions = new Slab(instructions.length * 8);
    instructions.forEach(([code, jt, jf, k], index) => {
      this.#instructions.view.setUint16(index * 8, code, true);
      this.#instructions.octets[index * 8 + 2] = jt;
      this.#instructions.octets[index * 8 + 3] = jf;
      this.#instructions.view.setUint32(index * 8 + 4, k, true);
    });
    this.program.view.setUint16(0, instructions.length, true);
    this.program.setPointer(8, this.#instructions.address(0, instructions.length * 8));
  }
}
