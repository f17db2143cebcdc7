/** Opens IPv4 sockets with what Node's own cannot have: raw protocols, options before the first packet, large buffers. */

import { type Ipv4Address, ipv4Octets } from "../../ip/address.ts";
import { checked, libcCalls } from "./libc.ts";
import { Slab } from "./slab.ts";
import { AF_INET, SOCK_CLOEXEC, SOCK_DGRAM, SOCK_NONBLOCK, SOCK_RAW } from "./socket-numbers.ts";
import { setBuffer } from "./socket-options.ts";

export const SOCKADDR_IN_LENGTH = 16;
const ANY = "0.0.0.0" as Ipv4Address;

export interface Ipv4SocketOptions {
  /** UDP, or a raw socket of an IPv4 protocol. */
  readonly kind: "udp" | { readonly protocol: number };
  /** What is received must be for this address and port; absent: any of ours, any port. */
  readonly address?: Ipv4Address | undefined;
  readonly port?: number;
  /** Octets that may wait, the kernel's own among them; absent: the system's usual limit. */
  readonly receiveBuffer?: number;
  readonly sendBuffer?: number;
  /** Sets options before anything can be received; what it throws closes the socket. */
  readonly prepare?: (fd: number) => void;
  /** What is being done, for the error. */
  readonly operation: string;
  readonly hints: Readonly<Record<string, string>>;
}

/** The descriptor of a non-blocking socket. Throws `SystemError`. */
export function openIpv4Socket(options: Ipv4SocketOptions): number {
  const { kind, address, port, receiveBuffer, sendBuffer, operation, hints } = options;
  const type = (kind === "udp" ? SOCK_DGRAM : SOCK_RAW) | SOCK_NONBLOCK | SOCK_CLOEXEC;
  const protocol = kind === "udp" ? 0 : kind.protocol;
  const fd = checked(libcCalls.socket(AF_INET, type, protocol), operation, hints);
  const buffers = { receive: receiveBuffer, send: sendBuffer };
  try {
    for (const buffer of ["receive", "send"] as const) {
      const length = buffers[buffer];
      if (length !== undefined) checked(setBuffer(fd, buffer, length), operation, hints);
    }
    options.prepare?.(fd);
    if (address !== undefined || port !== undefined) {
      const name = new Slab(SOCKADDR_IN_LENGTH);
      name.view.setUint16(0, AF_INET, true);
      name.view.setUint16(2, port ?? 0);
      name.octets.set(ipv4Octets(address ?? ANY), 4);
      const at = name.address(0, SOCKADDR_IN_LENGTH);
      checked(libcCalls.bind(fd, at, SOCKADDR_IN_LENGTH), operation, hints);
    }
    return fd;
  } catch (error) {
    libcCalls.close(fd);
    throw error;
  }
}
