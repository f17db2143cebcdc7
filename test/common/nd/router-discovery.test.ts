import fc from "fast-check";
import { describe, expect, it, test } from "vitest";
import { MalformedError } from "../../../common/errors.ts";
import { parseIpv6, parseIpv6Prefix } from "../../../common/ip/address.ts";
import { withIcmpv6Checksum } from "../../../common/ip/icmpv6.ts";
import {
  decodeRouterAdvertisement,
  encodeRouterAdvertisement,
  type RouterAdvertisement,
} from "../../../common/nd/router-advertisement.ts";
import {
  mtuOption,
  prefixInformationOption,
  readMtu,
  readPrefixInformation,
  readRecursiveDnsServers,
  recursiveDnsServersOption,
  sourceLinkLayerOption,
} from "../../../common/nd/router-option.ts";
import {
  decodeRouterSolicitation,
  encodeRouterSolicitation,
} from "../../../common/nd/router-solicitation.ts";
import { hex } from "../../support/hex.ts";
import vectors from "../../vectors/router-discovery.json" with { type: "json" };

const MAC = hex("02005e005301");
const LAN = parseIpv6Prefix("2001:db8:a:1::/64");
const SERVERS = [parseIpv6("2001:db8::53"), parseIpv6("2001:db8::54")];
const hardware = { type: 1, value: MAC };

const bare: RouterAdvertisement = {
  currentHopLimit: 64,
  managed: false,
  otherConfiguration: false,
  routerLifetime: 1800,
  reachableTime: 0,
  retransTimer: 0,
  options: [],
};
const lan = { prefix: LAN, onLink: true, autonomous: true };

// The outside octets of each name are in router-discovery.json; this says what they mean.
const advertisements: { name: string; advertisement: RouterAdvertisement }[] = [
  { name: "bare", advertisement: bare },
  {
    name: "whole",
    advertisement: {
      ...bare,
      options: [
        hardware,
        mtuOption(1400),
        prefixInformationOption({ ...lan, validLifetime: 5400, preferredLifetime: 2700 }),
        recursiveDnsServersOption({ lifetime: 1800, servers: SERVERS }),
      ],
    },
  },
  {
    name: "withdrawal",
    advertisement: {
      ...bare,
      routerLifetime: 0,
      options: [prefixInformationOption({ ...lan, validLifetime: 0, preferredLifetime: 0 })],
    },
  },
  {
    name: "flags and timers",
    advertisement: {
      ...bare,
      managed: true,
      otherConfiguration: true,
      reachableTime: 30_000,
      retransTimer: 1_000,
      options: [
        prefixInformationOption({
          prefix: parseIpv6Prefix("2001:db8::/32"),
          onLink: false,
          autonomous: false,
          validLifetime: 0xffffffff,
          preferredLifetime: 0xffffffff,
        }),
      ],
    },
  },
];

const solicitations = [
  { name: "bare", solicitation: { options: [] } },
  { name: "with a link-layer address", solicitation: { options: [hardware] } },
];

describe("a Router Advertisement", () => {
  test.each(advertisements)("of the outside vector $name is written", ({ name, advertisement }) => {
    const { icmp, source, destination } = vectorOf("advertisements", name);
    const written = encodeRouterAdvertisement(advertisement);
    expect(withIcmpv6Checksum(source, destination, written)).toEqual(icmp);
  });

  test.each(advertisements)("of the outside vector $name is read", ({ name, advertisement }) => {
    const { icmp } = vectorOf("advertisements", name);
    expect(decodeRouterAdvertisement(icmp)).toEqual(advertisement);
  });

  it("is read with its reserved bits ignored", () => {
    const wire = hex("86 00 0000", "40 3f 0708 00000000 00000000");
    expect(decodeRouterAdvertisement(wire)).toEqual(bare);
  });

  test.each([
    { name: "without octets", wire: "", code: "truncated" },
    { name: "of another type", wire: "85 00 0000 00000000", code: "wrong-type" },
    { name: "cut in its timers", wire: "86 00 0000 40 00 0708 0000", code: "truncated" },
    {
      name: "with an option of length zero",
      wire: "86 00 0000 40 00 0708 00000000 00000000 0300 000000000000",
      code: "option-length-zero",
    },
  ])("$name is refused", ({ wire, code }) => {
    expect(() => decodeRouterAdvertisement(hex(wire))).toThrow(expect.objectContaining({ code }));
  });
});

describe("a Router Solicitation", () => {
  test.each(solicitations)("of the outside vector $name is written", ({ name, solicitation }) => {
    const { icmp, source, destination } = vectorOf("solicitations", name);
    const written = encodeRouterSolicitation(solicitation);
    expect(withIcmpv6Checksum(source, destination, written)).toEqual(icmp);
  });

  test.each(solicitations)("of the outside vector $name is read", ({ name, solicitation }) => {
    expect(decodeRouterSolicitation(vectorOf("solicitations", name).icmp)).toEqual(solicitation);
  });

  test.each([
    { name: "cut in its reserved octets", wire: "85 00 0000 0000", code: "truncated" },
    { name: "of another type", wire: "86 00 0000 00000000", code: "wrong-type" },
    { name: "with an option of length zero", wire: "85 00 0000 00000000 0100 000000000000" },
  ])("$name is refused", ({ wire, code = "option-length-zero" }) => {
    expect(() => decodeRouterSolicitation(hex(wire))).toThrow(expect.objectContaining({ code }));
  });
});

describe("options of Router Advertisements", () => {
  it("are read back from the outside vector", () => {
    const { options } = decodeRouterAdvertisement(vectorOf("advertisements", "whole").icmp);
    expect(options.map(readMtu).find((mtu) => mtu !== undefined)).toBe(1400);
    expect(options.map(readPrefixInformation).find((found) => found !== undefined)).toEqual({
      ...lan,
      validLifetime: 5400,
      preferredLifetime: 2700,
    });
    expect(options.map(readRecursiveDnsServers).find((found) => found !== undefined)).toEqual({
      lifetime: 1800,
      servers: SERVERS,
    });
  });

  it("have the bits beyond a prefix's length ignored", () => {
    const value = hex("40c0 00000001 00000001 00000000", "20010db8000a0001", "00000000000000ff");
    expect(readPrefixInformation({ type: 3, value })?.prefix).toEqual(LAN);
  });

  test.each([
    { name: "a prefix of 129 bits", type: 3, value: `81c0${"00".repeat(28)}` },
    { name: "prefix information of another length", type: 3, value: "00".repeat(22) },
    { name: "an MTU of another length", type: 5, value: "00".repeat(14) },
    { name: "no DNS server", type: 25, value: "00".repeat(6) },
    { name: "half a DNS server", type: 25, value: "00".repeat(14) },
  ])("$name is passed over", ({ type, value }) => {
    const option = { type, value: hex(value) };
    expect([readPrefixInformation, readMtu, readRecursiveDnsServers].map((r) => r(option))).toEqual(
      [undefined, undefined, undefined],
    );
  });

  it("tell a link-layer address only of Ethernet's kind", () => {
    expect(sourceLinkLayerOption(MAC)).toEqual(hardware);
    expect(sourceLinkLayerOption(new Uint8Array(0))).toBeUndefined();
  });
});

it("any octets are a message or refused", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 96 }), fc.constantFrom(133, 134), (octets, type) => {
      if (octets.length > 0) octets[0] = type;
      for (const decode of [decodeRouterAdvertisement, decodeRouterSolicitation]) {
        try {
          for (const option of decode(octets).options) {
            readPrefixInformation(option);
            readMtu(option);
            readRecursiveDnsServers(option);
          }
        } catch (error) {
          expect(error).toBeInstanceOf(MalformedError);
        }
      }
    }),
  );
});

function vectorOf(kind: "advertisements" | "solicitations", name: string) {
  const found = vectors[kind].find((vector) => vector.name === name);
  expect.assert(found !== undefined);
  const { source, destination, icmp } = found;
  return { source: parseIpv6(source), destination: parseIpv6(destination), icmp: hex(icmp) };
}
