/** The client's metrics. docs/monitoring.md */

import type { ProcessMetrics } from "../common/adapters/process-metrics.ts";
import type { IkeTotals } from "../common/control/ike-ledger.ts";
import {
  describeIkeTotals,
  describeKeyMetrics,
  keyMetrics,
} from "../common/control/key-metrics.ts";
import type { Histogram } from "../common/metrics/histogram.ts";
import { label, MetricsPage } from "../common/metrics/page.ts";
import type { ClientState, ClientStatus } from "./status.ts";

/** What the client counts besides what its status shows. */
export interface ClientTotals {
  /** Seconds from a change of address, or the loss of the server, to the server's answer. */
  readonly confirmations: Histogram;
  readonly solicitations: number;
  /** How often a confirmed server answered no more. */
  readonly losses: number;
  /** Absent when the configuration gives the keys. */
  readonly ike?: IkeTotals | undefined;
  /** False while what must outlive the daemon cannot be kept. */
  readonly stateIsWritten: boolean;
}

export interface ClientMetricsParts {
  readonly process: ProcessMetrics;
  /** Absent while the daemon starts. */
  readonly tunnel: { status(): ClientStatus; totals(): ClientTotals } | undefined;
}

const STATES: readonly ClientState["kind"][] = [
  "no-address",
  "announcing",
  "confirmed",
  "unanswered",
];

/** The whole page. */
export function clientMetrics({ process, tunnel }: ClientMetricsParts): Iterable<string> {
  const page = new MetricsPage();
  process.describe(page);
  if (tunnel !== undefined) {
    describeState(page, tunnel.status());
    page.single(
      "hometun_client_state_written",
      "gauge",
      "0 while the state directory cannot be written, else 1",
      tunnel.totals().stateIsWritten ? 1 : 0,
    );
    describeAnnouncing(page, tunnel.status(), tunnel.totals());
    describeKeys(page, tunnel.status(), tunnel.totals());
    describeTraffic(page, tunnel.status());
  }
  return page.text();
}

function describeState(page: MetricsPage, status: ClientStatus): void {
  const { state, uplink, dataPlane } = status;
  page
    .metric("hometun_client_info", "gauge", "How the tunnel is configured; always 1")
    .add(
      1,
      label("server", status.server),
      label("interface", status.interface),
      label("encapsulation", status.encapsulation),
      label("data_plane", dataPlane.kind),
      label("crypto", dataPlane.crypto),
    );
  const states = page.metric("hometun_client_state", "gauge", "1 for the state it is in, else 0");
  for (const kind of STATES) states.add(kind === state.kind ? 1 : 0, label("state", kind));
  page.single(
    "hometun_client_state_timestamp_seconds",
    "gauge",
    "When the state was entered",
    seconds(state.since),
  );
  page.single(
    "hometun_client_uplink_timestamp_seconds",
    "gauge",
    "When we came to the present IPv4 address; absent without one",
    seconds(uplink?.since),
  );
  page.single("hometun_client_mtu_bytes", "gauge", "MTU of the tunnel", status.mtu);
  page.single("hometun_client_uplink_mtu_bytes", "gauge", "MTU of the uplink", uplink?.mtu);
}

function describeAnnouncing(page: MetricsPage, status: ClientStatus, totals: ClientTotals): void {
  page.single("hometun_client_moves_total", "counter", "Changes of our address", status.moves);
  page.histogram(
    "hometun_client_confirmation_seconds",
    "From a change of address, or a loss of the server, to the server's answer",
    totals.confirmations,
  );
  page.single(
    "hometun_client_last_move_confirmation_seconds",
    "gauge",
    "The same of the last move; absent while it is not confirmed",
    seconds(status.lastMove?.confirmedInMs),
  );
  page.single(
    "hometun_client_advertisements_sent_total",
    "counter",
    "Neighbor Advertisements sent",
    status.advertisementsSent,
  );
  page.single(
    "hometun_client_solicitations_sent_total",
    "counter",
    "Neighbor Solicitations sent, which ask whether the server is there",
    totals.solicitations,
  );
  page.single(
    "hometun_client_server_losses_total",
    "counter",
    "How often the server, once confirmed, answered no more",
    totals.losses,
  );
  page.single(
    "hometun_client_hints_total",
    "counter",
    "How often the system said that addresses, links or routes may have changed",
    status.hints,
  );
}

/** Nothing when the configuration gives the keys. */
function describeKeys(page: MetricsPage, { keys }: ClientStatus, { ike }: ClientTotals): void {
  if (keys !== undefined) describeKeyMetrics(keyMetrics(page, "hometun_client"), keys);
  if (ike !== undefined) describeIkeTotals(page, "hometun_client", ike);
}

function describeTraffic(page: MetricsPage, { traffic }: ClientStatus): void {
  page.single(
    "hometun_client_last_received_timestamp_seconds",
    "gauge",
    "When an authentic packet last came; absent before the first",
    seconds(traffic.heardAt),
  );
  const counters = [
    ["received_packets", "Inner packets from the server", traffic.receivedPackets],
    ["received_bytes", "Octets of inner packets from the server", traffic.receivedOctets],
    ["sent_packets", "Inner packets to the server", traffic.sentPackets],
    ["sent_bytes", "Octets of inner packets to the server", traffic.sentOctets],
  ] as const;
  for (const [name, help, value] of counters) {
    page.single(`hometun_client_${name}_total`, "counter", help, value);
  }
  const refused = page.metric(
    "hometun_client_refused_packets_total",
    "counter",
    "Packets refused, by reason; absent before the first",
  );
  for (const [reason, count] of Object.entries(traffic.refused)) {
    refused.add(count, label("reason", reason));
  }
}

function seconds(milliseconds: number | undefined): number | undefined {
  return milliseconds === undefined ? undefined : milliseconds / 1000;
}
