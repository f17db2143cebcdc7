/**
 * The UDP socket of port 4500 through which the kernel takes ESP out of UDP (UDP_ENCAP, RFC 3948): ESP and keepalives
 * never come up here. IKE does, behind four octets of zeros.
 *
 * Without the socket the kernel takes nothing out. So the service manager keeps a copy where it can: then tunnels carry
 * packets while no daemon runs, and what IKE says meanwhile waits for the next.
 */

import { setTimeout as pause } from "node:timers/promises";
import { SystemError } from "../../errors.ts";
import { formatIpv4, type Ipv4Address, ipv4Octets } from "../../ip/address.ts";
import { type Endpoint, UDP_ENCAPSULATION_PORT } from "../../tunnel/tunnel.ts";
import type { DescriptorStore } from "../descriptor-store.ts";
import { isUdpSocketOf, openIpv4Socket } from "./ipv4-socket.ts";
import { checked, libcCalls, onReadable, PERMISSION_HINTS, type Readiness } from "./libc.ts";
import { Slab } from "./slab.ts";
import { AF_INET, IPPROTO_UDP } from "./socket-numbers.ts";
import { setInteger } from "./socket-options.ts";

const UDP_ENCAP = 100;
const UDP_ENCAP_ESPINUDP = 2;
const BATCH = 64; // datagrams a turn of the event loop
/** What the service manager knows it by. */
const KEPT_NAME = "esp-in-udp";
const RELEASE_MS = 1_000;
const RELEASE_STEP_MS = 10;

// offsets in the one slab: sockaddr_in, msghdr, iovec, datagram
const NAME = 0;
const NAME_LENGTH = 16;
const HEADER = 16;
const HEADER_LENGTH = 56;
const VECTOR = 72;
const DATAGRAM = 88;
/** IKE messages are smaller, or come in fragments (RFC 7383). */
const DATAGRAM_LENGTH = 8192;
/** RFC 3948 section 2.2. */
const NON_ESP_MARKER = new Uint8Array(4);
/** RFC 3948 section 2.3. */
const KEEPALIVE = Uint8Array.of(0xff);

export class UdpEncapsulationSocket {
  /** Hears IKE messages, without marker; while there is no listener they are thrown away. */
  onIke: ((message: Uint8Array, source: Endpoint) => void) | undefined;

  readonly #fd: number;
  readonly #slab = new Slab(DATAGRAM + DATAGRAM_LENGTH);
  readonly #readiness: Readiness;

  /** `local` undefined: any of our addresses. Throws `SystemError`. */
  constructor(local: Ipv4Address | undefined, store?: DescriptorStore) {
    this.#fd = keptSocket(local, store) ?? openSocket(local);
    store?.keep(KEPT_NAME, this.#fd);
    this.#readiness = onReadable(this.#fd, () => this.#receive());
  }

  /**
   * The port is wanted for something else than what an earlier process kept for it. Resolves when it is free, or after a
   * second: the service manager closes its copy when it gets to it.
   */
  static async release(local: Ipv4Address | undefined, store: DescriptorStore): Promise<void> {
    const kept = store.take(KEPT_NAME);
    if (kept === undefined) return;
    libcCalls.close(kept);
    store.drop(KEPT_NAME);
    for (let waited = 0; waited < RELEASE_MS && !isFree(local); waited += RELEASE_STEP_MS) {
      await pause(RELEASE_STEP_MS);
    }
  }

  /** Keeps a NAT's mapping alive. The peer ignores it. */
  sendKeepalive(remote: Endpoint): void {
    this.#send(KEEPALIVE, remote);
  }

  /** The marker is put before it. What cannot go is lost, as on the way. */
  sendIke(message: Uint8Array, remote: Endpoint): void {
    this.#send(Uint8Array.of(...NON_ESP_MARKER, ...message), remote);
  }

  close(): void {
    this.#readiness.close();
    libcCalls.close(this.#fd);
  }

  #setAddress(address: Ipv4Address, port: number): void {
    this.#slab.view.setUint16(NAME, AF_INET, true);
    this.#slab.view.setUint16(NAME + 2, port);
    this.#slab.octets.set(ipv4Octets(address), NAME + 4);
  }

  #send(datagram: Uint8Array, remote: Endpoint): void {
    if (datagram.length > DATAGRAM_LENGTH) {
      throw new RangeError(`a datagram of ${datagram.length} octets`);
    }
    this.#setAddress(remote.address, remote.port);
    this.#slab.octets.set(datagram, DATAGRAM);
    libcCalls.sendmsg(this.#fd, this.#header(datagram.length), 0);
  }

  #receive(): void {
    const { octets, view } = this.#slab;
    for (let count = 0; count < BATCH; count++) {
      const length = libcCalls.recvmsg(this.#fd, this.#header(DATAGRAM_LENGTH), 0);
      if (length < 0) return;
      const marker = octets.subarray(DATAGRAM, DATAGRAM + NON_ESP_MARKER.length);
      if (length <= marker.length || marker.some((octet) => octet !== 0)) continue;
      const address = formatIpv4(octets.subarray(NAME + 4, NAME + 8));
      const message = octets.slice(DATAGRAM + marker.length, DATAGRAM + length);
      this.onIke?.(message, { address, port: view.getUint16(NAME + 2) });
    }
  }

  /** `struct msghdr` of one datagram. */
  #header(length: number): number {
    const slab = this.#slab;
    slab.octets.fill(0, HEADER, DATAGRAM);
    slab.setPointer(HEADER, slab.address(NAME, NAME_LENGTH));
    slab.words32[(HEADER + 8) >> 2] = NAME_LENGTH;
    slab.setPointer(HEADER + 16, slab.address(VECTOR, 16));
    slab.setPointer(HEADER + 24, 1);
    slab.setPointer(VECTOR, slab.address(DATAGRAM, length));
    slab.setPointer(VECTOR + 8, length);
    return slab.address(HEADER, HEADER_LENGTH);
  }
}

function openSocket(local: Ipv4Address | undefined): number {
  const operation = `receive ESP in UDP on ${local ?? "any address"} port ${UDP_ENCAPSULATION_PORT}`;
  const hints = {
    ...PERMISSION_HINTS,
    EADDRINUSE: "another IPsec daemon has the port",
    EADDRNOTAVAIL: "this machine does not have the address",
    ENOPROTOOPT: "this kernel cannot take ESP out of UDP",
  };
  return openIpv4Socket({
    kind: "udp",
    address: local,
    port: UDP_ENCAPSULATION_PORT,
    prepare: (fd) => {
      checked(setInteger(fd, IPPROTO_UDP, UDP_ENCAP, UDP_ENCAP_ESPINUDP), operation, hints);
    },
    operation,
    hints,
  });
}

/** What an earlier process kept, if it is what we would open. */
function keptSocket(
  local: Ipv4Address | undefined,
  store: DescriptorStore | undefined,
): number | undefined {
  const kept = store?.take(KEPT_NAME);
  if (kept === undefined || isUdpSocketOf(kept, local, UDP_ENCAPSULATION_PORT)) return kept;
  libcCalls.close(kept);
  store?.drop(KEPT_NAME);
  return undefined;
}

function isFree(local: Ipv4Address | undefined): boolean {
  try {
    libcCalls.close(openSocket(local));
    return true;
  } catch (error) {
    return !(error instanceof SystemError && error.code === "EADDRINUSE");
  }
}
