/** Homes for a server with many of them, without configuration: tunnels as the data plane is given them, by number. */

import { type Ipv6Address, parseIpv6Prefix } from "../../common/ip/address.ts";
import type { TunnelName, TunnelSpec } from "../../common/tunnel/tunnel.ts";

/** Octets, of each tunnel. */
export const MANY_TUNNELS_MTU = 1400;

/** The tunnel of home `number`, from 1 to 65,535, as its server has it. */
export function tunnelAtServer(
  number: number,
): TunnelSpec & Required<Pick<TunnelSpec, "outbound" | "inbound">> {
  const hex = number.toString(16);
  const keys = (spi: number) =>
    ({
      spi,
      suite: "aes-gcm-128",
      encryptionKey: new Uint8Array(16).fill(number),
      companion: new Uint8Array(4).fill(number >> 8),
      extendedSequenceNumbers: true,
    }) as const;
  const prefix = parseIpv6Prefix(`2001:db8:${hex}::/48`);
  return {
    name: `home-${number}` as TunnelName,
    interfaceName: `ht-${number}`,
    encapsulation: "esp",
    localAddresses: [`fe80::5:${hex}` as Ipv6Address],
    peerLinkLocal: `fe80::c:${hex}` as Ipv6Address,
    remotePrefixes: [prefix],
    localPrefixes: [parseIpv6Prefix("::/0")],
    routes: [prefix],
    mtu: MANY_TUNNELS_MTU,
    clampMss: false,
    outbound: keys(0x10_0000 + number),
    inbound: keys(0x20_0000 + number),
  };
}
