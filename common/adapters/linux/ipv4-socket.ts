/** Opens IPv4 sockets with what Node's own cannot have: raw protocols, options before the first packet, large buffers. */

import { formatIpv4, type Ipv4Address, ipv4Octets } from "../../ip/address.ts";
import { checked, libcCalls } from "./libc.ts";
import { Slab } from "./slab.ts";
import {
  AF_INET,
  SO_TYPE,
  SOCK_CLOEXEC,
  SOCK_DGRAM,
  SOCK_NONBLOCK,
  SOCK_RAW,
  SOL_SOCKET,
} from "./socket-numbers.ts";
import { setBuffer } from "./socket-options.ts";

export const SOCKADDR_IN_LENGTH = 16;
const ANY = "0.0.0.0" as Ipv4Address;
// behind a sockaddr_in: its length, a socket's type, that one's length
const LENGTH_AT = SOCKADDR_IN_LENGTH;
const TYPE_AT = LENGTH_AT + 4;
const TYPE_LENGTH_AT = TYPE_AT + 4;

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

/** Of a socket that is bound. */
export function portOf(fd: number): number {
  const slab = new Slab(LENGTH_AT + 4);
  return readName(fd, slab) ? slab.view.getUint16(2) : 0;
}

/** The sockaddr_in that the socket is bound to, at the beginning of `slab`; false for what is no socket. */
function readName(fd: number, slab: Slab): boolean {
  slab.words32[LENGTH_AT >> 2] = SOCKADDR_IN_LENGTH;
  const name = slab.address(0, SOCKADDR_IN_LENGTH);
  return libcCalls.getsockname(fd, name, slab.address(LENGTH_AT, 4)) >= 0;
}

/** Whether a descriptor from elsewhere is what `openIpv4Socket` would make of UDP, this address and this port. */
export function isUdpSocketOf(fd: number, address: Ipv4Address | undefined, port: number): boolean {
  const slab = new Slab(TYPE_LENGTH_AT + 4);
  slab.words32[TYPE_LENGTH_AT >> 2] = 4;
  if (!readName(fd, slab)) return false;
  const type = slab.address(TYPE_AT, 4);
  const length = slab.address(TYPE_LENGTH_AT, 4);
  if (libcCalls.getsockopt(fd, SOL_SOCKET, SO_TYPE, type, length) < 0) return false;
  const { view, octets } = slab;
  return (
    view.getUint16(0, true) === AF_INET &&
    view.getInt32(TYPE_AT, true) === SOCK_DGRAM &&
    view.getUint16(2) === port &&
    formatIpv4(octets.subarray(4, 8)) === (address ?? ANY)
  );
}
