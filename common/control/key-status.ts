/** What both daemons tell of negotiated keys. */

import type { Fact } from "../text/table.ts";
import { formatOctets, formatQuantity } from "../text/units.ts";
import type { AssociationUse } from "../tunnel/data-plane.ts";
import type { Suite } from "../tunnel/tunnel.ts";
import { describeSince, type Reading } from "./describe.ts";

export interface KeyStatus {
  /** `none`: the two have not agreed on keys, or not since one of them began anew. */
  readonly state: "none" | "established";
  /** Wall-clock milliseconds since 1970. */
  readonly since: number;
  /** IKE SAs with the other end: two while the home authenticates again. */
  readonly ikeSas: number;
  readonly associations: readonly AssociationStatus[];
  /** Pairs of SAs that followed another. */
  readonly rekeys: number;
}

/** A pair of ESP SAs. */
export interface AssociationStatus extends AssociationUse {
  readonly suite: Suite;
}

/** Uses with the suites that belong to them. */
export function associationStatuses(
  uses: readonly AssociationUse[],
  suites: ReadonlyMap<number, Suite>,
): AssociationStatus[] {
  return uses.flatMap((use) => {
    const suite = suites.get(use.spi);
    return suite === undefined ? [] : [{ ...use, suite }];
  });
}

export function describeKeys(status: KeyStatus, reading: Reading): Fact[] {
  const { state, since, ikeSas, associations, rekeys } = status;
  const summary =
    state === "none"
      ? `none negotiated, since ${describeSince(since, reading)}`
      : `${formatQuantity(ikeSas, "IKE SA")}, since ${describeSince(since, reading)}, ${formatQuantity(rekeys, "renewal")}`;
  return [["Keys", summary], ...associations.map((each): Fact => ["", describeAssociation(each)])];
}

function describeAssociation(association: AssociationStatus): string {
  const { spi, suite, isSentWith, packetsLeft, octetsLeft } = association;
  const use = isSentWith ? "sends and receives" : "receives";
  const left = `${formatQuantity(packetsLeft, "packet")} or ${formatOctets(octetsLeft)} until renewal`;
  return `SPI 0x${spi.toString(16).padStart(8, "0")} ${suite} ${use}, ${left}`;
}
