/**
 * What was told to the hosts of each LAN, kept in the state directory, so that a home that got another prefix while
 * it was off can take back the old one (RFC 9096 section 3.5). Instants are wall-clock milliseconds since 1970.
 */

import { MalformedError } from "../../common/errors.ts";
import { formatIpv6Prefix, type Ipv6Prefix, parseIpv6Prefix } from "../../common/ip/address.ts";

const VERSION = 1;

/** A prefix that hosts of a LAN may believe in. */
export interface ToldPrefix {
  readonly interfaceName: string;
  readonly prefix: Ipv6Prefix;
  /** Until then; absent while it is told again and again. */
  readonly until?: number | undefined;
}

/** What stands in a file. A damaged one tells nothing: undefined. */
export function parseToldPrefixes(text: string): ToldPrefix[] | undefined {
  try {
    const document = JSON.parse(text) as { version?: unknown; told?: unknown } | null;
    if (document?.version !== VERSION || !Array.isArray(document.told)) return undefined;
    return document.told.map(readToldPrefix);
  } catch (error) {
    if (error instanceof SyntaxError || error instanceof MalformedError) return undefined;
    throw error;
  }
}

export function formatToldPrefixes(told: readonly ToldPrefix[]): string {
  const entries = told.map(({ interfaceName, prefix, until }) => ({
    interface: interfaceName,
    prefix: formatIpv6Prefix(prefix),
    until,
  }));
  return `${JSON.stringify({ version: VERSION, told: entries }, null, 2)}\n`;
}

function readToldPrefix(raw: unknown): ToldPrefix {
  const entry = (typeof raw === "object" && raw !== null ? raw : {}) as Record<string, unknown>;
  const { interface: interfaceName, prefix, until } = entry;
  if (
    typeof interfaceName !== "string" ||
    typeof prefix !== "string" ||
    !(until === undefined || typeof until === "number")
  ) {
    throw new MalformedError("lan-state", "bad-entry", "not an interface, a prefix and an instant");
  }
  return { interfaceName, prefix: parseIpv6Prefix(prefix), until };
}
