import fc from "fast-check";
import { describe, expect, it, test } from "vitest";
import { ipv6Octets, parseIpv6, parseIpv6Prefix } from "../../../common/ip/address.ts";
import { encodeIpv6 } from "../../../common/ip/ipv6.ts";
import { TunnelSelectors } from "../../../common/tunnel/selectors.ts";
import { patternedMemory, place } from "../../support/packets.ts";

const PACKET = 16;
const HOME_LINK_LOCAL = "fe80::c";
const SERVER_LINK_LOCAL = "fe80::5";
const HOME_PREFIXES = ["2001:db8:1::/48", "2001:db8:a:40::/58"].map(parseIpv6Prefix);
const INTERNET = [parseIpv6Prefix("::/0")];

const home = new TunnelSelectors({
  localAddresses: [HOME_LINK_LOCAL, "2001:db8:1::1"].map(parseIpv6),
  peerLinkLocal: parseIpv6(SERVER_LINK_LOCAL),
  localPrefixes: HOME_PREFIXES,
  remotePrefixes: INTERNET,
});
const server = new TunnelSelectors({
  localAddresses: [SERVER_LINK_LOCAL, "2001:db8:ffff::1"].map(parseIpv6),
  peerLinkLocal: parseIpv6(HOME_LINK_LOCAL),
  localPrefixes: INTERNET,
  remotePrefixes: HOME_PREFIXES,
});
/** A server that lets a home reach one network only. */
const narrow = new TunnelSelectors({
  localAddresses: [parseIpv6(SERVER_LINK_LOCAL)],
  peerLinkLocal: parseIpv6(HOME_LINK_LOCAL),
  localPrefixes: [parseIpv6Prefix("2001:db8::/32")],
  remotePrefixes: HOME_PREFIXES,
});
const parties = { home, server, narrow };

function packetOf(source: string, destination: string): Uint8Array {
  return encodeIpv6({
    trafficClass: 0,
    flowLabel: 0,
    nextHeader: 59,
    hopLimit: 64,
    source: parseIpv6(source),
    destination: parseIpv6(destination),
    payload: new Uint8Array(5),
  });
}

type Direction = "inbound" | "outbound";

/** Which way a pair for multicast carries it. */
type Multicast = "inbound" | "outbound";

function judged(
  selectors: TunnelSelectors,
  direction: Direction,
  packet: Uint8Array,
  offset = PACKET,
  multicast?: Multicast,
) {
  const memory = patternedMemory(256);
  const length = place(memory, offset, packet);
  return direction === "inbound"
    ? selectors.judgeInbound(memory, offset, length, multicast)
    : selectors.judgeOutbound(memory, offset, length, multicast !== undefined);
}

/** Who judges, which way the packet goes, from where, to where, and the refusal if any. */
type Row = [keyof typeof parties, Direction, string, string, string?];

// An address somewhere on the Internet, two of the home, one of its neighbour's.
const FAR = "2001:db8:ffff::9";
const HOST = "2001:db8:1:2::7";
const OTHER_HOST = "2001:db8:a:7f::7";
const NEIGHBOUR = "2001:db8:2::7";

describe("what passes", () => {
  test.each<Row>([
    ["home", "inbound", FAR, HOST],
    ["home", "inbound", FAR, OTHER_HOST],
    ["home", "inbound", FAR, "2001:db8:1::1"],
    ["home", "inbound", SERVER_LINK_LOCAL, HOME_LINK_LOCAL],
    ["home", "inbound", SERVER_LINK_LOCAL, "ff02::1"],
    ["home", "inbound", SERVER_LINK_LOCAL, "ff02::1:ff00:c"],
    ["home", "outbound", HOST, FAR],
    ["home", "outbound", OTHER_HOST, NEIGHBOUR],
    ["home", "outbound", HOME_LINK_LOCAL, SERVER_LINK_LOCAL],
    ["home", "outbound", HOME_LINK_LOCAL, "ff02::2"],
    ["server", "inbound", HOST, FAR],
    ["server", "inbound", OTHER_HOST, NEIGHBOUR],
    ["server", "inbound", HOST, "2001:db8:ffff::1"],
    ["server", "inbound", HOME_LINK_LOCAL, SERVER_LINK_LOCAL],
    ["server", "inbound", HOME_LINK_LOCAL, "ff02::16"],
    ["server", "outbound", FAR, HOST],
    ["server", "outbound", "2001:db8:ffff::1", OTHER_HOST],
    ["server", "outbound", SERVER_LINK_LOCAL, HOME_LINK_LOCAL],
    ["server", "outbound", SERVER_LINK_LOCAL, "ff02::1"],
    ["narrow", "outbound", FAR, HOST],
  ])("%s, %s: %s to %s", (party, direction, source, destination) => {
    expect(judged(parties[party], direction, packetOf(source, destination))).toBeUndefined();
  });
});

describe("a source that the origin's side does not have", () => {
  test.each<Row>([
    ["home", "inbound", HOST, HOST],
    ["home", "inbound", "2001:db8:1::1", HOST],
    ["home", "inbound", HOME_LINK_LOCAL, HOST],
    ["home", "inbound", "fe80::bad", HOST],
    ["home", "inbound", "febf::5", HOST],
    ["home", "inbound", "::", HOST],
    ["home", "inbound", "::1", HOST],
    ["home", "inbound", "ff02::1", HOST],
    ["home", "inbound", "ff0e::1", HOST],
    ["home", "inbound", "::ffff:192.0.2.1", HOST],
    ["home", "outbound", FAR, NEIGHBOUR],
    ["home", "outbound", NEIGHBOUR, FAR],
    ["home", "outbound", "2001:db8:a:80::1", FAR],
    ["home", "outbound", "fe80::bad", SERVER_LINK_LOCAL],
    ["home", "outbound", SERVER_LINK_LOCAL, FAR],
    ["home", "outbound", "::", "ff02::1"],
    ["home", "outbound", "::1", FAR],
    ["server", "inbound", NEIGHBOUR, FAR],
    ["server", "inbound", "2001:db8:0:ffff::1", FAR],
    ["server", "inbound", "2001:db8:a:80::1", FAR],
    ["server", "inbound", "2001:db8:a:3f::1", FAR],
    ["server", "inbound", FAR, FAR],
    ["server", "inbound", SERVER_LINK_LOCAL, FAR],
    ["server", "inbound", "fe80::bad", SERVER_LINK_LOCAL],
    ["server", "inbound", "::", "ff02::1"],
    ["server", "outbound", HOST, OTHER_HOST],
    ["server", "outbound", HOME_LINK_LOCAL, HOST],
    ["server", "outbound", "fe80::bad", HOST],
    ["server", "outbound", "::ffff:192.0.2.1", HOST],
    ["narrow", "inbound", HOST, FAR],
    ["narrow", "outbound", "2001:db9::1", HOST],
  ])("%s, %s: %s to %s", (party, direction, source, destination) => {
    const refusal = judged(parties[party], direction, packetOf(source, destination));
    expect(refusal).toBe("inner-source");
  });
});

describe("a destination that the target's side does not have", () => {
  test.each<Row>([
    ["home", "inbound", FAR, NEIGHBOUR],
    ["home", "inbound", FAR, FAR],
    ["home", "inbound", FAR, "fe80::bad"],
    ["home", "inbound", SERVER_LINK_LOCAL, SERVER_LINK_LOCAL],
    ["home", "inbound", FAR, "::"],
    ["home", "inbound", FAR, "::1"],
    ["home", "inbound", FAR, "ff01::1"],
    ["home", "inbound", FAR, "ff05::2"],
    ["home", "inbound", FAR, "ff0e::1"],
    ["home", "outbound", HOST, "fe80::bad"],
    ["home", "outbound", HOST, HOME_LINK_LOCAL],
    ["home", "outbound", HOST, "::1"],
    ["home", "outbound", HOST, "::ffff:192.0.2.1"],
    ["home", "outbound", HOST, "ff05::2"],
    ["server", "inbound", HOST, "fe80::bad"],
    ["server", "inbound", HOST, HOME_LINK_LOCAL],
    ["server", "inbound", HOST, "::"],
    ["server", "inbound", HOST, "::1"],
    ["server", "inbound", HOST, "::ffff:192.0.2.1"],
    ["server", "inbound", HOST, "ff0e::1"],
    ["server", "outbound", FAR, NEIGHBOUR],
    ["server", "outbound", FAR, "fe80::bad"],
    ["server", "outbound", FAR, "ff0e::1"],
  ])("%s, %s: %s to %s", (party, direction, source, destination) => {
    const refusal = judged(parties[party], direction, packetOf(source, destination));
    expect(refusal).toBe("inner-destination");
  });
});

describe("what is not an IPv6 packet of its length", () => {
  const good = packetOf(FAR, HOST);
  const changed = (at: number, value: number) => {
    const packet = good.slice();
    packet[at] = value;
    return packet;
  };
  test.each([
    { name: "nothing", packet: new Uint8Array(0) },
    { name: "less than a header", packet: good.slice(0, 39) },
    { name: "version 4", packet: changed(0, 0x45) },
    { name: "a payload length too large", packet: changed(5, 6) },
    { name: "a payload length too small", packet: changed(5, 4) },
    { name: "a jumbogram", packet: changed(5, 0) },
  ])("$name", ({ packet }) => {
    expect(judged(home, "inbound", packet)).toBe("inner-malformed");
    expect(judged(server, "outbound", packet)).toBe("inner-malformed");
  });

  it("one that is not all in memory", () => {
    const memory = patternedMemory(256);
    place(memory, 212, good.slice(0, 44));
    expect(home.judgeInbound(memory, 212, 45)).toBe("inner-malformed");
    expect(home.judgeInbound(memory, 1000, 45)).toBe("inner-malformed");
    expect(home.judgeInbound(memory, -4, 45)).toBe("inner-malformed");
  });
});

it("judges alike at any place in memory", () => {
  for (const offset of [16, 17, 18, 19]) {
    expect(judged(home, "inbound", packetOf(FAR, HOST), offset)).toBeUndefined();
    expect(judged(home, "inbound", packetOf(FAR, NEIGHBOUR), offset)).toBe("inner-destination");
  }
});

it("knows a prefix of every length by its last bit", () => {
  const address = ipv6Octets(parseIpv6("2001:db8:5555:5555:5555:5555:5555:5555"));
  for (let length = 1; length <= 128; length += 1) {
    const within = address.map(
      (octet, i) => octet & (0xff00 >> Math.min(8, Math.max(0, length - 8 * i))),
    );
    const text = Array.from({ length: 8 }, (_, i) =>
      (((within[2 * i] ?? 0) << 8) | (within[2 * i + 1] ?? 0)).toString(16),
    ).join(":");
    const selectors = new TunnelSelectors({
      localAddresses: [],
      peerLinkLocal: parseIpv6(SERVER_LINK_LOCAL),
      localPrefixes: [parseIpv6Prefix(`${text}/${length}`)],
      remotePrefixes: INTERNET,
    });
    const packet = packetOf(SERVER_LINK_LOCAL, "::");
    packet.set(address, 24);
    expect(judged(selectors, "inbound", packet)).toBeUndefined();
    const octet = 24 + ((length - 1) >> 3);
    packet[octet] = (packet[octet] ?? 0) ^ (0x80 >> ((length - 1) & 7));
    expect(judged(selectors, "inbound", packet)).toBe("inner-destination");
  }
});

it("gives a verdict on any octets", () => {
  const verdicts = [undefined, "inner-malformed", "inner-source", "inner-destination"];
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 80 }), (octets) => {
      if (octets.length >= 40) octets.set([0x60, 0, 0, 0, 0, octets.length - 40]);
      expect(verdicts).toContain(judged(home, "inbound", octets));
      expect(verdicts).toContain(judged(server, "outbound", octets));
    }),
  );
});

describe("a pair for multicast", () => {
  const SERVER_LAN = "2001:db8:ffff::1";
  const judgedWith = ([party, direction, source, destination]: Row, multicast: Multicast) =>
    judged(parties[party], direction, packetOf(source, destination), PACKET, multicast);

  test.each<Row>([
    ["server", "outbound", SERVER_LAN, "ff0e::4242"],
    ["server", "outbound", FAR, "ff3e:40:2001:db8::1"],
    ["server", "outbound", SERVER_LINK_LOCAL, "ff02::1"],
    ["home", "inbound", FAR, "ff0e::4242"],
    ["home", "inbound", FAR, "ff05::2"],
    ["home", "inbound", SERVER_LINK_LOCAL, "ff02::1"],
    ["home", "inbound", SERVER_LINK_LOCAL, "ff12::1"],
  ])("%s, %s: %s to %s passes", (...row) => {
    expect(judgedWith(row, row[1])).toBeUndefined();
  });

  test.each<Row>([
    ["server", "outbound", SERVER_LAN, HOST, "inner-destination"],
    ["server", "outbound", SERVER_LINK_LOCAL, HOME_LINK_LOCAL, "inner-destination"],
    ["server", "outbound", SERVER_LAN, "ff01::1", "inner-destination"],
    ["server", "outbound", HOST, "ff0e::4242", "inner-source"],
    ["home", "inbound", FAR, HOST, "inner-destination"],
    ["home", "inbound", SERVER_LINK_LOCAL, HOME_LINK_LOCAL, "inner-destination"],
    ["home", "inbound", FAR, "ff01::1", "inner-destination"],
    ["home", "inbound", FAR, "ff10::1", "inner-destination"],
    ["home", "inbound", HOST, "ff0e::4242", "inner-source"],
    ["home", "inbound", "fe80::bad", "ff02::1", "inner-source"],
    ["home", "inbound", "::", "ff0e::4242", "inner-source"],
    ["home", "inbound", "ff0e::1", "ff0e::4242", "inner-source"],
  ])("%s, %s: %s to %s does not", (...row) => {
    expect(judgedWith(row, row[1])).toBe(row[4]);
  });

  test.each([HOST, HOME_LINK_LOCAL, "ff0e::1"])("brings a server nothing from %s", (source) => {
    for (const destination of [FAR, "ff0e::4242", "ff02::16"]) {
      expect(judgedWith(["server", "inbound", source, destination], "outbound")).toBe(
        "inner-source",
      );
    }
  });

  it("is needed for groups wider than the link", () => {
    const packet = packetOf(FAR, "ff0e::4242");
    expect(judged(home, "inbound", packet)).toBe("inner-destination");
    expect(judged(server, "outbound", packet)).toBe("inner-destination");
  });
});
