import { expect, it } from "vitest";
import type { Ipv4Address, Ipv6Address } from "../../common/ip/address.ts";
import { PLAIN } from "../../common/text/style.ts";
import type { TunnelName } from "../../common/tunnel/tunnel.ts";
import {
  formatHomeStatus,
  formatServerStatus,
  type HomeStatus,
  type ServerStatus,
} from "../../server/status.ts";

const NOW = Date.UTC(2026, 10, 21, 7, 0, 0);
const reading = { now: NOW, style: PLAIN, timeZone: "UTC" };
const seconds = (count: number) => NOW - 1_000 * count;

const silent: HomeStatus = {
  name: "carol" as TunnelName,
  interface: "ht-carol",
  linkLocal: "fe80::c" as Ipv6Address,
  serverLinkLocal: "fe80::5" as Ipv6Address,
  prefixes: ["2001:db8:c::/56"],
  encapsulation: "udp",
  mtu: 1_420,
  state: { kind: "never-heard", since: seconds(7_200) },
  endpoint: undefined,
  since: undefined,
  moves: 0,
  lastMove: undefined,
  advertisements: { accepted: 0, refused: {} },
  traffic: {
    sentPackets: 0,
    sentOctets: 0,
    receivedPackets: 0,
    receivedOctets: 0,
    refused: {},
    sentAt: undefined,
    heardAt: undefined,
    observedSource: undefined,
  },
};

const moved = (name: string, to: string, ago: number, more: Partial<HomeStatus>): HomeStatus => ({
  ...silent,
  name: name as TunnelName,
  interface: `ht-${name}`,
  endpoint: { address: to as Ipv4Address, port: 4_500 },
  since: seconds(ago),
  moves: 2,
  lastMove: {
    from: "192.0.2.1" as Ipv4Address,
    to: to as Ipv4Address,
    at: seconds(ago),
    confirmedInMs: 21.7,
  },
  ...more,
});

const alice = moved("alice", "192.0.2.7", 86_400, {
  state: { kind: "confirmed", since: seconds(86_400) },
  advertisements: { accepted: 6, refused: { "hop-limit": 2, "other-target": 1 } },
  traffic: {
    ...silent.traffic,
    sentPackets: 10,
    sentOctets: 15_000,
    receivedPackets: 5,
    receivedOctets: 900,
    heardAt: seconds(12),
    observedSource: { address: "192.0.2.7" as Ipv4Address, port: 4_500 },
  },
});

const bob = moved("bob", "198.51.100.20", 5, {
  state: { kind: "held", since: seconds(1) },
  encapsulation: "esp",
});

const status: ServerStatus = {
  version: "0.1.0",
  pid: 99,
  startedAt: seconds(172_800),
  address: "203.0.113.1" as Ipv4Address,
  dataPlane: { kind: "userspace", crypto: "node:crypto" },
  counts: { confirmed: 1, unconfirmed: 0, held: 1, "never-heard": 1 },
  matching: 3,
  homes: [bob, alice, silent],
  unattributed: { packets: { "unknown-spi": 3 }, advertisements: {} },
};

it("shows the homes in the order they are given", () => {
  expect(formatServerStatus(status, reading)).toBe(`\
Daemon      hometun-server 0.1.0, process 99
            started 2026-11-19 07:00:00 (2 d)
Address     203.0.113.1
Data plane  userspace, encrypted by node:crypto
Homes       3: 1 confirmed, 1 held, 1 never heard
Refused     packets of no home: 3 unknown-spi
            advertisements of no home: none

HOME   STATE        ENDPOINT        SINCE  LAST MOVE     RX        TX
bob    held         198.51.100.20   5.0 s      21 ms    0 B       0 B
alice  confirmed    192.0.2.7:4500  1 d        21 ms  900 B  14.6 KiB
carol  never heard  -               -              -    0 B       0 B
`);
});

it("shows a server without homes", () => {
  const counts = { confirmed: 0, unconfirmed: 0, held: 0, "never-heard": 0 };
  const empty = { ...status, counts, matching: 0, homes: [] };
  expect(formatServerStatus(empty, reading)).toMatch(/^Homes {7}none$/m);
  expect(formatServerStatus(empty, reading)).not.toMatch(/more/);
});

it("says that no home is in the state that was asked for", () => {
  const none = { ...status, matching: 0, homes: [] };
  expect(formatServerStatus(none, reading)).toMatch(/none\n\nNo home is in that state\.\n$/);
});

it("says how many homes are not shown, and how to see them", () => {
  const counts = { confirmed: 9_000, unconfirmed: 0, held: 1_000, "never-heard": 0 };
  const shown = formatServerStatus({ ...status, counts, matching: 9_953 }, reading);
  expect(shown).toMatch(/^Homes {7}10,000: 9,000 confirmed, 1,000 held$/m);
  expect(shown).toMatch(/\n\.\.\. 9,950 more \(--all\)\n$/);
});

it("shows one home in detail", () => {
  expect(formatHomeStatus(alice, reading)).toBe(`\
Home        alice
State       confirmed: the home answered at its endpoint
Since       2026-11-20 07:00:00 (1 d)
Endpoint    192.0.2.7:4500
            since 2026-11-20 07:00:00 (1 d)
Last move   192.0.2.1 -> 192.0.2.7, confirmed in 21 ms, 1 d ago
Moves       2
Prefixes    2001:db8:c::/56
Interface   ht-alice, MTU 1420
Link        fe80::5 to fe80::c
Carried by  ESP in UDP port 4500
Sent        10 packets, 14.6 KiB
Received    5 packets, 900 B
Heard       12 s ago, from 192.0.2.7:4500
Refused     none
Announced   6 advertisements accepted
            refused: 3 advertisements: 2 hop-limit, 1 other-target
`);
});

it("shows a home that was never heard", () => {
  const shown = formatHomeStatus(silent, reading);
  expect(shown).toMatch(/^State {7}never heard: the home has not announced an address yet$/m);
  expect(shown).toMatch(/^Endpoint {4}none$/m);
});

it("shows 10,000 homes without running out of stack", () => {
  const homes = Array.from({ length: 10_000 }, (_, i) => ({
    ...alice,
    name: `home-${i}` as TunnelName,
  }));
  const lines = formatServerStatus({ ...status, homes }, reading).split("\n");
  expect(lines.length).toBeGreaterThan(10_000);
});
