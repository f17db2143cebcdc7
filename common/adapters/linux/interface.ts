/** Name and MTU of a network interface by ioctl(2), netdevice(7): an answer at once, without a turn of the event loop. */

import { libcCalls } from "./libc.ts";
import { Slab } from "./slab.ts";
import { AF_INET, SOCK_CLOEXEC, SOCK_DGRAM } from "./socket-numbers.ts";

const SIOCGIFNAME = 0x8910;
const SIOCGIFMTU = 0x8921;
const NAME_LENGTH = 16; // IFNAMSIZ
const IFREQ_LENGTH = 40;

export interface InterfaceFacts {
  readonly index: number;
  readonly name: string;
  /** Octets. */
  readonly mtu: number;
}

/** Undefined when there is no such interface any more, or the kernel does not tell. */
export function interfaceFacts(index: number): InterfaceFacts | undefined {
  const fd = libcCalls.socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return undefined;
  try {
    const request = new Slab(IFREQ_LENGTH); // struct ifreq: the name, then a union
    const ask = (what: number) => libcCalls.ioctl(fd, what, request.address(0, IFREQ_LENGTH)) >= 0;
    request.view.setInt32(NAME_LENGTH, index, true);
    if (!ask(SIOCGIFNAME)) return undefined;
    const octets = request.octets.subarray(0, NAME_LENGTH);
    const name = new TextDecoder().decode(octets.subarray(0, octets.indexOf(0)));
    if (!ask(SIOCGIFMTU)) return undefined;
    return { index, name, mtu: request.view.getInt32(NAME_LENGTH, true) };
  } finally {
    libcCalls.close(fd);
  }
}
