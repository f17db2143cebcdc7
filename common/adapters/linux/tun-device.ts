/**
 * TUN interfaces (Linux Documentation/networking/tuntap.rst) with virtio headers: the kernel hands over and
 * takes TCP and UDP super-packets of up to 64 KiB with their checksums still to be made.
 */

import { closeSync, constants, openSync } from "node:fs";
import { SystemError } from "../../errors.ts";
import { VIRTIO_NET_HEADER } from "../../offload/virtio-net-header.ts";
import { checked, libcCalls, PERMISSION_HINTS } from "./libc.ts";
import { Slab } from "./slab.ts";

const DEVICE = "/dev/net/tun";
const TUNSETIFF = 0x400454ca;
const TUNSETPERSIST = 0x400454cb;
const TUNSETOFFLOAD = 0x400454d0;
const TUNSETVNETHDRSZ = 0x400454d8;
const IFF_TUN = 0x0001;
const IFF_NO_PI = 0x1000;
const IFF_VNET_HDR = 0x4000;
const TUN_F_CSUM = 0x01;
const TUN_F_TSO6 = 0x04;
const TUN_F_USO4 = 0x20;
const TUN_F_USO6 = 0x40;
const IFREQ_LENGTH = 40;
const IFREQ_FLAGS = 16; // after IFNAMSIZ octets of name
const IOVEC = 16; // struct iovec

/**
 * Creates the interface, or takes over the one a killed daemon left behind, and returns its file descriptor,
 * non-blocking. The interface outlives the descriptor (`TUNSETPERSIST`), so that addresses and routes stand, and
 * packets for the tunnel go nowhere rather than elsewhere in clear, until `removeTun` or a restart.
 * Throws `SystemError`.
 */
export function openTun(name: string): number {
  const operation = `open the tunnel interface ${name}`;
  const fd = openDevice(operation);
  try {
    const request = new Slab(IFREQ_LENGTH);
    request.octets.set(new TextEncoder().encode(name));
    request.view.setUint16(IFREQ_FLAGS, IFF_TUN | IFF_NO_PI | IFF_VNET_HDR, true);
    checked(libcCalls.ioctl(fd, TUNSETIFF, request.address(0, IFREQ_LENGTH)), operation, {
      ...PERMISSION_HINTS,
      EBUSY: "another process holds it; is hometun running already?",
      EINVAL: "an interface of that name exists and is not a TUN interface",
    });
    const size = new Slab(4);
    size.view.setInt32(0, VIRTIO_NET_HEADER, true);
    checked(libcCalls.ioctl(fd, TUNSETVNETHDRSZ, size.address(0, 4)), operation);
    // UDP segmentation came with Linux 6.2; older kernels refuse the whole set.
    const basic = TUN_F_CSUM | TUN_F_TSO6;
    if (libcCalls.ioctl(fd, TUNSETOFFLOAD, basic | TUN_F_USO4 | TUN_F_USO6) < 0) {
      checked(libcCalls.ioctl(fd, TUNSETOFFLOAD, basic), operation);
    }
    checked(libcCalls.ioctl(fd, TUNSETPERSIST, 1), operation);
    return fd;
  } catch (error) {
    closeSync(fd);
    throw error;
  }
}

/**
 * Reads one packet, its virtio header before `offset`; `capacity` octets of it at most. Returns its length, or -1
 * when there is nothing to read now.
 */
export function readTun(fd: number, memory: Slab, offset: number, capacity: number): number {
  const at = offset - VIRTIO_NET_HEADER;
  const room = capacity + VIRTIO_NET_HEADER;
  const length = libcCalls.read(fd, memory.address(at, room), room);
  return length < VIRTIO_NET_HEADER ? -1 : length - VIRTIO_NET_HEADER;
}

/** Hands packets to TUN interfaces out of one memory, each with the virtio header that lies before it. */
export class TunWriter {
  readonly #memory: Slab;
  readonly #iovecs: Slab;
  readonly #most: number;

  /** A merged packet has at most `pieces` pieces. */
  constructor(memory: Slab, pieces: number) {
    this.#memory = memory;
    this.#most = pieces;
    this.#iovecs = new Slab(pieces * IOVEC);
  }

  /** False when the interface did not take it. */
  write(fd: number, offset: number, length: number): boolean {
    const at = offset - VIRTIO_NET_HEADER;
    const size = length + VIRTIO_NET_HEADER;
    return libcCalls.write(fd, this.#memory.address(at, size), size) >= 0;
  }

  /** One packet in pieces; only the first has a virtio header before it. */
  writeMerged(fd: number, count: number, offsets: Int32Array, lengths: Int32Array): boolean {
    if (count < 1 || count > this.#most) return false;
    for (let index = 0; index < count; index++) {
      const extra = index === 0 ? VIRTIO_NET_HEADER : 0;
      const offset = (offsets[index] ?? 0) - extra;
      const length = (lengths[index] ?? 0) + extra;
      this.#iovecs.setPointer(index * IOVEC, this.#memory.address(offset, length));
      this.#iovecs.setPointer(index * IOVEC + 8, length);
    }
    return libcCalls.writev(fd, this.#iovecs.address(0, count * IOVEC), count) >= 0;
  }
}

/** Closes the descriptor; the interface stays. Does nothing for a descriptor that is none. */
export function closeTun(fd: number): void {
  if (fd >= 0) closeSync(fd);
}

/** Closes the descriptor and removes the interface with its addresses and routes. */
export function removeTun(fd: number): void {
  libcCalls.ioctl(fd, TUNSETPERSIST, 0);
  closeSync(fd);
}

function openDevice(operation: string): number {
  try {
    return openSync(DEVICE, constants.O_RDWR | constants.O_NONBLOCK);
  } catch (cause) {
    const code = (cause as NodeJS.ErrnoException).code ?? "unknown";
    const missing = `${DEVICE} is missing: load it with \`modprobe tun\`, or create it with \`mknod ${DEVICE} c 10 200\``;
    const hint =
      code === "ENOENT" || code === "ENXIO" || code === "ENODEV" ? missing : PERMISSION_HINTS.EPERM;
    throw new SystemError(operation, code, { cause, hint });
  }
}
