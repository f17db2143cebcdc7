/**
 * Sends octets as they are told, from the namespace it runs in. Reads a line of JSON, `RawPacket`, for each and answers
 * with a line when it is sent. The kernel writes the headers below, and the checksum of ICMPv6.
 */

import { createSocket as createUdpSocket } from "node:dgram";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { AddressFamily, createSocket, Protocol } from "raw-socket";

export type RawPacket =
  | { readonly kind: "esp"; readonly hex: string; readonly to: string }
  /** UDP with the header as told, so that it may come from any port, such as 0. */
  | { readonly kind: "udp-header"; readonly hex: string; readonly to: string }
  /** From port 4500 to port 4500. */
  | { readonly kind: "udp"; readonly hex: string; readonly to: string }
  /** To a link-local address with its interface, `fe80::5%ht0`. */
  | {
      readonly kind: "icmpv6";
      readonly hex: string;
      readonly to: string;
      readonly hopLimit: number;
    };

const PROTOCOLS = { esp: 50, "udp-header": 17, icmpv6: Protocol.ICMPv6 } as const;
const PORT = 4500;
const IPPROTO_IPV6 = 41;
const IPV6_UNICAST_HOPS = 16;
const IPV6_MULTICAST_HOPS = 18;

async function send(packet: RawPacket): Promise<void> {
  const octets = Buffer.from(packet.hex, "hex");
  if (packet.kind === "udp") {
    const socket = createUdpSocket("udp4");
    socket.bind(PORT);
    await once(socket, "listening");
    await new Promise<void>((resolve, reject) => {
      socket.send(octets, PORT, packet.to, (error) => (error ? reject(error) : resolve()));
    });
    socket.close();
    await once(socket, "close");
    return;
  }
  const isIpv6 = packet.kind === "icmpv6";
  const socket = createSocket({
    protocol: PROTOCOLS[packet.kind],
    addressFamily: isIpv6 ? AddressFamily.IPv6 : AddressFamily.IPv4,
  });
  if (isIpv6) {
    socket.setOption(IPPROTO_IPV6, IPV6_UNICAST_HOPS, packet.hopLimit);
    socket.setOption(IPPROTO_IPV6, IPV6_MULTICAST_HOPS, packet.hopLimit);
  }
  await new Promise<void>((resolve, reject) => {
    socket.send(octets, 0, octets.length, packet.to, (error) =>
      error ? reject(error) : resolve(),
    );
  });
  socket.close();
}

process.stdout.write("ready\n");
for await (const line of createInterface({ input: process.stdin })) {
  const answer = await send(JSON.parse(line) as RawPacket).then(
    () => "sent",
    (error: Error) => error.message,
  );
  process.stdout.write(`${answer}\n`);
}
