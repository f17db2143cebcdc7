/** What both daemons' metrics tell of negotiated keys. docs/monitoring.md */

import { type Label, label, type MetricsPage } from "../metrics/page.ts";
import type { IkeTotals } from "./ike-ledger.ts";
import type { KeyStatus } from "./key-status.ts";

/** The metrics of one tunnel's keys; a server adds each home to them. */
export function keyMetrics(page: MetricsPage, prefix: string) {
  return {
    ikeSas: page.metric(`${prefix}_ike_sas`, "gauge", "IKE SAs that stand; 0: none negotiated"),
    ikeSince: page.metric(
      `${prefix}_ike_timestamp_seconds`,
      "gauge",
      "When both ends last proved who they are; absent without an IKE SA",
    ),
    saSince: page.metric(
      `${prefix}_sa_timestamp_seconds`,
      "gauge",
      "When the ESP SAs were made that are sent with; absent without any",
    ),
    packetsLeft: page.metric(
      `${prefix}_sa_packets_left`,
      "gauge",
      "Packets until these are renewed",
    ),
    octetsLeft: page.metric(`${prefix}_sa_bytes_left`, "gauge", "Octets until these are renewed"),
    rekeys: page.metric(`${prefix}_sa_rekeys_total`, "counter", "ESP SAs that followed others"),
  };
}

export function describeKeyMetrics(
  metrics: ReturnType<typeof keyMetrics>,
  { ikeSas, ike, associations, rekeys }: KeyStatus,
  ...labels: readonly Label[]
): void {
  metrics.ikeSas.add(ikeSas, ...labels);
  metrics.rekeys.add(rekeys, ...labels);
  const newest = ike.at(-1);
  if (newest !== undefined) metrics.ikeSince.add(newest.since / 1000, ...labels);
  const used = associations.find(
    ({ isSentWith, multicast }) => isSentWith && multicast === undefined,
  );
  if (used === undefined) return;
  metrics.saSince.add(used.since / 1000, ...labels);
  metrics.packetsLeft.add(used.packetsLeft, ...labels);
  metrics.octetsLeft.add(used.octetsLeft, ...labels);
}

/** Reasons are there from the start if `reasons` names them: an alert sees the first refusal too. */
export function describeIkeTotals(
  page: MetricsPage,
  prefix: string,
  totals: IkeTotals,
  reasons: readonly string[] = [],
): void {
  const { handshakes, rekeys, refused, closed } = totals;
  const counters = [
    ["ike_handshakes", "IKE SAs whose ends proved who they are", handshakes],
    ["ike_rekeys", "IKE SAs that followed another", rekeys],
  ] as const;
  for (const [name, help, value] of counters) {
    page.single(`${prefix}_${name}_total`, "counter", help, value);
  }
  const none = Object.fromEntries(reasons.map((reason) => [reason, 0]));
  const byReason = [
    ["ike_refused", "IKE exchanges that came to nothing, by reason", { ...none, ...refused }],
    ["ike_closed", "IKE SAs that ended, by reason", closed],
  ] as const;
  for (const [name, help, counts] of byReason) {
    const metric = page.metric(`${prefix}_${name}_total`, "counter", help);
    for (const [reason, value = 0] of Object.entries(counts)) {
      metric.add(value, label("reason", reason));
    }
  }
}
