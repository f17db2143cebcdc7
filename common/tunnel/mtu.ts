/**
 * The MTU of a tunnel from that of the uplink: the largest inner packet whose ESP packet, in its IPv4 packet, is
 * not larger than the uplink's MTU.
 *
 *     uplink 1500                                esp                       udp
 *     - IPv4 header (RFC 791)                     20                        20
 *     - UDP header (RFC 3948)                      -                         8
 *     - SPI, sequence number, IV, ICV       GCM 8+8+16   CBC 8+16+16   GCM 32   CBC 40
 *     rounded down to the block (4 or 16)       1448         1440       1440      1424
 *     - pad length, next header                 1446         1438       1438      1422
 */

import { largestPayload } from "../esp/packet.ts";
import { suiteFacts } from "../esp/suite.ts";
import { IPV4_HEADER_LENGTH } from "../ip/ipv4.ts";
import type { Encapsulation, Suite } from "./tunnel.ts";

/** No IPv6 link has less (RFC 8200 section 5); over a smaller uplink the outer packets are fragmented. */
export const MIN_TUNNEL_MTU = 1280;
/** No tunnel has more, so that a sealed packet of any suite fits the packet buffers of 2,048 octets. */
export const MAX_TUNNEL_MTU = 1900;

const UDP_HEADER_LENGTH = 8;

/** In octets, between `MIN_TUNNEL_MTU` and `MAX_TUNNEL_MTU`. */
export function tunnelMtu(uplinkMtu: number, encapsulation: Encapsulation, suite: Suite): number {
  const outer = IPV4_HEADER_LENGTH + (encapsulation === "udp" ? UDP_HEADER_LENGTH : 0);
  const largest = largestPayload(uplinkMtu - outer, suiteFacts(suite).sizes);
  return Math.min(MAX_TUNNEL_MTU, Math.max(MIN_TUNNEL_MTU, largest));
}
