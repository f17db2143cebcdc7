import fc from "fast-check";
import { describe, expect, it, test } from "vitest";
import { parseIpv6 } from "../../../common/ip/address.ts";
import { encodeIpv6 } from "../../../common/ip/ipv6.ts";
import { AdvertisementPolice } from "../../../common/tunnel/advertisement-police.ts";
import { patternedMemory, place } from "../../support/packets.ts";
import { at } from "../../support/timeline.ts";

const PACKET = 16;
const LINK_LOCAL = "fe80::5";
const GLOBAL = "2001:db8::5";

function packetOf(nextHeader: number, type: number, destination: string): Uint8Array {
  return encodeIpv6({
    trafficClass: 0,
    flowLabel: 0,
    nextHeader,
    hopLimit: 255,
    source: parseIpv6("fe80::c"),
    destination: parseIpv6(destination),
    payload: Uint8Array.of(type, 0, 0, 0, 0, 0, 0, 0),
  });
}

/** An Echo Reply with the identifier of the server's probes, 0x6874. */
function probeAnswer(destination: string): Uint8Array {
  const packet = packetOf(58, 129, destination);
  packet.set([0x68, 0x74], 44);
  return packet;
}

const shortened = (packet: Uint8Array) => packet.slice(0, 45);

const ADVERTISEMENT = packetOf(58, 136, LINK_LOCAL);

function admitted(police: AdvertisementPolice, packet: Uint8Array, now: number): boolean {
  const memory = patternedMemory(256);
  return police.admit(memory, PACKET, place(memory, PACKET, packet), at(now));
}

/** A police that has one message left to admit, now and for a long time. */
const withOneLeft = () => new AdvertisementPolice({ rate: 0.001, burst: 1 });

it("admits a burst, then the rate", () => {
  const police = new AdvertisementPolice({ rate: 10, burst: 3 });
  const admittedAt = [0, 0, 0, 0, 50, 100, 150, 200].map((now) =>
    admitted(police, ADVERTISEMENT, now),
  );
  expect(admittedAt).toEqual([true, true, true, false, false, true, false, true]);
});

describe("takes from the rate", () => {
  test.each([
    { name: "a Router Solicitation", packet: packetOf(58, 133, "ff02::2") },
    { name: "a Router Advertisement", packet: packetOf(58, 134, "ff02::1") },
    { name: "a Neighbor Solicitation", packet: packetOf(58, 135, "ff02::1:ff00:5") },
    { name: "a Neighbor Advertisement", packet: ADVERTISEMENT },
    { name: "a Neighbor Advertisement to a global address", packet: packetOf(58, 136, GLOBAL) },
    { name: "a Redirect", packet: packetOf(58, 137, LINK_LOCAL) },
    { name: "an answer to a probe", packet: probeAnswer(LINK_LOCAL) },
    { name: "an answer to a probe, to a global address", packet: probeAnswer(GLOBAL) },
    { name: "hop-by-hop options to the link", packet: packetOf(0, 58, LINK_LOCAL) },
    { name: "a routing header to the link", packet: packetOf(43, 58, LINK_LOCAL) },
    { name: "a fragment to the link", packet: packetOf(44, 58, "febf::1") },
    { name: "an authentication header to the link", packet: packetOf(51, 58, LINK_LOCAL) },
    { name: "destination options to the link", packet: packetOf(60, 58, "ff02::1") },
    { name: "a mobility header to the link", packet: packetOf(135, 58, LINK_LOCAL) },
  ])("$name", ({ packet }) => {
    const police = withOneLeft();
    expect(admitted(police, packet, 0)).toBe(true);
    expect(admitted(police, packet, 0)).toBe(false);
    expect(admitted(police, ADVERTISEMENT, 0)).toBe(false);
  });
});

describe("takes nothing from the rate, and is admitted beyond it", () => {
  test.each([
    { name: "TCP", packet: packetOf(6, 136, LINK_LOCAL) },
    { name: "UDP to the link", packet: packetOf(17, 136, "ff02::fb") },
    { name: "an echo request", packet: packetOf(58, 128, LINK_LOCAL) },
    { name: "an answer to another's echo request", packet: packetOf(58, 129, LINK_LOCAL) },
    { name: "an answer that ends before its identifier", packet: shortened(probeAnswer(GLOBAL)) },
    { name: "a Packet Too Big", packet: packetOf(58, 2, GLOBAL) },
    { name: "a multicast listener report", packet: packetOf(58, 143, "ff02::16") },
    { name: "the type after the last", packet: packetOf(58, 138, LINK_LOCAL) },
    { name: "a fragment to a global address", packet: packetOf(44, 58, GLOBAL) },
    { name: "a fragment to an address next to link-local", packet: packetOf(44, 58, "fec0::1") },
    { name: "less than a header", packet: ADVERTISEMENT.slice(0, 39) },
    { name: "ICMPv6 without a type", packet: ADVERTISEMENT.slice(0, 40) },
  ])("$name", ({ packet }) => {
    const police = withOneLeft();
    expect(admitted(police, packet, 0)).toBe(true);
    expect(admitted(police, ADVERTISEMENT, 0)).toBe(true);
    expect(admitted(police, packet, 0)).toBe(true);
  });
});

it("gives a verdict on any octets and changes none", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 80 }), (octets) => {
      const memory = patternedMemory(128);
      place(memory, PACKET, octets);
      const before = memory.octets.slice();
      const verdict = withOneLeft().admit(memory, PACKET, octets.length, at(0));
      expect(verdict).toBe(true);
      expect(memory.octets).toEqual(before);
    }),
  );
});
