/**
 * Where a home was last, so that a server that starts again knows whom to ask, and how it came there, for whoever looks
 * into it later. It is a memory, not a source of truth: what is restored from it is asked before anything is sent to it.
 *
 *     {"home":"alice","address":"203.0.113.9","port":4500,"at":1767225600000,
 *      "moves":17,"from":"203.0.113.8","confirmedInMs":3.4}
 */

import { type Ipv4Address, parseIpv4 } from "../../common/ip/address.ts";
import type { Endpoint, TunnelName } from "../../common/tunnel/tunnel.ts";
import type { EntryFormat } from "./home-journal.ts";

/** An endpoint and since when, in wall-clock milliseconds since 1970, the home has it. */
export interface EndpointEntry {
  readonly home: TunnelName;
  readonly endpoint: Endpoint;
  readonly at: number;
  /** How often it has moved since it became a home; what earlier versions wrote does not say. */
  readonly moves: number;
  /** Where it was before; absent: nowhere. */
  readonly from?: Ipv4Address | undefined;
  /** How long it took to answer there; absent: it has not. */
  readonly confirmedInMs?: number | undefined;
}

export const ENDPOINT_ENTRY: EntryFormat<EndpointEntry> = {
  encode: ({ endpoint: { address, port }, at, moves, from, confirmedInMs }) => ({
    address,
    port,
    at,
    moves,
    from, // JSON leaves out what is undefined
    confirmedInMs,
  }),
  decode(home, { address, port, at, moves = 0, from, confirmedInMs }) {
    if (typeof address !== "string" || !isPort(port) || !isCount(moves)) return undefined;
    if (typeof at !== "number" || !Number.isFinite(at)) return undefined;
    const endpoint = { address: parseIpv4(address), port };
    return {
      home,
      endpoint,
      at,
      moves,
      from: typeof from === "string" ? parseIpv4(from) : undefined,
      confirmedInMs: typeof confirmedInMs === "number" ? confirmedInMs : undefined,
    };
  },
};

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}

function isPort(value: unknown): value is number {
  return typeof value === "number" && Number.isInteger(value) && value >= 0 && value <= 0xffff;
}
