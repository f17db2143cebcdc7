/** The server's metrics: of itself, and of every configured home, those that are down too. docs/monitoring.md */

import type { ProcessMetrics } from "../common/adapters/process-metrics.ts";
import { HOME_STATES, type HomeStateKind } from "../common/control/home-query.ts";
import type { IkeTotals } from "../common/control/ike-ledger.ts";
import {
  describeIkeTotals,
  describeKeyMetrics,
  keyMetrics,
} from "../common/control/key-metrics.ts";
import type { DataPlaneStatus, Refusals } from "../common/control/traffic.ts";
import type { Distrust } from "../common/ikev2/authentication.ts";
import type { StrangerDrop } from "../common/ikev2/ike-responder.ts";
import type { CloseReason } from "../common/ikev2/session-types.ts";
import type { Histogram } from "../common/metrics/histogram.ts";
import { type Label, label, type Metric, MetricsPage } from "../common/metrics/page.ts";
import type { TunnelName } from "../common/tunnel/tunnel.ts";
import type { EndpointRefusal } from "./endpoint/endpoint-table.ts";
import type { IntakeRefusal } from "./intake/advertisement-intake.ts";
import type { HomeStatus } from "./status.ts";

/** Homes described between two turns of the event loop; a few milliseconds' work. */
const HOMES_A_TURN = 100;

/** Every reason is there from the start: an alert sees the first refusal, not only the second. */
const NONE_REFUSED: Readonly<Record<Exclude<IntakeRefusal, "not-a-tunnel"> | EndpointRefusal, 0>> =
  {
    malformed: 0,
    fragmented: 0,
    "extension-header": 0,
    protocol: 0,
    "hop-limit": 0,
    type: 0,
    code: 0,
    checksum: 0,
    source: 0,
    destination: 0,
    "target-multicast": 0,
    target: 0,
    "solicited-multicast": 0,
    "override-clear": 0,
    "link-layer-address-missing": 0,
    "link-layer-address-repeated": 0,
    "link-layer-address-form": 0,
    "address-not-unicast": 0,
    "address-not-allowed": 0,
    "address-own": 0,
    truncated: 0,
    unasked: 0,
    "advertisement-rate": 0,
    "endpoint-in-use": 0,
  };

const NO_IKE_REFUSED: Readonly<
  Record<
    | Distrust
    | StrangerDrop
    | "unknown-identity"
    | Extract<CloseReason["kind"], "half-open" | "protocol-error">,
    0
  >
> = {
  malformed: 0,
  "half-open-limit": 0,
  "address-limit": 0,
  "session-limit": 0,
  "address-rate": 0,
  "network-rate": 0,
  "half-open": 0,
  "protocol-error": 0,
  "unknown-identity": 0,
  "wrong-method": 0,
  "wrong-shared-key": 0,
  "wrong-signature": 0,
  "no-certificate": 0,
  "certificate-not-trusted": 0,
  "certificate-expired": 0,
  "certificate-of-another": 0,
  "certificate-not-for-this": 0,
};

/** What the server counts of all homes together since it started, those that were removed included. */
export interface ServerTotals {
  readonly dataPlane: DataPlaneStatus;
  /** False while what must outlive the daemon cannot be kept. */
  readonly stateIsWritten: boolean;
  /** Absent on a server without an identity. */
  readonly ike?: IkeTotals | undefined;
  readonly moves: number;
  /** Seconds from a home's advertisement to its answer from there. */
  readonly confirmations: Histogram;
  readonly advertisementsAccepted: number;
  readonly advertisementsRefused: Refusals;
  /** Of no home. */
  readonly unattributed: { readonly packets: Refusals; readonly advertisements: Refusals };
}

/** What is measured. The tunnel server is one. */
export interface MeteredServer {
  /** Every configured home. */
  homeNames(): readonly TunnelName[];
  /** Undefined for a home that is not configured any more. */
  statusOf(name: TunnelName): HomeStatus | undefined;
  totals(): ServerTotals;
}

export interface ServerMetricsParts {
  readonly process: ProcessMetrics;
  /** Absent while the daemon starts. */
  readonly server: MeteredServer | undefined;
  /** Monotonic milliseconds. */
  readonly now: () => number;
}

/** The page in pieces, empty ones while it is made: others have their turn in between. */
export function* serverMetrics({ process, server, now }: ServerMetricsParts): Generator<string> {
  const page = new MetricsPage();
  process.describe(page);
  if (server !== undefined) {
    const began = now();
    describeTotals(page, server.totals());
    yield* describeHomes(page, server);
    page.single(
      "hometun_server_collection_seconds",
      "gauge",
      "How long it took to collect these metrics, other work included",
      (now() - began) / 1000,
    );
  }
  yield* page.text();
}

function describeTotals(page: MetricsPage, totals: ServerTotals): void {
  const { dataPlane, unattributed } = totals;
  page
    .metric("hometun_server_data_plane_info", "gauge", "What carries and encrypts; always 1")
    .add(1, label("kind", dataPlane.kind), label("crypto", dataPlane.crypto));
  page.single(
    "hometun_server_state_written",
    "gauge",
    "0 while the state directory cannot be written, else 1",
    totals.stateIsWritten ? 1 : 0,
  );
  page.single(
    "hometun_server_moves_total",
    "counter",
    "Homes that were found at another address",
    totals.moves,
  );
  page.histogram(
    "hometun_server_move_confirmation_seconds",
    "From a home's advertisement to its answer from the new address",
    totals.confirmations,
  );
  page.single(
    "hometun_server_advertisements_accepted_total",
    "counter",
    "Neighbor Advertisements taken",
    totals.advertisementsAccepted,
  );
  describeRefusals(
    page.metric(
      "hometun_server_advertisements_refused_total",
      "counter",
      "Neighbor Advertisements of homes refused, by reason",
    ),
    { ...NONE_REFUSED, ...totals.advertisementsRefused },
  );
  describeRefusals(
    page.metric(
      "hometun_server_unattributed_advertisements_total",
      "counter",
      "Neighbor Discovery messages that came through no home's tunnel, by reason",
    ),
    { "not-a-tunnel": 0, ...unattributed.advertisements },
  );
  describeRefusals(
    page.metric(
      "hometun_server_unattributed_packets_total",
      "counter",
      "Packets that no home can be named for, by reason",
    ),
    { "unknown-spi": 0, malformed: 0, shed: 0, ...unattributed.packets },
  );
  if (totals.ike !== undefined) {
    describeIkeTotals(page, "hometun_server", totals.ike, Object.keys(NO_IKE_REFUSED));
    page.single(
      "hometun_server_ike_cookies_total",
      "counter",
      "Strangers asked to show that they are where they say",
      totals.ike.cookies,
    );
  }
}

function* describeHomes(page: MetricsPage, server: MeteredServer): Generator<string> {
  const homes = page.metric("hometun_server_homes", "gauge", "Configured homes, by state");
  const metrics = homeMetrics(page);
  const counts = new Map<HomeStateKind, number>(HOME_STATES.map((state) => [state, 0]));
  let described = 0;
  for (const name of server.homeNames()) {
    const status = server.statusOf(name);
    if (status !== undefined) {
      describeHome(metrics, status);
      const { kind } = status.state;
      counts.set(kind, (counts.get(kind) ?? 0) + 1);
    }
    described += 1;
    if (described % HOMES_A_TURN === 0) yield "";
  }
  for (const [state, count] of counts) homes.add(count, label("state", state));
}

type HomeMetrics = ReturnType<typeof homeMetrics>;

/** Timestamps rather than ages, as Prometheus advises: an age would be as old as its scrape. */
function homeMetrics(page: MetricsPage) {
  return {
    info: page.metric("hometun_home_info", "gauge", "How the home is configured; always 1"),
    state: page.metric(
      "hometun_home_state",
      "gauge",
      "The home's state, as a label; always 1, other states are absent",
    ),
    stateSince: page.metric(
      "hometun_home_state_timestamp_seconds",
      "gauge",
      "When the state was entered",
    ),
    endpointSince: page.metric(
      "hometun_home_endpoint_timestamp_seconds",
      "gauge",
      "When the home came to its present address; absent until it has one",
    ),
    heardAt: page.metric(
      "hometun_home_last_received_timestamp_seconds",
      "gauge",
      "When an authentic packet last came; absent before the first",
    ),
    moves: page.metric("hometun_home_moves_total", "counter", "Changes of the home's address"),
    lastMove: page.metric(
      "hometun_home_last_move_confirmation_seconds",
      "gauge",
      "From the last move's advertisement to the home's answer; absent while there is none",
    ),
    accepted: page.metric(
      "hometun_home_advertisements_accepted_total",
      "counter",
      "Neighbor Advertisements of the home taken",
    ),
    refusedAdvertisements: page.metric(
      "hometun_home_advertisements_refused_total",
      "counter",
      "Neighbor Advertisements of the home refused, by reason; absent before the first",
    ),
    receivedPackets: page.metric(
      "hometun_home_received_packets_total",
      "counter",
      "Inner packets from the home",
    ),
    receivedBytes: page.metric(
      "hometun_home_received_bytes_total",
      "counter",
      "Octets of inner packets from the home",
    ),
    sentPackets: page.metric(
      "hometun_home_sent_packets_total",
      "counter",
      "Inner packets to the home",
    ),
    sentBytes: page.metric(
      "hometun_home_sent_bytes_total",
      "counter",
      "Octets of inner packets to the home",
    ),
    refusedPackets: page.metric(
      "hometun_home_refused_packets_total",
      "counter",
      "Packets from and to the home refused, by reason; absent before the first",
    ),
    mtu: page.metric("hometun_home_mtu_bytes", "gauge", "MTU of the home's tunnel"),
    keys: keyMetrics(page, "hometun_home"),
  };
}

/** Addresses are no labels: each would be a new time series, and a diary of who was where. */
function describeHome(metrics: HomeMetrics, status: HomeStatus): void {
  const { state, traffic, advertisements, lastMove } = status;
  const home = label("home", status.name);
  metrics.info.add(
    1,
    home,
    label("interface", status.interface),
    label("encapsulation", status.encapsulation),
  );
  metrics.state.add(1, home, label("state", state.kind));
  metrics.stateSince.add(seconds(state.since), home);
  metrics.endpointSince.add(seconds(status.since), home);
  metrics.heardAt.add(seconds(traffic.heardAt), home);
  metrics.moves.add(status.moves, home);
  metrics.lastMove.add(seconds(lastMove?.confirmedInMs), home);
  metrics.accepted.add(advertisements.accepted, home);
  describeRefusals(metrics.refusedAdvertisements, advertisements.refused, home);
  metrics.receivedPackets.add(traffic.receivedPackets, home);
  metrics.receivedBytes.add(traffic.receivedOctets, home);
  metrics.sentPackets.add(traffic.sentPackets, home);
  metrics.sentBytes.add(traffic.sentOctets, home);
  describeRefusals(metrics.refusedPackets, traffic.refused, home);
  metrics.mtu.add(status.mtu, home);
  if (status.keys !== undefined) describeKeyMetrics(metrics.keys, status.keys, home);
}

function describeRefusals(metric: Metric, refusals: Refusals, ...labels: readonly Label[]): void {
  for (const [reason, count] of Object.entries(refusals)) {
    metric.add(count, ...labels, label("reason", reason));
  }
}

function seconds(milliseconds: number | undefined): number | undefined {
  return milliseconds === undefined ? undefined : milliseconds / 1000;
}
