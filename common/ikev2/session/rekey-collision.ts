/** Two rekeys of one SA at the same time: which of the two new ones goes. RFC 7296 sections 2.8.1, 2.8.2. */

import type { Nonces } from "../keys.ts";
import { compareOctets } from "../selectors.ts";

/** Whether the lowest of these four nonces is among `ours`: then the SA made with `ours` goes. */
export function isLowerThan(ours: Nonces, rivals: Nonces): boolean {
  return compareOctets(lowest(ours), lowest(rivals)) < 0;
}

function lowest({ initiator, responder }: Nonces): Uint8Array {
  return compareOctets(initiator, responder) < 0 ? initiator : responder;
}
