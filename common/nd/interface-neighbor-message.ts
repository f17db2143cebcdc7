/** A Neighbor Discovery message as a socket for all interfaces hears it, RFC 3542. */

import type { ReceivedNeighborMessage } from "./accept.ts";

export interface InterfaceNeighborMessage extends ReceivedNeighborMessage {
  readonly interfaceIndex: number;
  /** The message was longer than any honest one and is not whole. */
  readonly truncated: boolean;
}
