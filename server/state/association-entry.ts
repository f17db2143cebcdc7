/**
 * The pairs of SAs that a home negotiated last, and its link, so that a server that starts again knows whose those are
 * that stand in the kernel, and what a home sends with that has to learn that its IKE SA is gone. No key stands here.
 *
 *     {"home":"alice","pairs":[{"inbound":12345678,"outbound":87654321,"suite":"aes-gcm-128","proof":"..."}],
 *      "link":{"identity":"alice.example","id":"..."}}
 */

import { createHmac, timingSafeEqual } from "node:crypto";
import { NEGOTIABLE_SUITES } from "../../common/ikev2/default-settings.ts";
import type { MulticastDirection, Suite, TunnelName } from "../../common/tunnel/tunnel.ts";
import type { EntryFormat } from "./home-journal.ts";

export interface AssociationPair {
  readonly inbound: number;
  readonly outbound: number;
  readonly suite: Suite;
  /** Says, to whom has the pair's keys, which home they were negotiated with and what it had proven; see `proofOf`. */
  readonly proof: string;
  /** Absent: the pair is the link's. */
  readonly multicast?: MulticastDirection | undefined;
  /** Wall-clock milliseconds since 1970: since when it has been gone on with without an IKE SA; absent: it has one. */
  readonly inheritedAt?: number;
}

export interface AssociationEntry {
  readonly home: TunnelName;
  /** The oldest first. */
  readonly pairs: readonly AssociationPair[];
  /** Wall-clock milliseconds since 1970: the home must have proven anew who it is; absent: it need not. */
  readonly until?: number | undefined;
  /** RFC 5739 section 4.2; absent: the home has none. */
  readonly link?: HomeLink | undefined;
}

/** A link, and the identity that it was given to. */
export interface HomeLink {
  readonly identity: string;
  /** Link ID, hexadecimal. */
  readonly id: string;
}

export const ASSOCIATION_ENTRY: EntryFormat<AssociationEntry> = {
  encode: ({ pairs, until, link }) => ({ pairs, until, link }), // JSON leaves out what is undefined
  decode(home, { pairs, until, link }) {
    if (!Array.isArray(pairs) || !pairs.every(isPair)) return undefined;
    if (until !== undefined && !(typeof until === "number" && Number.isFinite(until))) {
      return undefined;
    }
    if (link !== undefined && !isLink(link)) return undefined;
    return { home, pairs, until, link };
  },
};

/**
 * What ties keys to the one they were negotiated with: a MAC under them of all that he is believed by. Whoever reads it
 * without them can try no shared key on it.
 */
export function proofOf(keys: Uint8Array, believedBy: string): string {
  return createHmac("sha256", keys).update(believedBy).digest("base64");
}

export function isSameProof(one: string, other: string): boolean {
  const [a, b] = [Buffer.from(one), Buffer.from(other)];
  return a.length === b.length && timingSafeEqual(a, b);
}

function isPair(value: unknown): value is AssociationPair {
  if (typeof value !== "object" || value === null) return false;
  const { inbound, outbound, suite, proof, multicast, inheritedAt } = value as Record<
    string,
    unknown
  >;
  if (multicast !== undefined && multicast !== "outbound") return false;
  if (inheritedAt !== undefined && !Number.isFinite(inheritedAt)) return false;
  return isSpi(inbound) && isSpi(outbound) && isSuite(suite) && typeof proof === "string";
}

function isLink(value: unknown): value is HomeLink {
  if (typeof value !== "object" || value === null) return false;
  const { identity, id } = value as Record<string, unknown>;
  return typeof identity === "string" && typeof id === "string" && /^([0-9a-f]{2})+$/.test(id);
}

function isSpi(value: unknown): boolean {
  return typeof value === "number" && Number.isInteger(value) && value > 0 && value < 2 ** 32;
}

function isSuite(value: unknown): boolean {
  return (NEGOTIABLE_SUITES as readonly unknown[]).includes(value);
}
