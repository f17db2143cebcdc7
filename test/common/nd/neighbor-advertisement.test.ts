import fc from "fast-check";
import { describe, expect, it, test } from "vitest";
import { MalformedError } from "../../../common/errors.ts";
import { parseIpv4, parseIpv6 } from "../../../common/ip/address.ts";
import { withIcmpv6Checksum } from "../../../common/ip/icmpv6.ts";
import { encodeIpv6, IpProtocol } from "../../../common/ip/ipv6.ts";
import {
  decodeNeighborAdvertisement,
  encodeNeighborAdvertisement,
} from "../../../common/nd/neighbor-advertisement.ts";
import { ipv4LinkLayerOption, type NdOption } from "../../../common/nd/option.ts";
import { hex } from "../../support/hex.ts";
import vectors from "../../vectors/vectors.json" with { type: "json" };

const CLIENT = parseIpv6(vectors.client_ll);
const SERVER = parseIpv6(vectors.server_ll);
const CLIENT_GLOBAL = parseIpv6(vectors.client_global);
const SERVER_GLOBAL = parseIpv6(vectors.server_global);
const ALL_NODES = parseIpv6("ff02::1");
const TARGET = "fe80 0000 0000 0000 02aa bbff fecc ddee";

const here: NdOption = ipv4LinkLayerOption(2, parseIpv4(vectors.client4_new));
const plain = { router: false, solicited: false, override: true, target: CLIENT, options: [here] };
const ends = { source: CLIENT, destination: SERVER };

// The outside octets of each name are in vectors.json; this says what they mean.
const cases = [
  { name: "unsolicited", ...ends, advertisement: plain },
  { name: "unsolicited-allnodes", ...ends, destination: ALL_NODES, advertisement: plain },
  {
    name: "unsolicited-global",
    source: CLIENT_GLOBAL,
    destination: SERVER_GLOBAL,
    advertisement: { ...plain, target: CLIENT_GLOBAL },
  },
  { name: "router-flag", ...ends, advertisement: { ...plain, router: true } },
  { name: "no-override", ...ends, advertisement: { ...plain, override: false } },
  { name: "solicited", ...ends, advertisement: { ...plain, solicited: true } },
  { name: "no-option", ...ends, advertisement: { ...plain, options: [] } },
  {
    name: "unknown-option-first",
    ...ends,
    advertisement: { ...plain, options: [{ type: 0xfd, value: new Uint8Array(6) }, here] },
  },
  {
    name: "unknown-option-after",
    ...ends,
    advertisement: { ...plain, options: [here, { type: 0xfd, value: new Uint8Array(14) }] },
  },
];

describe("a Neighbor Advertisement", () => {
  test.each(cases)(
    "of the outside vector $name is written with its octets, checksum and all",
    ({ name, source, destination, advertisement }) => {
      const icmp = encodeNeighborAdvertisement(advertisement);
      const payload = withIcmpv6Checksum(source, destination, icmp);
      const nextHeader = IpProtocol.icmpv6;
      const fixed = { trafficClass: 0, flowLabel: 0, hopLimit: 255 };
      const packet = encodeIpv6({ ...fixed, nextHeader, source, destination, payload });
      expect(packet).toEqual(innerOf(name));
    },
  );

  test.each(cases)("of the outside vector $name is read", ({ name, advertisement }) => {
    expect(decodeNeighborAdvertisement(innerOf(name).subarray(40))).toEqual(advertisement);
  });

  it("is read with its reserved bits ignored", () => {
    expect(decodeNeighborAdvertisement(innerOf("reserved-bits").subarray(40))).toEqual(plain);
  });

  it("is written with a checksum of zero", () => {
    expect(encodeNeighborAdvertisement({ ...plain, options: [] })).toEqual(
      hex("88 00 0000", "20000000", TARGET),
    );
  });
});

describe("a Neighbor Advertisement is refused", () => {
  test.each([
    { name: "without octets", wire: "", code: "truncated" },
    { name: "of another type", wire: `87 00 0000 20000000 ${TARGET}`, code: "wrong-type" },
    { name: "cut in its flags", wire: "88 00 0000 2000", code: "truncated" },
    { name: "cut in its target", wire: "88 00 0000 20000000 fe80", code: "truncated" },
    { name: "with a lone octet of option", wire: `88 00 0000 20000000 ${TARGET} 02` },
    {
      name: "with an option of length zero",
      wire: `88 00 0000 20000000 ${TARGET} 0200 0000cb007163`,
      code: "option-length-zero",
    },
  ])("$name", ({ wire, code = "truncated" }) => {
    expect(() => decodeNeighborAdvertisement(hex(wire))).toThrow(expect.objectContaining({ code }));
  });

  it("or read, whatever its octets are", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 64 }), fc.boolean(), (octets, asType) => {
        if (asType && octets.length > 0) octets[0] = 136;
        try {
          decodeNeighborAdvertisement(octets);
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
