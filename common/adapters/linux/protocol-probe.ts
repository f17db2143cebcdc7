/** Asks whether packets of an IPv4 protocol are refused on the way to somebody, or by the one who gets them. */

import { setTimeout as pause } from "node:timers/promises";
import { type Ipv4Address, ipv4Octets } from "../../ip/address.ts";
import { openIpv4Socket, SOCKADDR_IN_LENGTH } from "./ipv4-socket.ts";
import { checked, Errno, errno, errnoName, libcCalls, PERMISSION_HINTS } from "./libc.ts";
import { Slab } from "./slab.ts";
import { AF_INET } from "./socket-numbers.ts";
import { setInteger } from "./socket-options.ts";

const IPPROTO_IP = 0;
const IP_RECVERR = 11;

// offsets in the one slab: sockaddr_in, msghdr, iovec, packet
const NAME = 0;
const HEADER = 16;
const HEADER_LENGTH = 56;
const VECTOR = 72;
const PACKET = 88;

/**
 * Sends one packet, and waits so many milliseconds for an ICMP error: its error number's name, such as `ENOPROTOOPT` for
 * "protocol unreachable" (RFC 792), or undefined. Rejects with `SystemError`.
 */
export async function refusalOf(
  protocol: number,
  to: Ipv4Address,
  packet: Uint8Array,
  patienceMs: number,
): Promise<string | undefined> {
  const operation = `send a packet of IPv4 protocol ${protocol} to ${to}`;
  const fd = openIpv4Socket({
    kind: { protocol },
    prepare: (opened) => {
      checked(setInteger(opened, IPPROTO_IP, IP_RECVERR, 1), operation);
    },
    operation,
    hints: PERMISSION_HINTS,
  });
  try {
    const slab = new Slab(PACKET + packet.length);
    slab.view.setUint16(NAME, AF_INET, true);
    slab.octets.set(ipv4Octets(to), NAME + 4);
    slab.octets.set(packet, PACKET);
    slab.setPointer(HEADER, slab.address(NAME, SOCKADDR_IN_LENGTH));
    slab.words32[(HEADER + 8) >> 2] = SOCKADDR_IN_LENGTH;
    slab.setPointer(HEADER + 16, slab.address(VECTOR, 16));
    slab.setPointer(HEADER + 24, 1);
    slab.setPointer(VECTOR, slab.address(PACKET, packet.length));
    slab.setPointer(VECTOR + 8, packet.length);
    checked(libcCalls.sendmsg(fd, slab.address(HEADER, HEADER_LENGTH), 0), operation);
    await pause(patienceMs);
    // Packets of the protocol from others may lie before the error; errors come first.
    const received = libcCalls.recvmsg(fd, slab.address(HEADER, HEADER_LENGTH), 0);
    const number = received < 0 ? errno() : Errno.again;
    return number === Errno.again ? undefined : errnoName(number);
  } finally {
    libcCalls.close(fd);
  }
}
