/**
 * Octets are those of iproute2 6.1 and Linux 6.1: `strace -e trace=sendmsg,recvmsg -e write=all -e read=all ip …`,
 * without the netlink header.
 */

import fc from "fast-check";
import { describe, expect, it, test } from "vitest";
import { MalformedError } from "../../../common/errors.ts";
import { parseIpv4, parseIpv6, parseIpv6Prefix } from "../../../common/ip/address.ts";
import { decodeAcknowledgement } from "../../../common/rtnetlink/acknowledgement.ts";
import { AddressFamily } from "../../../common/rtnetlink/address-family.ts";
import {
  AddressFlag,
  type AddressMessage,
  decodeAddressMessage,
  encodeAddressMessage,
  encodeAddressQuery,
} from "../../../common/rtnetlink/address-message.ts";
import {
  AddressGenerationMode,
  decodeLinkMessage,
  encodeLinkMessage,
  encodeLinkQuery,
  LinkFlag,
  type LinkMessage,
} from "../../../common/rtnetlink/link-message.ts";
import {
  decodeRouteMessage,
  encodeRouteMessage,
  encodeRoutesQuery,
  type RouteMessage,
  RouteTable,
  RouteType,
} from "../../../common/rtnetlink/route-message.ts";
import { hex } from "../../support/hex.ts";

const { ipv4, ipv6 } = AddressFamily;

describe("link messages", () => {
  const changes: { name: string; wire: Uint8Array; message: LinkMessage }[] = [
    {
      name: "ip link set dev ht0 mtu 1400 addrgenmode none",
      wire: hex(
        "00000000 02000000 00000000 00000000",
        "0800 0400 78050000", // IFLA_MTU
        "1000 1a00  0c00 0a00  0500 0800 01 000000", // IFLA_AF_SPEC, AF_INET6, ADDR_GEN_MODE
      ),
      message: {
        index: 2,
        flags: 0,
        change: 0,
        mtu: 1400,
        addressGenerationMode: AddressGenerationMode.none,
      },
    },
    {
      name: "ip link set dev ht0 up",
      wire: hex("00000000 02000000 01000000 01000000"),
      message: { index: 2, flags: LinkFlag.up, change: LinkFlag.up },
    },
  ];

  test.each(changes)("$name, both ways", ({ wire, message }) => {
    expect(encodeLinkMessage(message)).toEqual(wire);
    expect(decodeLinkMessage(wire)).toEqual({ kind: undefined, name: undefined, ...message });
  });

  it("takes name, MTU, kind and address generation mode out of the kernel's answer", () => {
    const wire = hex(
      "0000feff 02000000 91100000 00000000",
      "0800 0300 68743000", // IFLA_IFNAME ht0
      "0500 1000 02000000",
      "0800 0400 78050000", // IFLA_MTU 1400
      "1000 1200  0800 0100 74756e00  0400 0200", // IFLA_LINKINFO: kind tun
      "1800 1a00  1400 0a00  0800 0100 10000000  0500 0800 01000000", // IFLA_AF_SPEC
    );
    expect(decodeLinkMessage(wire)).toEqual({
      index: 2,
      flags: 0x1091,
      change: 0,
      name: "ht0",
      mtu: 1400,
      kind: "tun",
      addressGenerationMode: AddressGenerationMode.none,
    });
  });

  it("asks by name or by index, without statistics", () => {
    expect(encodeLinkQuery({ name: "ht0" })).toEqual(
      hex("00000000 00000000 00000000 00000000  0800 1d00 08000000  0800 0300 68743000"),
    );
    expect(encodeLinkQuery({ index: 4 })).toEqual(
      hex("00000000 04000000 00000000 00000000  0800 1d00 08000000"),
    );
  });
});

describe("address messages", () => {
  const linkLocal: AddressMessage = {
    family: ipv6,
    prefixLength: 128,
    flags: AddressFlag.noDad | AddressFlag.noPrefixRoute,
    scope: 0,
    interfaceIndex: 2,
    address: parseIpv6("fe80::c"),
  };
  const octets = "fe80 0000 0000 0000 0000 0000 0000 000c";
  const added = hex(
    "0a 80 00 00 02000000",
    `1400 0200 ${octets}`, // IFA_LOCAL
    "0800 0800 02020000", // IFA_FLAGS
    `1400 0100 ${octets}`, // IFA_ADDRESS
  );

  it("matches ip addr add fe80::c/128 dev ht0 nodad noprefixroute, both ways", () => {
    expect(encodeAddressMessage(linkLocal)).toEqual(added);
    expect(decodeAddressMessage(added)).toEqual(linkLocal);
  });

  it("matches ip addr del fe80::c/128 dev ht0", () => {
    expect(encodeAddressMessage({ ...linkLocal, flags: 0 })).toEqual(
      hex(`0a800000 02000000 1400 0200 ${octets} 1400 0100 ${octets}`),
    );
  });

  it("matches ip -6 addr show dev ht0: the question and the kernel's answer", () => {
    expect(encodeAddressQuery(ipv6, 2)).toEqual(hex("0a000000 02000000"));
    const answer = hex(
      "0a 80 82 fd 02000000",
      `1400 0100 ${octets}`,
      "1400 0600 ffffffff ffffffff f2f51100 f2f51100", // IFA_CACHEINFO
      "0800 0800 82020000",
    );
    expect(decodeAddressMessage(answer)).toEqual({
      ...linkLocal,
      scope: 0xfd,
      flags: linkLocal.flags | AddressFlag.permanent,
    });
  });
});

describe("route messages", () => {
  const tunnelRoute: RouteMessage = {
    family: ipv6,
    destination: parseIpv6("2001:db8::"),
    destinationLength: 32,
    table: RouteTable.main,
    protocol: 104,
    scope: 0,
    type: RouteType.unicast,
    flags: 0,
    metric: 1000,
    interfaceIndex: 2,
  };
  const absent = {
    gateway: undefined,
    metric: undefined,
    preferredSource: undefined,
    mtu: undefined,
    interfaceIndex: undefined,
  };
  const both: { name: string; wire: Uint8Array; message: RouteMessage }[] = [
    {
      name: "ip -6 route add 2001:db8::/32 dev ht0 metric 1000 proto 104",
      wire: hex(
        "0a 20 00 00 fe 68 00 01 00000000",
        "1400 0100 20010db8 00000000 00000000 00000000", // RTA_DST
        "0800 0600 e8030000", // RTA_PRIORITY
        "0800 0400 02000000", // RTA_OIF
      ),
      message: tunnelRoute,
    },
    {
      name: "ip -6 route add default dev ht0 metric 1000 proto 104",
      wire: hex(
        "0a 00 00 00 fe 68 00 01 00000000",
        "1400 0100 00000000 00000000 00000000 00000000",
        "0800 0600 e8030000  0800 0400 02000000",
      ),
      message: { ...tunnelRoute, destination: parseIpv6("::"), destinationLength: 0 },
    },
    {
      name: "ip -6 route add unreachable default from 2001:db8:a::/48 metric 2001 proto 104",
      wire: hex(
        "0a 00 30 00 fe 68 00 07 00000000",
        "1400 0100 00000000 00000000 00000000 00000000",
        "1400 0200 20010db8 000a0000 00000000 00000000", // RTA_SRC
        "0800 0600 d1070000",
      ),
      message: {
        ...tunnelRoute,
        destination: parseIpv6("::"),
        destinationLength: 0,
        source: parseIpv6Prefix("2001:db8:a::/48"),
        type: RouteType.unreachable,
        metric: 2001,
        interfaceIndex: undefined,
      },
    },
    {
      name: "ip -6 route add 2001:db8::/32 dev ht0 via 2001:db8:9::1",
      wire: hex(
        "0a 20 00 00 fe 03 00 01 00000000",
        "1400 0100 20010db8 00000000 00000000 00000000",
        "1400 0500 20010db8 00090000 00000000 00000001", // RTA_GATEWAY
        "0800 0400 02000000",
      ),
      message: {
        ...tunnelRoute,
        protocol: 3,
        metric: undefined,
        gateway: parseIpv6("2001:db8:9::1"),
      },
    },
    {
      name: "ip route get 198.51.100.1",
      wire: hex("02 20 00 00 00 00 00 00 00100000  0800 0100 c6336401"),
      message: {
        family: ipv4,
        destination: parseIpv4("198.51.100.1"),
        destinationLength: 32,
        table: 0,
        protocol: 0,
        scope: 0,
        type: 0,
        flags: 0x1000,
      },
    },
  ];

  test.each(both)("$name, both ways", ({ wire, message }) => {
    expect(encodeRouteMessage(message)).toEqual(wire);
    expect(decodeRouteMessage(wire)).toEqual({ ...absent, ...message });
  });

  it("takes source, interface and path MTU out of the kernel's answer", () => {
    const answer = hex(
      "02 20 00 00 fe 00 00 01 00020000",
      "0800 0f00 fe000000  0800 0100 c6336401  0800 0400 04000000",
      "0800 0700 c0000207  0800 0500 c0000201", // RTA_PREFSRC, RTA_GATEWAY
      "0c00 0800 0800 0200 78050000", // RTA_METRICS: RTAX_MTU 1400
      "0800 1900 00000000",
      "2400 0c00 02000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000",
    );
    expect(decodeRouteMessage(answer)).toEqual({
      family: ipv4,
      destination: "198.51.100.1",
      destinationLength: 32,
      table: RouteTable.main,
      protocol: 0,
      scope: 0,
      type: RouteType.unicast,
      flags: 0x200,
      interfaceIndex: 4,
      gateway: "192.0.2.1",
      metric: undefined,
      preferredSource: "192.0.2.7",
      mtu: 1400,
    });
  });

  it("asks for the routes of a protocol as ip -6 route show dev ht0 proto 104 does", () => {
    expect(encodeRoutesQuery(ipv6, { protocol: 104, interfaceIndex: 2 })).toEqual(
      hex("0a 00 00 00 00 68 00 00 00000000  0800 0f00 fe000000  0800 0400 02000000"),
    );
  });

  it("puts a table beyond 255 into its attribute", () => {
    const wire = encodeRouteMessage({ ...tunnelRoute, table: 51_820 });
    expect(wire.subarray(4, 5)).toEqual(hex("fc"));
    expect(decodeRouteMessage(wire).table).toBe(51_820);
  });
});

describe("acknowledgements", () => {
  const answered = "38000000 18000506 00000000 00000000";
  test.each([
    { name: "carried out", flags: 0x100, wire: hex(`00000000 ${answered}`), errno: 0 },
    { name: "refused", flags: 0x100, wire: hex(`9bffffff ${answered}`), errno: 101 },
    {
      name: "refused with the kernel's words, the request left out (NETLINK_CAP_ACK)",
      flags: 0x300,
      wire: hex(
        "eaffffff 28000000 10000500 a64b016b 00000000",
        "2100 0100 6d7475206c657373207468616e20646576696365206d696e696d756d00 000000",
      ),
      errno: 22,
      text: "mtu less than device minimum",
    },
    {
      name: "ip link set dev ht0 mtu 10: refused with the kernel's words after the whole request",
      flags: 0x200,
      wire: hex(
        "eaffffff 28000000 10000500 a64b016b 00000000", // -EINVAL, the request's header
        "00000000 02000000 00000000 00000000 0800 0400 0a000000", // the request
        "2100 0100 6d7475206c657373207468616e20646576696365206d696e696d756d00 000000",
      ),
      errno: 22,
      text: "mtu less than device minimum",
    },
  ])("$name", ({ flags, wire, errno, text }) => {
    expect(decodeAcknowledgement(wire, flags)).toEqual({ errno, text });
  });
});

describe("refusals", () => {
  const decoders = {
    link: decodeLinkMessage,
    address: decodeAddressMessage,
    route: decodeRouteMessage,
  };
  const route = "02200000 00000000 00000000";
  test.each<{ name: string; decoder: keyof typeof decoders; wire: Uint8Array; code: string }>([
    { name: "nothing", decoder: "link", wire: hex(""), code: "truncated" },
    { name: "half a header", decoder: "route", wire: hex("02200000"), code: "truncated" },
    {
      name: "an attribute of length zero",
      decoder: "route",
      wire: hex(route, "0000 0100 c6336401"),
      code: "bad-length",
    },
    {
      name: "an attribute longer than the message",
      decoder: "route",
      wire: hex(route, "0900 0100 c6336401"),
      code: "truncated",
    },
    {
      name: "a nested attribute longer than its nest",
      decoder: "route",
      wire: hex(route, "0c00 0800 0900 0200 78050000"),
      code: "truncated",
    },
    {
      name: "an integer of two octets",
      decoder: "route",
      wire: hex(route, "0600 0400 0200 0000"),
      code: "truncated",
    },
    {
      name: "an IPv6 address in an IPv4 route",
      decoder: "route",
      wire: hex(route, "1400 0100 20010db8 00000000 00000000 00000000"),
      code: "bad-address",
    },
    {
      name: "an IPv4 prefix of 33 bits",
      decoder: "route",
      wire: hex("02210000 00000000 00000000"),
      code: "bad-length",
    },
    {
      name: "an MPLS route",
      decoder: "route",
      wire: hex("1c140000 00000000 00000000"),
      code: "unknown-family",
    },
    {
      name: "an address message without address",
      decoder: "address",
      wire: hex("0a800000 02000000"),
      code: "no-address",
    },
    {
      name: "an address with a prefix of 129 bits",
      decoder: "address",
      wire: hex("0a810000 02000000 1400 0100 fe80000000000000000000000000000c"),
      code: "bad-length",
    },
  ])("$name", ({ decoder, wire, code }) => {
    expect(() => decoders[decoder](wire)).toThrow(expect.objectContaining({ code }));
  });
});

describe("any octets", () => {
  const decoders = [
    decodeLinkMessage,
    decodeAddressMessage,
    decodeRouteMessage,
    (octets: Uint8Array) => decodeAcknowledgement(octets, 0x200),
    (octets: Uint8Array) => decodeAcknowledgement(octets, 0x300),
  ];

  it("gives a message or MalformedError", () => {
    const start = fc.constantFrom(hex(""), hex("0220"), hex("0a80"), hex("ffffffff"));
    fc.assert(
      fc.property(start, fc.uint8Array({ maxLength: 96 }), (head, tail) => {
        for (const decode of decoders) {
          try {
            decode(Uint8Array.of(...head, ...tail));
          } catch (error) {
            expect(error).toBeInstanceOf(MalformedError);
          }
        }
      }),
      { numRuns: 2_000 },
    );
  });
});
