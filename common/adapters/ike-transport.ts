/**
 * The two ports of IKE: UDP 500, and UDP 4500, which the data plane's ESP shares with it behind a marker (RFC 7296
 * section 2.23, RFC 3948). Who only begins exchanges needs not have port 500 itself.
 */

import { type BindOptions, createSocket, type Socket } from "node:dgram";
import { SystemError } from "../errors.ts";
import { type Ipv4Address, parseIpv4 } from "../ip/address.ts";
import type { KeyedDataPlane } from "../tunnel/data-plane.ts";
import { type Endpoint, IKE_PORT } from "../tunnel/tunnel.ts";
import { openIpv4Socket } from "./linux/ipv4-socket.ts";

const HINTS: Readonly<Record<string, string>> = {
  EADDRINUSE: "another program has it: hometun running already, or an IPsec daemon",
  EACCES: "run as root, or with CAP_NET_BIND_SERVICE",
};

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

export class IkeTransport {
  readonly #socket: Socket;
  readonly #keyed: KeyedDataPlane;

  private constructor(socket: Socket, keyed: KeyedDataPlane) {
    this.#socket = socket;
    this.#keyed = keyed;
  }

  /** Throws `SystemError`. */
  static async open(parts: {
    /** Our address and port 500; undefined: any address, any port. */
    readonly local: Ipv4Address | undefined;
    readonly keyed: KeyedDataPlane;
    readonly onMessage: (message: IkeMessage) => void;
    /** Hears what ends the transport later. */
    readonly failed: (error: unknown) => void;
  }): Promise<IkeTransport> {
    const { local, keyed, onMessage, failed } = parts;
    const socket = createSocket("udp4");
    if (local === undefined) await bound(socket, { port: 0 });
    else {
      const fd = openIpv4Socket({
        kind: "udp",
        address: local,
        port: IKE_PORT,
        receiveBuffer: WAITING_LENGTH,
        operation: `open UDP port ${IKE_PORT}`,
        hints: HINTS,
      });
      await bound(socket, { fd });
    }
    socket.on("error", failed);
    socket.on("message", (datagram, { address, port }) => {
      const remote = { address: parseIpv4(address), port };
      onMessage({ message: Uint8Array.from(datagram), remote, encapsulated: false });
    });
    keyed.listenForIke((datagram) => onMessage({ ...datagram, encapsulated: true }));
    return new IkeTransport(socket, keyed);
  }

  /** Our port of IKE without encapsulation: NAT detection holds it. */
  get port(): number {
    return this.#socket.address().port;
  }

  /** What cannot go is lost, as on the way: the sender asks again. */
  send({ message, remote, encapsulated }: IkeMessage): void {
    if (encapsulated) this.#keyed.sendIke({ message, remote });
    else this.#socket.send(message, remote.port, remote.address, () => undefined);
  }

  sendKeepalive(remote: Endpoint): void {
    this.#keyed.sendIkeKeepalive(remote);
  }

  close(): void {
    this.#socket.close();
  }
}

/** Throws `SystemError`. */
function bound(socket: Socket, where: BindOptions): Promise<void> {
  return new Promise((resolve, reject) => {
    const fail = (error: NodeJS.ErrnoException) => {
      reject(new SystemError("open a UDP port for IKE", error.code ?? "unknown", { cause: error }));
    };
    socket.once("error", fail);
    socket.bind(where, () => {
      socket.off("error", fail);
      resolve();
    });
  });
}
