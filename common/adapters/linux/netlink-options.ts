/** Socket options of netlink sockets, netlink(7). */

import { checked, libcCalls } from "./libc.ts";
import { Slab } from "./slab.ts";
import { SO_RCVBUFFORCE, SOL_SOCKET } from "./socket-numbers.ts";

const RECEIVE_BUFFER = 4 * 2 ** 20; // octets; takes memory only while messages wait
const SOL_NETLINK = 270;
const NETLINK_NO_ENOBUFS = 5;
const NETLINK_CAP_ACK = 10;
const NETLINK_EXT_ACK = 11;
const NETLINK_GET_STRICT_CHK = 12;

/** Of a netlink socket, whoever opened it. Throws `SystemError`. */
export function setNetlinkOptions(fd: number, operation: string): void {
  // An overrun of the receive buffer (ENOBUFS) aborts Node inside the package, so the kernel must not report it.
  // Nothing is lost by that: messages are dropped only while others wait to be read, and whoever reads those asks
  // for the present state afterwards.
  checked(setOption(fd, SOL_NETLINK, NETLINK_NO_ENOBUFS, 1), operation);
  // The rest makes errors better and may be missing: old kernels, no CAP_NET_ADMIN.
  setOption(fd, SOL_NETLINK, NETLINK_EXT_ACK, 1);
  setOption(fd, SOL_NETLINK, NETLINK_CAP_ACK, 1);
  setOption(fd, SOL_NETLINK, NETLINK_GET_STRICT_CHK, 1);
  setOption(fd, SOL_SOCKET, SO_RCVBUFFORCE, RECEIVE_BUFFER);
}

function setOption(fd: number, level: number, option: number, value: number): number {
  const slab = new Slab(4);
  slab.view.setInt32(0, value, true);
  return libcCalls.setsockopt(fd, level, option, slab.address(0, 4), 4);
}
