/**
 * Where a home was last, so that a server that starts again knows whom to ask. It is a memory, not a source of truth:
 * what is restored from it is asked before anything is sent to it.
 *
 *     {"home":"alice","address":"203.0.113.9","port":4500,"at":1767225600000}
 */

import { parseIpv4 } from "../../common/ip/address.ts";
import type { Endpoint, TunnelName } from "../../common/tunnel/tunnel.ts";
import type { EntryFormat } from "./home-journal.ts";

/** An endpoint and since when, in wall-clock milliseconds since 1970, the home has it. */
export interface EndpointEntry {
  readonly home: TunnelName;
  readonly endpoint: Endpoint;
  readonly at: number;
}

export const ENDPOINT_ENTRY: EntryFormat<EndpointEntry> = {
  encode: ({ endpoint: { address, port }, at }) => ({ address, port, at }),
  decode(home, { address, port, at }) {
    if (typeof address !== "string" || !isPort(port)) return undefined;
    if (typeof at !== "number" || !Number.isFinite(at)) return undefined;
    return { home, endpoint: { address: parseIpv4(address), port }, at };
  },
};

function isPort(value: unknown): value is number {
  return typeof value === "number" && Number.isInteger(value) && value >= 0 && value <= 0xffff;
}
