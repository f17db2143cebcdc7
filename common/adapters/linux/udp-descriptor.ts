/** A UDP socket that many may address at once: Node's own cannot ask for more room than the system's usual limit. */

import { type Ipv4Address, ipv4Octets } from "../../ip/address.ts";
import { checked, libcCalls } from "./libc.ts";
import { Slab } from "./slab.ts";
import { AF_INET, SOCK_CLOEXEC, SOCK_DGRAM, SOCK_NONBLOCK } from "./socket-numbers.ts";
import { setBuffer } from "./socket-options.ts";

const SOCKADDR_IN_LENGTH = 16;

/** Of `address` and `port`, with room for `waiting` octets, the kernel's own among them. Throws `SystemError`. */
export function openUdpDescriptor(options: {
  readonly address: Ipv4Address;
  readonly port: number;
  readonly waiting: number;
  readonly operation: string;
  readonly hints: Readonly<Record<string, string>>;
}): number {
  const { address, port, waiting, operation, hints } = options;
  const type = SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC;
  const fd = checked(libcCalls.socket(AF_INET, type, 0), operation, hints);
  try {
    checked(setBuffer(fd, "receive", waiting), operation, hints);
    const name = new Slab(SOCKADDR_IN_LENGTH);
    name.view.setUint16(0, AF_INET, true);
    name.view.setUint16(2, port);
    name.octets.set(ipv4Octets(address), 4);
    checked(
      libcCalls.bind(fd, name.address(0, SOCKADDR_IN_LENGTH), SOCKADDR_IN_LENGTH),
      operation,
      hints,
    );
    return fd;
  } catch (error) {
    libcCalls.close(fd);
    throw error;
  }
}
