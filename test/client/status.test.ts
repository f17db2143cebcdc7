import { expect, it } from "vitest";
import {
  type ClientStatus,
  describeAnnouncement,
  formatClientStatus,
  summarizeClient,
} from "../../client/status.ts";
import type { Ipv4Address, Ipv6Address } from "../../common/ip/address.ts";
import { COLOURED, PLAIN } from "../../common/text/style.ts";

const NOW = Date.UTC(2026, 10, 21, 7, 0, 0);
const seconds = (count: number) => NOW - 1_000 * count;

const confirmed: ClientStatus = {
  version: "0.1.0",
  pid: 4242,
  startedAt: seconds(93_784),
  server: "203.0.113.1" as Ipv4Address,
  interface: "ht0",
  linkLocal: "fe80::c" as Ipv6Address,
  serverLinkLocal: "fe80::5" as Ipv6Address,
  address: "2001:db8:a::1" as Ipv6Address,
  prefixes: ["2001:db8:a::/56", "2001:db8:b::/64"],
  encapsulation: "udp",
  mtu: 1_420,
  dataPlane: { kind: "userspace", crypto: "OpenSSL EVP" },
  state: { kind: "confirmed", since: seconds(125) },
  uplink: {
    address: "192.0.2.9" as Ipv4Address,
    interface: "eth0",
    mtu: 1_500,
    since: seconds(125),
  },
  moves: 3,
  lastMove: {
    from: "192.0.2.7" as Ipv4Address,
    to: "192.0.2.9" as Ipv4Address,
    at: seconds(125),
    confirmedInMs: 4.21,
  },
  advertisementsSent: 9,
  hints: 1,
  traffic: {
    sentPackets: 1_234_567,
    sentOctets: 1_500_000_000,
    receivedPackets: 1,
    receivedOctets: 64,
    refused: { replayed: 2, "not-authentic": 1_000, malformed: 0 },
    sentAt: seconds(1),
    heardAt: seconds(0.25),
    observedSource: { address: "203.0.113.1" as Ipv4Address, port: 4_500 },
  },
  problem: undefined,
};

const shown = (status: ClientStatus) =>
  formatClientStatus(status, { now: NOW, style: PLAIN, timeZone: "UTC" });

it("says of a confirmed tunnel where, since when and how fast", () => {
  expect(shown(confirmed)).toBe(`\
State       confirmed: the server sends to 192.0.2.9
Since       2026-11-21 06:57:55 (2 min 5 s)
Our IPv4    192.0.2.9 on eth0
            since 2026-11-21 06:57:55 (2 min 5 s)
Last move   192.0.2.7 -> 192.0.2.9, confirmed in 4.2 ms, 2 min 5 s ago
Moves       3
Server      203.0.113.1
Prefixes    2001:db8:a::/56, 2001:db8:b::/64
Interface   ht0, 2001:db8:a::1, MTU 1420
Link        fe80::c to fe80::5
Carried by  ESP in UDP port 4500
Data plane  userspace, encrypted by OpenSSL EVP
Sent        1,234,567 packets, 1.40 GiB
Received    1 packet, 64 B
Heard       250 ms ago, from 203.0.113.1:4500
Refused     1,002 packets: 1,000 not-authentic, 2 replayed
Announced   9 advertisements
Daemon      hometun 0.1.0, process 4242
            started 2026-11-20 04:56:56 (1 d 2 h)
`);
});

it("says why a tunnel without an address is down", () => {
  const status: ClientStatus = {
    ...confirmed,
    state: { kind: "no-address", since: seconds(3) },
    uplink: undefined,
    lastMove: undefined,
    traffic: { ...confirmed.traffic, refused: {}, heardAt: undefined, observedSource: undefined },
  };
  expect(shown(status)).toMatch(`\
State       no address: no route leads to the server 203.0.113.1
            hometun goes on by itself as soon as one does (ip route get tells)
Since       2026-11-21 06:59:57 (3.0 s)
Our IPv4    none
Last move   none
`);
  expect(shown(status)).toMatch(/^Heard {7}never\nRefused {5}none$/m);
});

it("says what to look at when nobody answers", () => {
  const status: ClientStatus = {
    ...confirmed,
    encapsulation: "esp",
    state: { kind: "unanswered", since: seconds(45) },
    problem: "cannot send from ht0: ENETDOWN",
  };
  expect(shown(status)).toMatch(`\
State       unanswered: the server has not confirmed 192.0.2.9 for 45 s
            hometun goes on asking; look whether the server runs, whether both have
            the same keys, and whether a firewall stops ESP (IPv4 protocol 50)
Problem     cannot send from ht0: ENETDOWN
`);
});

it("says that a move is not confirmed yet", () => {
  const status: ClientStatus = {
    ...confirmed,
    state: { kind: "announcing", since: seconds(0.5) },
    lastMove: {
      from: undefined,
      to: "192.0.2.9" as Ipv4Address,
      at: seconds(0.5),
      confirmedInMs: undefined,
    },
  };
  expect(shown(status)).toMatch(
    /^State {7}announcing 192\.0\.2\.9: the server has not confirmed it yet$/m,
  );
  expect(shown(status)).toMatch(/^Last move {3}to 192\.0\.2\.9, not confirmed yet, 500 ms ago$/m);
});

it("says what came of asking for an announcement", () => {
  const address = "198.51.100.7" as Ipv4Address;
  expect(describeAnnouncement({ address })).toBe("198.51.100.7 is announced");
  expect(describeAnnouncement({})).toBe("nothing to announce: no address");
  expect(describeAnnouncement({ address, problem: "the server does not answer" })).toBe(
    "198.51.100.7 is announced, but the server does not answer",
  );
});

it("stays within 80 columns", () => {
  for (const line of shown(confirmed).split("\n")) expect(line.length).toBeLessThanOrEqual(80);
});

it("aligns the same in colour", () => {
  const coloured = formatClientStatus(confirmed, { now: NOW, style: COLOURED, timeZone: "UTC" });
  expect(coloured).toContain("\u001b[32mconfirmed");
  const lines = coloured.split("\n").map((line) => line.split("\u001b"));
  const plain = lines.map((parts) => parts.map((part) => part.replace(/^\[\d+m/, "")).join(""));
  expect(plain.join("\n")).toBe(shown(confirmed));
});

it("says in one line what is wrong too", () => {
  expect(summarizeClient(confirmed)).toBe(
    "confirmed: 2001:db8:a::/56, 2001:db8:b::/64 by 192.0.2.9",
  );
  const problem = "cannot write /var/lib/hometun/lan.json: ENOSPC";
  expect(summarizeClient({ ...confirmed, problem })).toBe(
    `confirmed: 2001:db8:a::/56, 2001:db8:b::/64 by 192.0.2.9; ${problem}`,
  );
});

it("says so where no prefixes are assigned yet", () => {
  const none: ClientStatus = { ...confirmed, prefixes: [], uplink: undefined };
  const state = { kind: "no-address", since: NOW } as const;
  expect(summarizeClient({ ...none, state })).toBe(
    "no address: waiting for a route to the server, for no prefix yet",
  );
  expect(shown({ ...none, state })).toMatch(/^Prefixes +none yet$/m);
});
