/** Sequence numbers of negotiated keys: they end with the process, as the keys do. */

import { ReplayWindow } from "../esp/replay-window.ts";
import type { InboundSequence, OutboundSequence } from "./sequence-store.ts";

/** All numbers there are: the SA itself knows its last one. */
export const EPHEMERAL_OUTBOUND: OutboundSequence = {
  next: 1,
  limit: Number.MAX_SAFE_INTEGER,
  extend: () => undefined,
  release: () => undefined,
};

export function ephemeralInbound(): InboundSequence {
  return { window: new ReplayWindow(), record: () => undefined };
}
