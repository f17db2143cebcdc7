/** How hometun negotiates when nobody says otherwise. */

import type { Suite } from "../tunnel/tunnel.ts";
import type { ChildSuite, Group, IkeSuite } from "./algorithms.ts";
import { DEFAULT_TIMES } from "./retransmission.ts";
import type { SessionSettings } from "./session-types.ts";

/** Octets, RFC 7383 section 2.5.1: with the headers before it, it fits the smallest MTU that IPv6 knows. */
const FRAGMENT_LIMIT = 1_200;
/** RFC 3948 section 4. */
const KEEPALIVE_MS = 20_000;
export const IKE_LIFETIME_MS = 24 * 3_600_000;
/**
 * How long a server that has begun anew receives with the keys of before, and at most sends with them, beside those that
 * followed; milliseconds.
 */
export const SUCCESSION_MS = 10_000;

const IKE_SUITES: readonly IkeSuite[] = [
  { encryption: "aes-gcm-256", prf: "hmac-sha2-256", group: "x25519" },
  { encryption: "aes-gcm-128", prf: "hmac-sha2-256", group: "ecp-256" },
  { encryption: "aes-cbc-256-hmac-sha2-256-128", prf: "hmac-sha2-256", group: "ecp-256" },
  { encryption: "aes-cbc-256-hmac-sha2-256-128", prf: "hmac-sha2-256", group: "modp-2048" },
];

export type NegotiableSuite = IkeSuite["encryption"];

export const NEGOTIABLE_SUITES: readonly NegotiableSuite[] = [
  "aes-gcm-256",
  "aes-gcm-128",
  "aes-cbc-256-hmac-sha2-256-128",
];

export const NEGOTIABLE_GROUPS: readonly Group[] = ["x25519", "ecp-256", "modp-2048"];

/** With each group; and at last without, for those that agree on keys no more than once for each IKE SA. */
function childSuites(
  suites: readonly NegotiableSuite[],
  groups: readonly Group[],
): readonly ChildSuite[] {
  const extendedSequenceNumbers = [true, false];
  const withGroups = suites.flatMap((suite) =>
    groups.map((group) => ({ suite, extendedSequenceNumbers, group })),
  );
  return [...withGroups, ...suites.map((suite) => ({ suite, extendedSequenceNumbers }))];
}

/** Of those that may be chosen, the one that leaves the least room in a packet. */
export const WIDEST_SUITE: Suite = "aes-cbc-256-hmac-sha2-256-128";

/** ESP goes in UDP whatever is on the path; no probes but those that are asked for. */
export const DEFAULT_SETTINGS: SessionSettings = {
  ikeSuites: IKE_SUITES,
  childSuites: childSuites(NEGOTIABLE_SUITES, ["x25519"]),
  times: DEFAULT_TIMES,
  fragmentLimit: FRAGMENT_LIMIT,
  probeIntervalMs: 0,
  ikeLifetimeMs: IKE_LIFETIME_MS,
  keepaliveMs: KEEPALIVE_MS,
  forceEncapsulation: true,
  revealKeys: false,
};

/** What a user may choose; what is absent is as usual. */
export interface Negotiation {
  /** In order of preference, for IKE messages and for ESP. */
  readonly suites: readonly NegotiableSuite[] | undefined;
  /** Key exchange methods, in order of preference. */
  readonly groups: readonly Group[] | undefined;
  /** Silence after which the peer is asked whether it lives; 0: never. */
  readonly probeIntervalMs: number;
  /** Age at which the IKE SA is rekeyed; 0: never. */
  readonly ikeLifetimeMs: number;
}

/** Who chooses suites or groups gets every suite with every group. */
export function settingsOf(negotiation: Negotiation): SessionSettings {
  const { probeIntervalMs, ikeLifetimeMs } = negotiation;
  const settings = { ...DEFAULT_SETTINGS, probeIntervalMs, ikeLifetimeMs };
  if (negotiation.suites === undefined && negotiation.groups === undefined) return settings;
  const { suites = NEGOTIABLE_SUITES, groups = NEGOTIABLE_GROUPS } = negotiation;
  return {
    ...settings,
    ikeSuites: suites.flatMap((encryption) =>
      groups.map((group): IkeSuite => ({ encryption, prf: "hmac-sha2-256", group })),
    ),
    childSuites: childSuites(suites, groups),
  };
}
