/** Socket options that are integers, and the room that a socket has for what came and is not read yet. */

import { libcCalls } from "./libc.ts";
import { Slab } from "./slab.ts";
import {
  SO_RCVBUF,
  SO_RCVBUFFORCE,
  SO_SNDBUF,
  SO_SNDBUFFORCE,
  SOL_SOCKET,
} from "./socket-numbers.ts";

/** Sets an integer socket option; returns -1 on failure. */
export function setInteger(fd: number, level: number, option: number, value: number): number {
  const octets = new Slab(4);
  octets.view.setInt32(0, value, true);
  return libcCalls.setsockopt(fd, level, option, octets.address(0, 4), 4);
}

const BUFFERS = {
  receive: [SO_RCVBUFFORCE, SO_RCVBUF],
  send: [SO_SNDBUFFORCE, SO_SNDBUF],
} as const;

/**
 * Octets that may wait in a socket. Root of a user namespace may not go beyond the system's limit, and lives with it.
 * Returns -1 on failure.
 */
export function setBuffer(fd: number, buffer: keyof typeof BUFFERS, length: number): number {
  const [forced, limited] = BUFFERS[buffer];
  const done = setInteger(fd, SOL_SOCKET, forced, length);
  return done >= 0 ? done : setInteger(fd, SOL_SOCKET, limited, length);
}
