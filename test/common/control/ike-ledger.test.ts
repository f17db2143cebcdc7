import { beforeEach, describe, expect, it } from "vitest";
import { IkeLedger } from "../../../common/control/ike-ledger.ts";
import {
  describeIkeTotals,
  describeKeyMetrics,
  keyMetrics,
} from "../../../common/control/key-metrics.ts";
import type { KeyStatus } from "../../../common/control/key-status.ts";
import type { IkeSuite } from "../../../common/ikev2/algorithms.ts";
import { identificationOf } from "../../../common/ikev2/identity.ts";
import type { SessionEffect } from "../../../common/ikev2/session-types.ts";
import { label, MetricsPage } from "../../../common/metrics/page.ts";

const suite: IkeSuite = { encryption: "aes-gcm-256", prf: "hmac-sha2-256", group: "x25519" };
const another: IkeSuite = { encryption: "aes-gcm-128", prf: "hmac-sha2-384", group: "ecp-256" };
const established: SessionEffect = {
  kind: "established",
  peer: identificationOf("alice.example"),
  suite,
  initialContact: true,
  assignment: undefined,
  nat: { local: false, remote: false },
};

describe("the ledger of IKE SAs", () => {
  let ledger: IkeLedger<number>;

  beforeEach(() => {
    ledger = new IkeLedger();
  });

  it("tells the suite and the age of what stands, in the order that it is asked in", () => {
    ledger.note(1, established, 1_000);
    ledger.note(2, established, 2_000);
    expect(ledger.statuses([2, 3, 1])).toEqual([
      { suite: "aes-gcm-256, hmac-sha2-256, x25519", since: 2_000, rekeys: 0 },
      { suite: "aes-gcm-256, hmac-sha2-256, x25519", since: 1_000, rekeys: 0 },
    ]);
  });

  it("knows that a rekeyed one is as old as its proof, and has the suite of its successor", () => {
    ledger.note(1, established, 1_000);
    ledger.note(1, { kind: "ike-rekeyed", suite: another }, 9_000);
    expect(ledger.statuses([1])).toEqual([
      { suite: "aes-gcm-128, hmac-sha2-384, ecp-256", since: 1_000, rekeys: 1 },
    ]);
    expect(ledger.totals()).toMatchObject({ handshakes: 1, rekeys: 1 });
  });

  it("forgets what is closed, and counts why", () => {
    ledger.note(1, established, 1_000);
    ledger.note(1, { kind: "closed", reason: { kind: "timeout" } }, 2_000);
    expect(ledger.statuses([1])).toEqual([]);
    expect(ledger.totals()).toMatchObject({ closed: { timeout: 1 }, refused: {} });
  });

  it("counts as refused what never was established, and whose proof did not hold by what was wrong", () => {
    ledger.note(1, { kind: "closed", reason: { kind: "half-open" } }, 1_000);
    const reason = { kind: "not-authentic", why: "wrong-signature" } as const;
    ledger.note(2, { kind: "closed", reason }, 1_000);
    ledger.refuse("address-limit");
    ledger.cookieSent();
    expect(ledger.totals()).toEqual({
      ...{ handshakes: 0, rekeys: 0, cookies: 1, closed: {} },
      refused: { "half-open": 1, "wrong-signature": 1, "address-limit": 1 },
    });
  });
});

describe("the metrics of keys", () => {
  const status: KeyStatus = {
    ...{ state: "established", since: 1_000, ikeSas: 1, rekeys: 3 },
    ike: [{ suite: "", since: 1_500, rekeys: 0 }],
    associations: [
      {
        ...{ spi: 256, suite: "aes-gcm-256", since: 1_000 },
        ...{ isSentWith: false, packetsLeft: 1, octetsLeft: 1 },
      },
      {
        ...{ spi: 257, suite: "aes-gcm-256", since: 2_500 },
        ...{ isSentWith: true, packetsLeft: 7, octetsLeft: 900 },
      },
    ],
  };
  const samplesOf = (describe: (page: MetricsPage) => void) => {
    const page = new MetricsPage();
    describe(page);
    const lines = [...page.text()].join("").split("\n");
    return lines.filter((line) => line !== "" && !line.startsWith("#"));
  };

  it("are those of the SAs that are sent with", () => {
    const samples = samplesOf((page) =>
      describeKeyMetrics(keyMetrics(page, "hometun_home"), status, label("home", "alice")),
    );
    expect(samples.sort()).toEqual([
      'hometun_home_ike_sas{home="alice"} 1',
      'hometun_home_ike_timestamp_seconds{home="alice"} 1.5',
      'hometun_home_sa_bytes_left{home="alice"} 900',
      'hometun_home_sa_packets_left{home="alice"} 7',
      'hometun_home_sa_rekeys_total{home="alice"} 3',
      'hometun_home_sa_timestamp_seconds{home="alice"} 2.5',
    ]);
  });

  it("are absent where there are no keys", () => {
    const none: KeyStatus = { ...status, ikeSas: 0, ike: [], associations: [] };
    const samples = samplesOf((page) => describeKeyMetrics(keyMetrics(page, "x"), none));
    expect(samples.sort()).toEqual(["x_ike_sas 0", "x_sa_rekeys_total 3"]);
  });

  it("have the reasons that can be from the start", () => {
    const totals = { handshakes: 5, rekeys: 2, cookies: 1, refused: { b: 3 }, closed: {} };
    const samples = samplesOf((page) => describeIkeTotals(page, "x", totals, ["a", "b"]));
    expect(samples.sort()).toEqual([
      "x_ike_handshakes_total 5",
      'x_ike_refused_total{reason="a"} 0',
      'x_ike_refused_total{reason="b"} 3',
      "x_ike_rekeys_total 2",
    ]);
  });
});
