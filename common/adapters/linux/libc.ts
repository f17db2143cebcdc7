/**
 * Linux system calls through koffi. Addresses travel as numbers (user space lies below 2^47) and come from
 * `Slab.address()`, which checks the bounds; nothing outside this folder makes one.
 */

import os from "node:os";
import koffi from "koffi";
import { SystemError } from "../../errors.ts";

const libc = koffi.load(null);
const ADDRESS = "uintptr_t";
const RESULT = "intptr_t";

function bindCall(name: string, result: string, parameters: string[]) {
  return libc.func(name, result, parameters) as (...values: number[]) => number;
}

/** System calls; each returns -1 on failure, `errno()` then says why. */
export const libcCalls = {
  read: bindCall("read", RESULT, ["int", ADDRESS, "size_t"]),
  write: bindCall("write", RESULT, ["int", ADDRESS, "size_t"]),
  writev: bindCall("writev", RESULT, ["int", ADDRESS, "int"]),
  ioctl: bindCall("ioctl", "int", ["int", "unsigned long", ADDRESS]),
  socket: bindCall("socket", "int", ["int", "int", "int"]),
  bind: bindCall("bind", "int", ["int", ADDRESS, "uint32_t"]),
  getsockname: bindCall("getsockname", "int", ["int", ADDRESS, ADDRESS]),
  getsockopt: bindCall("getsockopt", "int", ["int", "int", "int", ADDRESS, ADDRESS]),
  setsockopt: bindCall("setsockopt", "int", ["int", "int", "int", ADDRESS, "uint32_t"]),
  sendmsg: bindCall("sendmsg", RESULT, ["int", ADDRESS, "int"]),
  sendmmsg: bindCall("sendmmsg", "int", ["int", ADDRESS, "uint32_t", "int"]),
  recvmsg: bindCall("recvmsg", RESULT, ["int", ADDRESS, "int"]),
  recvmmsg: bindCall("recvmmsg", "int", ["int", ADDRESS, "uint32_t", "int", ADDRESS]),
  flock: bindCall("flock", "int", ["int", "int"]),
  close: bindCall("close", "int", ["int"]),
};

/** The error number of the last call of `libcCalls`. */
export const errno = (): number => koffi.errno();

/** Where a number has two names Linux's own counts: EAGAIN, not EWOULDBLOCK, and EOPNOTSUPP, not ENOTSUP. */
const NAMES = new Map<number, string>([
  ...Object.entries(os.constants.errno)
    .map(([name, number]): [number, string] => [number, name])
    .reverse(),
  [os.constants.errno.EOPNOTSUPP, "EOPNOTSUPP"],
]);

/** The name of an error number, such as `EPERM`. */
export const errnoName = (number: number): string => NAMES.get(number) ?? `errno ${number}`;

/** Error numbers that the packet path tells apart. */
export const Errno = {
  interrupted: os.constants.errno.EINTR,
  again: os.constants.errno.EAGAIN,
  busy: os.constants.errno.EBUSY,
  invalid: os.constants.errno.EINVAL,
  io: os.constants.errno.EIO,
  messageTooLong: os.constants.errno.EMSGSIZE,
} as const;

/** Returns `result`, or throws what the last call's error number means. `hints` by error name. */
export function checked(
  result: number,
  operation: string,
  hints: Readonly<Record<string, string>> = {},
): number {
  if (result >= 0) return result;
  const code = errnoName(errno());
  const hint = hints[code];
  throw new SystemError(operation, code, hint === undefined ? {} : { hint });
}

/** What to do when the kernel says EPERM or EACCES. */
export const PERMISSION_HINTS = {
  EPERM: "run as root, or with CAP_NET_ADMIN and CAP_NET_RAW",
  EACCES: "run as root, or with CAP_NET_ADMIN and CAP_NET_RAW",
} as const;

export interface Readiness {
  close(): void;
}

/** koffi's types leave out the first argument: 0, or libuv's negative error number. */
const poll = koffi.node.poll as unknown as (
  fd: number,
  options: { readable: true },
  callback: (status: number) => void,
) => Readiness;

/**
 * Calls `listener` on the event loop whenever `fd` can be read; level-triggered. `lost` hears, once, that there is
 * nothing behind the descriptor any more, as when an interface was deleted.
 */
export function onReadable(fd: number, listener: () => void, lost?: () => void): Readiness {
  return poll(fd, { readable: true }, (status) => {
    try {
      if (status >= 0) listener();
      else lost?.();
    } catch (error) {
      // koffi would swallow it, and deafen every descriptor: it must end the process as any mistake of ours.
      setImmediate(() => {
        throw error;
      });
    }
  });
}
