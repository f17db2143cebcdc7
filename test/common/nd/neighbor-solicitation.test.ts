import fc from "fast-check";
import { describe, expect, it, test } from "vitest";
import { MalformedError } from "../../../common/errors.ts";
import { parseIpv4, parseIpv6 } from "../../../common/ip/address.ts";
import { withIcmpv6Checksum } from "../../../common/ip/icmpv6.ts";
import {
  decodeNeighborSolicitation,
  encodeNeighborSolicitation,
} from "../../../common/nd/neighbor-solicitation.ts";
import { ipv4LinkLayerOption } from "../../../common/nd/option.ts";
import { hex } from "../../support/hex.ts";
import vectors from "../../vectors/vectors.json" with { type: "json" };

const CLIENT = parseIpv6("fe80::2aa:bbff:fecc:ddee");
const TARGET = "fe80 0000 0000 0000 02aa bbff fecc ddee";

describe("a Neighbor Solicitation", () => {
  // Laid out by hand from RFC 4861 section 4.3.
  test.each([
    { name: "bare", wire: `87 00 0000 00000000 ${TARGET}`, options: [] },
    {
      name: "with the sender's IPv4 address",
      wire: `87 00 0000 00000000 ${TARGET} 0101 0000c0000201`,
      options: [ipv4LinkLayerOption(1, parseIpv4("192.0.2.1"))],
    },
  ])("is read and written: $name", ({ wire, options }) => {
    const solicitation = { target: CLIENT, options };
    expect(encodeNeighborSolicitation(solicitation)).toEqual(hex(wire));
    expect(decodeNeighborSolicitation(hex(wire))).toEqual(solicitation);
  });

  it("of the outside vector type-ns is read, its reserved octets ignored", () => {
    const icmp = innerOf("type-ns").subarray(40);
    const options = [ipv4LinkLayerOption(2, parseIpv4(vectors.client4_new))];
    expect(decodeNeighborSolicitation(icmp)).toEqual({ target: CLIENT, options });
  });

  it("has the checksum of the outside vector type-ns, but for the reserved octets", () => {
    const options = [ipv4LinkLayerOption(2, parseIpv4(vectors.client4_new))];
    const icmp = encodeNeighborSolicitation({ target: CLIENT, options });
    icmp[4] = 0x20; // what the vector has there
    const filled = withIcmpv6Checksum(CLIENT, parseIpv6(vectors.server_ll), icmp);
    expect(filled).toEqual(innerOf("type-ns").subarray(40));
  });
});

describe("a Neighbor Solicitation is refused", () => {
  test.each([
    { name: "without octets", wire: "", code: "truncated" },
    { name: "of another type", wire: `88 00 0000 00000000 ${TARGET}`, code: "wrong-type" },
    { name: "cut in its target", wire: "87 00 0000 00000000 fe80", code: "truncated" },
    {
      name: "with an option of length zero",
      wire: `87 00 0000 00000000 ${TARGET} 0100 0000c0000201`,
      code: "option-length-zero",
    },
  ])("$name", ({ wire, code }) => {
    expect(() => decodeNeighborSolicitation(hex(wire))).toThrow(expect.objectContaining({ code }));
  });

  it("or read, whatever its octets are", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 64 }), fc.boolean(), (octets, asType) => {
        if (asType && octets.length > 0) octets[0] = 135;
        try {
          decodeNeighborSolicitation(octets);
        } catch (error) {
          expect(error).toBeInstanceOf(MalformedError);
        }
      }),
    );
  });
});

function innerOf(name: string): Uint8Array {
  const found = vectors.na.find((vector) => vector.name === name);
  expect.assert(found !== undefined);
  return hex(found.inner);
}
