import fc from "fast-check";
import { describe, expect, it, test } from "vitest";
import { MalformedError } from "../../../common/errors.ts";
import {
  decodeIcmpv6,
  encodeIcmpv6,
  isIcmpv6ChecksumRight,
  withIcmpv6Checksum,
} from "../../../common/ip/icmpv6.ts";
import { decodeIpv6 } from "../../../common/ip/ipv6.ts";
import { hex } from "../../support/hex.ts";
import vectors from "../../vectors/vectors.json" with { type: "json" };

// Cases that are plain ICMPv6 in IPv6 and whose octets were not cut after their checksum was made.
const plain = vectors.na
  .filter(({ name }) => !/^(version-4|plen-.*|short|hop-by-hop|fragmented)$/.test(name))
  .map(({ name, inner }) => ({ name, packet: decodeIpv6(hex(inner)) }));
const right = plain.filter(({ name }) => name !== "checksum");

describe("an ICMPv6 message", () => {
  it("is read and written field by field, its checksum left to its own step", () => {
    const message = { type: 128, code: 3, body: hex("0001 0002") };
    expect(decodeIcmpv6(hex("80 03 beef 0001 0002"))).toEqual(message);
    expect(encodeIcmpv6(message)).toEqual(hex("80 03 0000 0001 0002"));
  });

  test.each(["", "88", "8800", "8800ab"])("of octets %j is refused as truncated", (wire) => {
    expect(() => decodeIcmpv6(hex(wire))).toThrow(
      expect.objectContaining({ layer: "icmpv6", code: "truncated" }),
    );
  });

  it("is read from any octets, or they are malformed", () => {
    fc.assert(
      fc.property(fc.uint8Array(), (octets) => {
        try {
          decodeIcmpv6(octets);
        } catch (error) {
          expect(error).toBeInstanceOf(MalformedError);
        }
      }),
    );
  });
});

describe("the ICMPv6 checksum", () => {
  test.each(right)("of the outside vector $name is right", ({ packet }) => {
    const { source, destination, payload } = packet;
    expect(isIcmpv6ChecksumRight(source, destination, payload)).toBe(true);
  });

  test.each(right)("of the outside vector $name is the one we fill in", ({ packet }) => {
    const { source, destination, payload } = packet;
    const garbled = payload.slice();
    garbled.set([0xde, 0xad], 2);
    expect(withIcmpv6Checksum(source, destination, garbled)).toEqual(payload);
    expect(garbled.subarray(2, 4)).toEqual(hex("dead"));
  });

  it("of the outside vector checksum is wrong", () => {
    const packet = plain.find(({ name }) => name === "checksum")?.packet;
    expect.assert(packet !== undefined);
    const { source, destination, payload } = packet;
    expect(isIcmpv6ChecksumRight(source, destination, payload)).toBe(false);
  });

  it("covers the addresses", () => {
    const packet = right[0]?.packet;
    expect.assert(packet !== undefined);
    const { source, payload } = packet;
    expect(isIcmpv6ChecksumRight(source, source, payload)).toBe(false);
  });
});
