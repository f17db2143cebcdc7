import fc from "fast-check";
import { describe, expect, it, test } from "vitest";
import { MalformedError } from "../../../common/errors.ts";
import { parseIpv6 } from "../../../common/ip/address.ts";
import {
  decodeIpv6,
  encodeIpv6,
  IpProtocol,
  skipExtensionHeaders,
} from "../../../common/ip/ipv6.ts";
import { hex } from "../../support/hex.ts";
import vectors from "../../vectors/vectors.json" with { type: "json" };

const SOURCE = "2001 0db8 0001 0000 0000 0000 0000 0001";
const DESTINATION = "fe80 0000 0000 0000 0000 0000 0000 0001";

describe("an IPv6 packet", () => {
  // Laid out by hand from RFC 8200 section 3.
  const wire = hex("6 a5 9c3d1", "0004", "11", "40", SOURCE, DESTINATION, "01020304");
  const packet = {
    trafficClass: 0xa5,
    flowLabel: 0x9c3d1,
    nextHeader: 17,
    hopLimit: 64,
    source: parseIpv6("2001:db8:1::1"),
    destination: parseIpv6("fe80::1"),
    payload: hex("01020304"),
  };

  it("is read field by field", () => {
    expect(decodeIpv6(wire)).toEqual(packet);
  });

  it("is written field by field", () => {
    expect(encodeIpv6(packet)).toEqual(wire);
  });

  it("ends at its payload length, whatever follows", () => {
    expect(decodeIpv6(Uint8Array.from([...wire, 9, 9, 9])).payload).toEqual(hex("01020304"));
  });

  it("is not written with a payload that its length field cannot say", () => {
    expect(() => encodeIpv6({ ...packet, payload: new Uint8Array(0x10000) })).toThrow(RangeError);
  });

  const whole = vectors.na.filter(({ name }) => !/^(version-4|plen-.*)$/.test(name));
  test.each(whole)("of the outside vector $name comes back the same", ({ inner }) => {
    expect(encodeIpv6(decodeIpv6(hex(inner)))).toEqual(hex(inner));
  });
});

describe("an IPv6 packet is refused", () => {
  test.each([
    { name: "without octets", wire: "", code: "truncated" },
    { name: "that says it is IPv4", wire: `45000034 ${"00".repeat(48)}`, code: "version" },
    { name: "cut in its header", wire: "60000000 0000 3a ff fe80", code: "truncated" },
    {
      name: "whose payload length points beyond it",
      wire: `60000000 0005 11 40 ${SOURCE} ${DESTINATION} 01020304`,
      code: "truncated",
    },
  ])("$name", ({ wire, code }) => {
    expect(() => decodeIpv6(hex(wire))).toThrow(expect.objectContaining({ layer: "ipv6", code }));
  });
});

describe("extension headers", () => {
  const upper = hex("8000 1234");

  test.each([
    { name: "none", next: IpProtocol.icmpv6, wire: "", protocol: 58, skipped: 0 },
    { name: "hop-by-hop", next: 0, wire: "3a00 0104 00000000", protocol: 58, skipped: 1 },
    {
      name: "hop-by-hop, routing and destination options of 16 octets",
      next: 0,
      wire: `2b00 010400000000 3c00 000000000000 3a01 010c ${"00".repeat(12)}`,
      protocol: 58,
      skipped: 3,
    },
    {
      name: "authentication, which counts in units of 4",
      next: 51,
      wire: `3a04 0000 00000100 00000001 ${"ab".repeat(12)}`,
      protocol: 58,
      skipped: 1,
    },
  ])("are passed over: $name", ({ next, wire, protocol, skipped }) => {
    const payload = Uint8Array.from([...hex(wire), ...upper]);
    expect(skipExtensionHeaders(next, payload)).toEqual({ protocol, payload: upper, skipped });
  });

  it("end at a fragment header, because what follows is only a piece", () => {
    const fragment = hex("3a00 0000 00000007 8000 1234");
    const payload = Uint8Array.from([...hex("2c00 010400000000"), ...fragment]);
    const found = skipExtensionHeaders(0, payload);
    expect(found).toEqual({ protocol: IpProtocol.fragment, payload: fragment, skipped: 1 });
  });

  test.each([
    { name: "missing", wire: "" },
    { name: "cut after its type", wire: "3a" },
    { name: "longer than the packet", wire: "3a01 010400000000" },
  ])("are refused: one that is $name", ({ wire }) => {
    expect(() => skipExtensionHeaders(0, hex(wire))).toThrow(
      expect.objectContaining({ code: "truncated" }),
    );
  });
});

describe("any octets", () => {
  it("are an IPv6 packet or malformed", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 120 }), fc.boolean(), (octets, asVersion6) => {
        if (asVersion6 && octets.length > 0) octets[0] = 0x60;
        try {
          const { nextHeader, payload } = decodeIpv6(octets);
          skipExtensionHeaders(nextHeader, payload);
        } catch (error) {
          expect(error).toBeInstanceOf(MalformedError);
        }
      }),
    );
  });

  it("are extension headers or malformed", () => {
    const protocol = fc.constantFrom(0, 43, 44, 51, 58, 60);
    fc.assert(
      fc.property(protocol, fc.array(protocol, { maxLength: 200 }), (next, octets) => {
        try {
          expect(skipExtensionHeaders(next, Uint8Array.from(octets)).skipped).toBeLessThan(26);
        } catch (error) {
          expect(error).toBeInstanceOf(MalformedError);
        }
      }),
    );
  });
});
