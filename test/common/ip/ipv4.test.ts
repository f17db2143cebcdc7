import fc from "fast-check";
import { describe, expect, it, test } from "vitest";
import { MalformedError } from "../../../common/errors.ts";
import { parseIpv4 } from "../../../common/ip/address.ts";
import {
  classifyIpv4,
  decodeIpv4,
  encodeIpv4,
  type Ipv4Kind,
  isIpv4ChecksumRight,
} from "../../../common/ip/ipv4.ts";
import { hex } from "../../support/hex.ts";
import vectors from "../../vectors/vectors.json" with { type: "json" };

const ADDRESSES = "cb007163 c0000201";

describe("an IPv4 packet", () => {
  it("of the outside vectors is read field by field", () => {
    const wire = hex(vectors.na[0]?.packet ?? "");
    expect(decodeIpv4(wire)).toEqual({
      trafficClass: 0,
      identification: 0,
      dontFragment: false,
      moreFragments: false,
      fragmentOffset: 0,
      timeToLive: 64,
      protocol: 50,
      source: vectors.client4_new,
      destination: vectors.server4,
      payload: wire.subarray(20),
    });
  });

  test.each(vectors.na)("of the outside vector $name comes back the same", ({ packet }) => {
    expect(isIpv4ChecksumRight(hex(packet))).toBe(true);
    expect(encodeIpv4(decodeIpv4(hex(packet)))).toEqual(hex(packet));
  });

  it("keeps flags and fragment offset apart", () => {
    const header = `45b8 0018 1234 7fff 40 32 0000 ${ADDRESSES} 01020304`;
    const packet = decodeIpv4(hex(header));
    expect(packet).toMatchObject({ trafficClass: 0xb8, identification: 0x1234 });
    expect(packet).toMatchObject({ dontFragment: true, moreFragments: true });
    expect(packet.fragmentOffset).toBe(0x1fff);
    expect(decodeIpv4(encodeIpv4(packet))).toEqual(packet);
  });

  it("has its options passed over and its end at the total length", () => {
    const wire = hex("4600 001a 0000 0000 40 32 0000", ADDRESSES, "01010100", "abcd", "eeee");
    expect(decodeIpv4(wire).payload).toEqual(hex("abcd"));
  });

  it("with one wrong bit in its header has a wrong checksum", () => {
    const wire = hex(vectors.na[0]?.packet ?? "");
    for (let octet = 1; octet < 20; octet++) {
      const changed = wire.slice();
      changed[octet] = (changed[octet] ?? 0) ^ 0x10;
      expect(isIpv4ChecksumRight(changed)).toBe(false);
    }
  });

  it("is not written with a payload that its length field cannot say", () => {
    const packet = decodeIpv4(hex(vectors.na[0]?.packet ?? ""));
    const payload = new Uint8Array(0x10000 - 20);
    expect(() => encodeIpv4({ ...packet, payload })).toThrow(RangeError);
  });
});

describe("an IPv4 packet is refused", () => {
  test.each([
    { name: "without octets", wire: "", code: "truncated" },
    { name: "that says it is IPv6", wire: `6000 0014 ${"00".repeat(36)}`, code: "version" },
    { name: "with a header below 20 octets", wire: "4400", code: "header-length" },
    { name: "shorter than its header", wire: "4500 0013", code: "total-length" },
    {
      name: "cut in its options",
      wire: `4600 0018 0000 0000 40 32 0000 ${ADDRESSES} 0101`,
      code: "truncated",
    },
    {
      name: "whose total length points beyond it",
      wire: `4500 0016 0000 0000 40 32 0000 ${ADDRESSES} 01`,
      code: "truncated",
    },
  ])("$name", ({ wire, code }) => {
    expect(() => decodeIpv4(hex(wire))).toThrow(expect.objectContaining({ layer: "ipv4", code }));
  });

  it("or read, whatever its octets are", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 80 }), fc.boolean(), (octets, asVersion4) => {
        if (asVersion4 && octets.length > 3) octets.set([0x45, 0, 0], 0);
        try {
          decodeIpv4(octets);
        } catch (error) {
          expect(error).toBeInstanceOf(MalformedError);
        }
      }),
    );
  });
});

describe("the kind of an IPv4 address", () => {
  // First and last address of each block of RFC 6890, and their neighbours outside it.
  const cases: [string, Ipv4Kind][] = [
    ["0.0.0.0", "this-network"],
    ["0.255.255.255", "this-network"],
    ["1.0.0.0", "public"],
    ["9.255.255.255", "public"],
    ["10.0.0.0", "private"],
    ["10.255.255.255", "private"],
    ["11.0.0.0", "public"],
    ["100.63.255.255", "public"],
    ["100.64.0.0", "shared"],
    ["100.127.255.255", "shared"],
    ["100.128.0.0", "public"],
    ["126.255.255.255", "public"],
    ["127.0.0.0", "loopback"],
    ["127.255.255.255", "loopback"],
    ["128.0.0.0", "public"],
    ["169.253.255.255", "public"],
    ["169.254.0.0", "link-local"],
    ["169.254.255.255", "link-local"],
    ["169.255.0.0", "public"],
    ["172.15.255.255", "public"],
    ["172.16.0.0", "private"],
    ["172.31.255.255", "private"],
    ["172.32.0.0", "public"],
    ["192.0.2.1", "public"],
    ["192.167.255.255", "public"],
    ["192.168.0.0", "private"],
    ["192.168.255.255", "private"],
    ["192.169.0.0", "public"],
    ["198.51.100.7", "public"],
    ["203.0.113.99", "public"],
    ["223.255.255.255", "public"],
    ["224.0.0.0", "multicast"],
    ["239.255.255.255", "multicast"],
    ["240.0.0.0", "reserved"],
    ["255.255.255.255", "reserved"],
  ];
  test.each(cases)("%s is %s", (address, kind) => {
    expect(classifyIpv4(parseIpv4(address))).toBe(kind);
  });
});
