import { expect, it } from "vitest";
import { parseIpv6 } from "../../../common/ip/address.ts";
import { encodeIpv6 } from "../../../common/ip/ipv6.ts";
import { AdvertisementOrder, isAdvertisement } from "../../../common/tunnel/advertisement-order.ts";
import { patternedMemory, place } from "../../support/packets.ts";

const PACKET = 16;
const ADVERTISEMENT = 136;
const ECHO_REPLY = 129;

function admitted(order: AdvertisementOrder, type: number, sequence: number): boolean {
  const memory = patternedMemory(256);
  const packet = encodeIpv6({
    trafficClass: 0,
    flowLabel: 0,
    nextHeader: 58,
    hopLimit: 255,
    source: parseIpv6("fe80::c"),
    destination: parseIpv6("fe80::5"),
    payload: Uint8Array.of(type, 0, 0, 0, 0, 0, 0, 0),
  });
  const length = place(memory, PACKET, packet);
  return !isAdvertisement(memory, PACKET, length) || order.admit(sequence);
}

it("admits advertisements in the order of their numbers, gaps and all", () => {
  const order = new AdvertisementOrder(0);
  const numbers = [1, 2, 7, 1_000, 2 ** 40];
  expect(numbers.map((number) => admitted(order, ADVERTISEMENT, number))).toEqual(
    numbers.map(() => true),
  );
});

it("refuses an advertisement that a later one has overtaken, and goes on with the next", () => {
  const order = new AdvertisementOrder(0);
  expect(admitted(order, ADVERTISEMENT, 10)).toBe(true);
  expect(admitted(order, ADVERTISEMENT, 9)).toBe(false);
  expect(admitted(order, ADVERTISEMENT, 11)).toBe(true);
});

it("refuses an advertisement older than anything received before a restart", () => {
  const order = new AdvertisementOrder(500);
  expect(admitted(order, ADVERTISEMENT, 499)).toBe(false);
  expect(admitted(order, ADVERTISEMENT, 501)).toBe(true);
});

it("lets everything else come in any order, and takes no order from it", () => {
  const order = new AdvertisementOrder(0);
  expect(admitted(order, ADVERTISEMENT, 10)).toBe(true);
  expect(admitted(order, ECHO_REPLY, 5)).toBe(true);
  expect(admitted(order, ECHO_REPLY, 20)).toBe(true);
  expect(admitted(order, ADVERTISEMENT, 15)).toBe(true);
});

it("takes what ends before its type for no advertisement", () => {
  const memory = patternedMemory(256);
  const headerOnly = encodeIpv6({
    trafficClass: 0,
    flowLabel: 0,
    nextHeader: 58,
    hopLimit: 255,
    source: parseIpv6("fe80::c"),
    destination: parseIpv6("fe80::5"),
    payload: Uint8Array.of(),
  });
  expect(isAdvertisement(memory, PACKET, place(memory, PACKET, headerOnly))).toBe(false);
});
