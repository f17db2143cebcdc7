import { describe, expect, it } from "vitest";
import {
  associationStatuses,
  describeKeys,
  type KeyStatus,
} from "../../../common/control/key-status.ts";
import { PLAIN } from "../../../common/text/style.ts";

const NOW = Date.UTC(2026, 10, 21, 7, 0, 0);
const reading = { now: NOW, style: PLAIN, timeZone: "UTC" };

const status: KeyStatus = {
  state: "established",
  since: NOW - 60_000,
  ikeSas: 1,
  ike: [{ suite: "aes-gcm-256, hmac-sha2-256, x25519", since: NOW - 60_000, rekeys: 0 }],
  associations: [
    {
      ...{ spi: 0xc001, suite: "aes-gcm-256", since: NOW - 60_000 },
      ...{ isSentWith: false, packetsLeft: 0, octetsLeft: 0 },
    },
    {
      ...{ spi: 0xc002, suite: "aes-gcm-128", since: NOW - 2_000 },
      ...{ isSentWith: true, packetsLeft: 99, octetsLeft: 900 },
    },
  ],
  rekeys: 1,
};

describe("negotiated keys", () => {
  it("are told with their algorithm, their use and what is left of them", () => {
    expect(describeKeys(status, reading)).toEqual([
      ["Keys", "1 IKE SA, since 2026-11-21 06:59:00 (1 min), 1 renewal"],
      ["", "IKE aes-gcm-256, hmac-sha2-256, x25519, 1 min old, 0 renewals"],
      ["", "SPI 0x0000c001 aes-gcm-256 receives, 1 min old, 0 packets or 0 B until renewal"],
      [
        "",
        "SPI 0x0000c002 aes-gcm-128 sends and receives, 2.0 s old, 99 packets or 900 B until renewal",
      ],
    ]);
  });

  it("for multicast say so, and which way", () => {
    const [pair] = status.associations;
    if (pair === undefined) throw new Error("there is one");
    const associations = [
      { ...pair, multicast: "inbound" as const },
      { ...pair, multicast: "outbound" as const, isSentWith: true },
    ];
    const [, , inbound, outbound] = describeKeys({ ...status, associations }, reading);
    expect(inbound?.[1]).toContain("aes-gcm-256 receives multicast, 1 min old");
    expect(outbound?.[1]).toContain("aes-gcm-256 sends multicast, 1 min old");
  });

  it("that are not there are told too", () => {
    const none: KeyStatus = { ...status, state: "none", ikeSas: 0, ike: [], associations: [] };
    expect(describeKeys(none, reading)).toEqual([
      ["Keys", "none negotiated, since 2026-11-21 06:59:00 (1 min)"],
    ]);
  });

  it("that a restart left over say so", () => {
    const [summary] = describeKeys({ ...status, ikeSas: 0, ike: [] }, reading);
    expect(summary?.[1]).toBe(
      "kept from before the restart at 2026-11-21 06:59:00 (1 min), the home is told to come for others",
    );
  });

  it("whose suite is not known any more are left out", () => {
    const use = { spi: 0xc001, isSentWith: true, packetsLeft: 1, octetsLeft: 1 };
    expect(associationStatuses([use], new Map())).toEqual([]);
    const pair = { suite: "aes-gcm-256", since: NOW } as const;
    expect(associationStatuses([use], new Map([[0xc001, pair]]))).toEqual([{ ...use, ...pair }]);
  });
});
