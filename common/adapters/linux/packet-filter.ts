/** Classic BPF programs for sockets, Linux Documentation/networking/filter.rst. */

import { Slab } from "./slab.ts";

/** `struct sock_filter`. */
export type Instruction = readonly [code: number, jt: number, jf: number, k: number];

/** Octets of what `SO_ATTACH_FILTER` takes: `struct sock_fprog`, the number of instructions and their address. */
export const PROGRAM_LENGTH = 16;
const INSTRUCTION_LENGTH = 8; // octets

/** A program in memory, its instructions behind its head, so that whoever holds the one holds the other. */
export function filterProgram(instructions: readonly Instruction[]): Slab {
  const program = new Slab(PROGRAM_LENGTH + instructions.length * INSTRUCTION_LENGTH);
  instructions.forEach(([code, jt, jf, k], index) => {
    const at = PROGRAM_LENGTH + index * INSTRUCTION_LENGTH;
    program.view.setUint16(at, code, true);
    program.octets[at + 2] = jt;
    program.octets[at + 3] = jf;
    program.view.setUint32(at + 4, k, true);
  });
  program.view.setUint16(0, instructions.length, true);
  program.setPointer(8, program.address(PROGRAM_LENGTH, instructions.length * INSTRUCTION_LENGTH));
  return program;
}
