/** What both daemons tell of negotiated keys. */

import type { Fact } from "../text/table.ts";
import { formatDuration, formatOctets, formatQuantity } from "../text/units.ts";
import type { AssociationUse } from "../tunnel/data-plane.ts";
import type { Suite } from "../tunnel/tunnel.ts";
import { describeSince, type Reading } from "./describe.ts";
import type { IkeSaStatus } from "./ike-ledger.ts";

export interface KeyStatus {
  /** `none`: the two have not agreed on keys, or not since one of them began anew. */
  readonly state: "none" | "established";
  /** Wall-clock milliseconds since 1970. */
  readonly since: number;
  /** IKE SAs with the other end: two while the home authenticates again, none when the keys are an earlier process's. */
  readonly ikeSas: number;
  /** The same, the newest last. */
  readonly ike: readonly IkeSaStatus[];
  readonly associations: readonly AssociationStatus[];
  /** Pairs of SAs that followed another. */
  readonly rekeys: number;
}

/** A pair of ESP SAs, as it was made. */
export interface NegotiatedPair {
  readonly suite: Suite;
  /** When. Wall-clock milliseconds since 1970. */
  readonly since: number;
}

export interface AssociationStatus extends AssociationUse, NegotiatedPair {}

/** Uses with the pairs of SAs they are of, by inbound SPI. */
export function associationStatuses(
  uses: readonly AssociationUse[],
  pairs: ReadonlyMap<number, NegotiatedPair>,
): AssociationStatus[] {
  return uses.flatMap((use) => {
    const pair = pairs.get(use.spi);
    return pair === undefined ? [] : [{ ...use, ...pair }];
  });
}

export function describeKeys(status: KeyStatus, reading: Reading): Fact[] {
  const { ike, associations } = status;
  return [
    ["Keys", describeState(status, reading)],
    ...ike.map((each): Fact => ["", describeIkeSa(each, reading)]),
    ...associations.map((each): Fact => ["", describeAssociation(each, reading)]),
  ];
}

function describeState({ state, since, ikeSas, rekeys }: KeyStatus, reading: Reading): string {
  const when = describeSince(since, reading);
  if (state === "none") return `none negotiated, since ${when}`;
  if (ikeSas === 0)
    return `kept from before the restart at ${when}, the home is told to come for others`;
  return `${formatQuantity(ikeSas, "IKE SA")}, since ${when}, ${formatQuantity(rekeys, "renewal")}`;
}

function describeIkeSa({ suite, since, rekeys }: IkeSaStatus, { now }: Reading): string {
  return `IKE ${suite}, ${formatDuration(now - since)} old, ${formatQuantity(rekeys, "renewal")}`;
}

function describeAssociation(association: AssociationStatus, { now }: Reading): string {
  const { spi, suite, since, packetsLeft, octetsLeft } = association;
  const use = describeUse(association);
  const left = `${formatQuantity(packetsLeft, "packet")} or ${formatOctets(octetsLeft)} until renewal`;
  const age = `${formatDuration(now - since)} old`;
  return `SPI 0x${spi.toString(16).padStart(8, "0")} ${suite} ${use}, ${age}, ${left}`;
}

function describeUse({ isSentWith, multicast }: AssociationStatus): string {
  if (multicast === "inbound") return "receives multicast";
  if (multicast === "outbound") return isSentWith ? "sends multicast" : "for multicast";
  return isSentWith ? "sends and receives" : "receives";
}
