import fc from "fast-check";
import { describe, expect, it, test } from "vitest";
import { MalformedError } from "../../../common/errors.ts";
import { parseIpv4 } from "../../../common/ip/address.ts";
import {
  decodeNdOptions,
  encodeNdOptions,
  ipv4LinkLayerOption,
  linkLayerIpv4,
  NdOptionType,
} from "../../../common/nd/option.ts";
import { hex } from "../../support/hex.ts";

describe("Neighbor Discovery options", () => {
  // Laid out by hand from RFC 4861 section 4.6.
  test.each([
    { name: "none", wire: "", options: [] },
    {
      name: "a known one between unknown ones of one and two units",
      wire: `fd01 000000000000  0201 0000cb007163  fe02 ${"ab".repeat(14)}`,
      options: [
        { type: 0xfd, value: hex("000000000000") },
        { type: 2, value: hex("0000cb007163") },
        { type: 0xfe, value: hex("ab".repeat(14)) },
      ],
    },
    {
      name: "the longest",
      wire: `07ff ${"cd".repeat(2038)}`,
      options: [{ type: 7, value: hex("cd".repeat(2038)) }],
    },
  ])("are read and written: $name", ({ wire, options }) => {
    expect(decodeNdOptions(hex(wire))).toEqual(options);
    expect(encodeNdOptions(options)).toEqual(hex(wire));
  });

  test.each([
    { name: "of length zero", wire: "0200 0000cb007163", code: "option-length-zero" },
    { name: "of length zero after a good one", wire: "0201 0000cb007163 fd00 000000000000" },
    { name: "without a length", wire: "02", code: "truncated" },
    { name: "cut in its value", wire: "0201 0000cb00", code: "truncated" },
    { name: "longer than the message", wire: "0202 0000cb007163", code: "truncated" },
  ])("are refused: one $name", ({ wire, code = "option-length-zero" }) => {
    expect(() => decodeNdOptions(hex(wire))).toThrow(
      expect.objectContaining({ layer: "nd", code }),
    );
  });

  test.each([0, 5, 7, 8, 2046])("are not written with a value of %i octets", (length) => {
    expect(() => encodeNdOptions([{ type: 2, value: new Uint8Array(length) }])).toThrow(RangeError);
  });

  it("of any octets are read and come back the same, or are malformed", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 64 }), (octets) => {
        try {
          expect(encodeNdOptions(decodeNdOptions(octets))).toEqual(octets);
        } catch (error) {
          expect(error).toBeInstanceOf(MalformedError);
        }
      }),
    );
  });
});

describe("a link-layer address option with an IPv4 address", () => {
  it("has two zero octets before it, RFC 2529 section 5", () => {
    const { targetLinkLayerAddress, sourceLinkLayerAddress } = NdOptionType;
    const address = parseIpv4("203.0.113.99");
    const target = ipv4LinkLayerOption(targetLinkLayerAddress, address);
    const source = ipv4LinkLayerOption(sourceLinkLayerAddress, address);
    expect(encodeNdOptions([target, source])).toEqual(hex("0201 0000cb007163 0101 0000cb007163"));
    expect(linkLayerIpv4(target)).toBe("203.0.113.99");
  });

  test.each([
    { name: "an Ethernet address", value: "02aabbccddee" },
    { name: "something in the first zero octet", value: "0100cb007163" },
    { name: "something in the second zero octet", value: "0001cb007163" },
    { name: "two units", value: "0000cb0071630000000000000000" },
  ])("is not seen in one with $name", ({ value }) => {
    expect(linkLayerIpv4({ type: 2, value: hex(value) })).toBeUndefined();
  });
});
