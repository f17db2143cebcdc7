import fc from "fast-check";
import { describe, expect, it, test } from "vitest";
import {
  addressSelector,
  compareOctets,
  EVERYTHING,
  isWithin,
  narrow,
  prefixSelector,
} from "../../../common/ikev2/selectors.ts";
import type { TrafficSelector } from "../../../common/ikev2/wire/payloads/traffic-selectors.ts";
import { parseIpv6, parseIpv6Prefix } from "../../../common/ip/address.ts";
import { hex } from "../../support/hex.ts";

const prefix = (text: string) => prefixSelector(parseIpv6Prefix(text));

describe("traffic selectors", () => {
  it("of a prefix reach from its first to its last address", () => {
    expect(prefix("2001:db8:7::/52")).toEqual({
      protocol: 0,
      startPort: 0,
      endPort: 65535,
      start: hex("20010db8000700000000000000000000"),
      end: hex("20010db800070fffffffffffffffffff"),
    });
  });

  const home = [addressSelector(parseIpv6("fe80::2")), prefix("2001:db8:1::/64")];
  const tcp: TrafficSelector = { ...EVERYTHING, protocol: 6, startPort: 80, endPort: 90 };
  const ipv4: TrafficSelector = { ...EVERYTHING, start: hex("00000000"), end: hex("ffffffff") };
  test.each([
    { name: "everything to what is allowed", proposed: [EVERYTHING], narrowed: home },
    {
      name: "a part to itself",
      proposed: [prefix("2001:db8:1::/96")],
      narrowed: [prefix("2001:db8:1::/96")],
    },
    { name: "what is outside to nothing", proposed: [prefix("2001:db8:2::/64")], narrowed: [] },
    { name: "IPv4 to nothing", proposed: [ipv4], narrowed: [] },
    { name: "everything, twice, to it once", proposed: [EVERYTHING, EVERYTHING], narrowed: home },
    {
      name: "one protocol to that protocol",
      proposed: [tcp],
      narrowed: home.map((one) => ({ ...one, protocol: 6, startPort: 80, endPort: 90 })),
    },
  ])("are narrowed: $name", ({ proposed, narrowed }) => {
    expect(narrow(proposed, home)).toEqual(narrowed);
    expect(isWithin(narrowed, home)).toBe(true);
    expect(isWithin(narrowed, proposed)).toBe(true);
  });

  const octets = fc.uint8Array({ minLength: 16, maxLength: 16 });
  const any = fc.record({
    protocol: fc.constantFrom(0, 6, 17),
    startPort: fc.nat(100),
    endPort: fc.nat(100),
    start: octets,
    end: octets,
  });
  it("that are narrowed are always within both", () => {
    fc.assert(
      fc.property(fc.array(any, { maxLength: 3 }), fc.array(any, { maxLength: 3 }), (a, b) => {
        const both = narrow(a, b);
        expect(isWithin(both, a) && isWithin(both, b)).toBe(true);
      }),
    );
  });

  it("are compared as numbers, a shorter before a longer", () => {
    expect(compareOctets(hex("01ff"), hex("02"))).toBeLessThan(0);
    expect(compareOctets(hex("0102"), hex("01"))).toBeGreaterThan(0);
    expect(compareOctets(hex("0102"), hex("0102"))).toBe(0);
  });
});
