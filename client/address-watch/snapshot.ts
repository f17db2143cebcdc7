/** Which IPv4 address, interface and MTU would reach the server, and what differs between two such answers. */

import type { UplinkSnapshot } from "../../common/rtnetlink/uplink.ts";

export type { UplinkSnapshot } from "../../common/rtnetlink/uplink.ts";

export type UplinkDifference = "address" | "interface" | "mtu";

/**
 * What differs; nothing for two equal answers. An interface that was deleted and made again under its old name
 * differs by its index.
 */
export function uplinkDifferences(
  before: UplinkSnapshot | undefined,
  after: UplinkSnapshot | undefined,
): UplinkDifference[] {
  const differences: UplinkDifference[] = [];
  if (before?.address !== after?.address) differences.push("address");
  if (
    before?.interfaceIndex !== after?.interfaceIndex ||
    before?.interfaceName !== after?.interfaceName
  ) {
    differences.push("interface");
  }
  if (before?.mtu !== after?.mtu) differences.push("mtu");
  return differences;
}
