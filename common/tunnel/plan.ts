/** From the tunnels that stand to the tunnels that are wanted. Pure; data planes carry it out. */

import { formatIpv6Prefix } from "../ip/address.ts";
import {
  formatRoute,
  type SecurityAssociationKeys,
  type TunnelName,
  type TunnelSpec,
} from "./tunnel.ts";

export interface TunnelPlan {
  readonly remove: readonly TunnelName[];
  readonly add: readonly TunnelSpec[];
  /** Same keys, encapsulation and interface: addresses, routes, prefixes or MTU differ. */
  readonly change: readonly TunnelSpec[];
}

/** Tunnels that are in both and equal appear in no list: they are left alone. */
export function planTunnels(
  present: readonly TunnelSpec[],
  wanted: readonly TunnelSpec[],
): TunnelPlan {
  const standing = new Map(present.map((spec) => [spec.name, spec]));
  const remove = new Set(standing.keys());
  const add: TunnelSpec[] = [];
  const change: TunnelSpec[] = [];
  for (const spec of wanted) {
    const before = standing.get(spec.name);
    if (before === undefined || identityOf(before) !== identityOf(spec)) {
      add.push(spec);
      continue;
    }
    remove.delete(spec.name);
    if (detailsOf(before) !== detailsOf(spec)) change.push(spec);
  }
  return { remove: [...remove], add, change };
}

/** What cannot change without a new interface or new SAs. Never logged: it holds keys. */
function identityOf(spec: TunnelSpec): string {
  return JSON.stringify([
    spec.interfaceName,
    spec.encapsulation,
    keysOf(spec.outbound),
    keysOf(spec.inbound),
  ]);
}

function detailsOf(spec: TunnelSpec): string {
  return JSON.stringify([
    spec.localAddresses,
    spec.peerLinkLocal,
    spec.remotePrefixes.map(formatIpv6Prefix),
    spec.localPrefixes.map(formatIpv6Prefix),
    spec.routes.map(formatRoute),
    spec.mtu,
    spec.clampMss,
  ]);
}

function keysOf(keys: SecurityAssociationKeys | undefined): unknown[] {
  if (keys === undefined) return [];
  return [
    keys.spi,
    keys.suite,
    keys.extendedSequenceNumbers,
    ...keys.encryptionKey,
    ":",
    ...keys.companion,
  ];
}
