/**
 * The UDP socket of port 4500 through which the kernel takes ESP out of UDP (UDP_ENCAP, RFC 3948): ESP and keepalives
 * never come up here. IKE does, behind four octets of zeros.
 *
 * Without the socket the kernel takes nothing out. So the service manager keeps a copy where it can: then tunnels carry
 * packets while no daemon runs, and what IKE says meanwhile waits for the next.
 */

import { setTimeout as pause } from "node:timers/promises";
import { SystemError } from "../../errors.ts";
import type { Ipv4Address } from "../../ip/address.ts";
import { type Endpoint, UDP_ENCAPSULATION_PORT } from "../../tunnel/tunnel.ts";
import type { DescriptorStore } from "../descriptor-store.ts";
import { DatagramSocket } from "./datagram-socket.ts";
import { isUdpSocketOf, openIpv4Socket } from "./ipv4-socket.ts";
import { checked, libcCalls, PERMISSION_HINTS } from "./libc.ts";
import { IPPROTO_UDP } from "./socket-numbers.ts";
import { setInteger } from "./socket-options.ts";

const UDP_ENCAP = 100;
const UDP_ENCAP_ESPINUDP = 2;
/** What the service manager knows it by. */
const KEPT_NAME = "esp-in-udp";
const RELEASE_MS = 1_000;
const RELEASE_STEP_MS = 10;
/** RFC 3948 section 2.2. */
const NON_ESP_MARKER = new Uint8Array(4);
/** RFC 3948 section 2.3. */
const KEEPALIVE = Uint8Array.of(0xff);

export class UdpEncapsulationSocket {
  /** Hears IKE messages, without marker; while there is no listener they are thrown away. */
  onIke: ((message: Uint8Array, source: Endpoint) => void) | undefined;

  readonly #socket: DatagramSocket;

  /** `local` undefined: any of our addresses. Throws `SystemError`. */
  constructor(local: Ipv4Address | undefined, store?: DescriptorStore) {
    const fd = keptSocket(local, store) ?? openSocket(local);
    store?.keep(KEPT_NAME, fd);
    this.#socket = new DatagramSocket(fd, (datagram, source) => this.#receive(datagram, source));
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
    this.#socket.send(KEEPALIVE, remote);
  }

  /** The marker is put before it. What cannot go is lost, as on the way. */
  sendIke(message: Uint8Array, remote: Endpoint): void {
    this.#socket.send(Uint8Array.of(...NON_ESP_MARKER, ...message), remote);
  }

  close(): void {
    this.#socket.close();
  }

  #receive(datagram: Uint8Array, source: Endpoint): void {
    const marker = datagram.subarray(0, NON_ESP_MARKER.length);
    if (datagram.length <= marker.length || marker.some((octet) => octet !== 0)) return;
    this.onIke?.(datagram.slice(marker.length), source);
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
