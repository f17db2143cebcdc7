/**
 * The ISP has IPv6 of its own, as a second-best default route on both ends: what loses its way into the tunnel would go
 * there in clear.
 */

import { type Capture, type CapturedPacket, EtherType } from "./capture.ts";
import type { LabHome, TunnelLab } from "./tunnel-lab.ts";

/** For the first home of a laboratory, on each of its uplinks and the server's. */
export async function offerIspIpv6(lab: TunnelLab, home: LabHome): Promise<void> {
  await lab.router.run(
    `sysctl -qw net.ipv6.conf.all.forwarding=1
     ip addr add 2001:db8:100::ff/64 dev server nodad
     ip addr add 2001:db8:101::ff/64 dev wan0 nodad
     ip addr add 2001:db8:102::ff/64 dev wan0b nodad`,
  );
  await lab.serverNamespace.run(
    `ip addr add 2001:db8:100::1/64 dev wan nodad
     ip -6 route add default via 2001:db8:100::ff metric 4096`,
  );
  await home.namespace.run(
    `ip addr add 2001:db8:101::7/64 dev wan nodad; ip addr add 2001:db8:102::7/64 dev wan2 nodad
     ip -6 route add default via 2001:db8:101::ff metric 4096
     ip -6 route add default via 2001:db8:102::ff metric 8192`,
  );
}

/** Packets of IPv6 in clear that are not the ISP's own, for people to read. */
export async function strayPackets(captures: readonly Capture[]): Promise<string[]> {
  const packets = (await Promise.all(captures.map((capture) => capture.packets()))).flat();
  return packets
    .filter((packet) => packet.etherType === EtherType.ipv6 && !isOfTheLink(packet))
    .map(describePacket);
}

/** Neighbor Discovery and the like, which no router forwards: between link-local addresses, or the ISP's own. */
function isOfTheLink({ octets }: CapturedPacket): boolean {
  const source = Buffer.from(octets.subarray(8, 24)).toString("hex");
  const destination = Buffer.from(octets.subarray(24, 40)).toString("hex");
  const isLinkScope = (address: string) =>
    /^fe[89ab]/.test(address) || address.startsWith("ff02") || /^0{32}$/.test(address);
  const isIsps = (address: string) => /^20010db8010[012]0000/.test(address);
  return [source, destination].every((address) => isLinkScope(address) || isIsps(address));
}

export function describePacket({ etherType, octets }: CapturedPacket): string {
  return `${etherType.toString(16)} ${Buffer.from(octets.subarray(0, 64)).toString("hex")}`;
}
