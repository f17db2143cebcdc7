/**
 * The two ports of IKE: UDP 500, and UDP 4500, which the data plane's ESP shares with it behind a marker (RFC 7296
 * section 2.23, RFC 3948). Who only begins exchanges needs not have port 500 itself.
 */

import type { Ipv4Address } from "../ip/address.ts";
import type { KeyedDataPlane } from "../tunnel/data-plane.ts";
import { type Endpoint, IKE_PORT } from "../tunnel/tunnel.ts";
import { DatagramSocket } from "./linux/datagram-socket.ts";
import { openIpv4Socket, portOf } from "./linux/ipv4-socket.ts";

const HINTS: Readonly<Record<string, string>> = {
  EADDRINUSE: "another program has it: hometun running already, or an IPsec daemon",
  EACCES: "run as root, or with CAP_NET_BIND_SERVICE",
};
const absentAddress = (address: Ipv4Address) =>
  `this machine does not have the address ${address}: see \`address\` in server.toml`;

/**
 * Octets of messages that may wait for their turn at port 500: after a power cut thousands of homes begin at once, and
 * who is not heard repeats itself half a second later and then ever more seldom.
 */
const WAITING_LENGTH = 2 << 20;

/** A message, without marker, and the far end of its way. */
export interface IkeMessage {
  readonly message: Uint8Array;
  readonly remote: Endpoint;
  /** On UDP 4500. */
  readonly encapsulated: boolean;
}

/** The descriptor of a socket at port 500 of our address; undefined: at any address, any port. Throws `SystemError`. */
export function openIkePort(local: Ipv4Address | undefined): number {
  return openIpv4Socket({
    kind: "udp",
    address: local,
    port: local === undefined ? 0 : IKE_PORT,
    receiveBuffer: WAITING_LENGTH,
    operation: local === undefined ? "open a UDP port for IKE" : `open UDP port ${IKE_PORT}`,
    hints: local === undefined ? HINTS : { ...HINTS, EADDRNOTAVAIL: absentAddress(local) },
  });
}

export class IkeTransport {
  /** Our port of IKE without encapsulation: NAT detection holds it. */
  readonly port: number;
  readonly #socket: DatagramSocket;
  readonly #keyed: KeyedDataPlane;

  /** Throws `SystemError`. */
  constructor(parts: {
    /** Our address and port 500; undefined: any address, any port. */
    readonly local: Ipv4Address | undefined;
    readonly keyed: KeyedDataPlane;
    readonly onMessage: (message: IkeMessage) => void;
  }) {
    const { local, keyed } = parts;
    // Port 0 is nobody's: it cannot be answered.
    const onMessage = (message: IkeMessage) => {
      if (message.remote.port !== 0) parts.onMessage(message);
    };
    const fd = openIkePort(local);
    this.port = portOf(fd);
    this.#keyed = keyed;
    this.#socket = new DatagramSocket(fd, (datagram, remote) =>
      onMessage({ message: datagram.slice(), remote, encapsulated: false }),
    );
    keyed.listenForIke((datagram) => onMessage({ ...datagram, encapsulated: true }));
  }

  /** What cannot go is lost, as on the way: the sender asks again. */
  send({ message, remote, encapsulated }: IkeMessage): void {
    if (encapsulated) this.#keyed.sendIke({ message, remote });
    else this.#socket.send(message, remote);
  }

  sendKeepalive(remote: Endpoint): void {
    this.#keyed.sendIkeKeepalive(remote);
  }

  close(): void {
    this.#socket.close();
  }
}
