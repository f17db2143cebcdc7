/** The `[keys]` table of both daemons' files: manual keys, RFC 4301 section 4.5.1. */

import type { SecurityAssociationKeys } from "../tunnel/tunnel.ts";

/** Keys that stand in the file, one security association for each direction as the file's owner sees them. */
export interface ManualKeys {
  readonly mode: "manual";
  readonly outbound: SecurityAssociationKeys;
  readonly inbound: SecurityAssociationKeys;
}
