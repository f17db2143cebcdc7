/** The kernel runs the programs, on a socket of the loopback interface. */

import { createSocket, type Socket } from "node:dgram";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import {
  type EspFilterPlan,
  type IkeShares,
  strayChance,
  udpFilter,
} from "../../../../common/adapters/linux/esp-filter.ts";
import { checked, libcCalls } from "../../../../common/adapters/linux/libc.ts";
import { PROGRAM_LENGTH } from "../../../../common/adapters/linux/packet-filter.ts";
import { Slab } from "../../../../common/adapters/linux/slab.ts";
import { SocketDrops } from "../../../../common/adapters/linux/socket-drops.ts";
import {
  AF_INET,
  SO_ATTACH_FILTER,
  SOCK_DGRAM,
  SOCK_NONBLOCK,
  SOL_SOCKET,
} from "../../../../common/adapters/linux/socket-numbers.ts";

const LOOPBACK = 0x7f000001;
const SOCKADDR_LENGTH = 16;
const COUNT = 200;
const SOME = { least: 1, most: 40 }; // of 200, with a share of 5 %
const ALL_IKE: IkeShares = { unknown: 1, rest: 1 };
const NO_PLAN: EspFilterPlan = { guarded: [], strays: undefined };

let fd: number;
let port: number;
let sender: Socket;
const buffer = new Slab(2048);

beforeAll(async () => {
  fd = checked(libcCalls.socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0), "open a socket");
  const name = new Slab(SOCKADDR_LENGTH);
  name.view.setUint16(0, AF_INET, true);
  name.view.setUint32(4, LOOPBACK);
  const address = name.address(0, SOCKADDR_LENGTH);
  checked(libcCalls.bind(fd, address, SOCKADDR_LENGTH), "bind it");
  const length = new Slab(8);
  length.words32[0] = SOCKADDR_LENGTH;
  checked(libcCalls.getsockname(fd, address, length.address(0, 4)), "ask for its port");
  port = name.view.getUint16(2);
  sender = createSocket("udp4");
  await new Promise<void>((resolve) => sender.bind(0, "127.0.0.1", resolve));
});

afterAll(() => {
  sender.close();
  libcCalls.close(fd);
});

function attach(shares: IkeShares, plan: EspFilterPlan): void {
  const address = udpFilter(shares, plan).address(0, PROGRAM_LENGTH);
  const done = libcCalls.setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, address, PROGRAM_LENGTH);
  checked(done, "attach the program");
}

/** How many of so many equal datagrams come through; on the loopback they are there when `send` has called back. */
async function passing(datagram: Uint8Array): Promise<number> {
  let passed = 0;
  for (let sent = 0; sent < COUNT; sent++) {
    await new Promise((resolve) => sender.send(datagram, port, "127.0.0.1", resolve));
    if (libcCalls.read(fd, buffer.address(0, 2048), 2048) >= 0) passed += 1;
  }
  return passed;
}

function esp(spi: number): Uint8Array {
  const octets = new Uint8Array(60).fill(7);
  new DataView(octets.buffer).setUint32(0, spi);
  return octets;
}

/** Behind the marker: SPIs, version, exchange, length. */
function ike(fields: { version?: number; exchange?: number; length?: number; responder?: number }) {
  const { version = 0x20, exchange = 34, length = 76, responder = 0 } = fields;
  const octets = new Uint8Array(80).fill(1);
  const view = new DataView(octets.buffer);
  view.setUint32(0, 0);
  view.setUint32(12, responder);
  view.setUint32(16, 0);
  octets[21] = version;
  octets[22] = exchange;
  view.setUint32(28, length);
  return octets;
}

const expectSome = (count: number) => {
  expect(count).toBeGreaterThanOrEqual(SOME.least);
  expect(count).toBeLessThanOrEqual(SOME.most);
};

describe("without a flood", () => {
  beforeEach(() => attach(ALL_IKE, NO_PLAN));

  it.each([
    { what: "a keepalive", datagram: Uint8Array.of(0xff) },
    { what: "ESP", datagram: esp(0x1234) },
    { what: "a first message of IKE", datagram: ike({}) },
    { what: "any other message of IKE", datagram: ike({ exchange: 37, responder: 5 }) },
  ])("$what comes through", async ({ datagram }) => {
    expect(await passing(datagram)).toBe(COUNT);
  });

  it.each([
    { what: "of version 1", datagram: ike({ version: 0x10 }) },
    { what: "longer than a datagram can be", datagram: ike({ length: 0x10000 }) },
    { what: "shorter than its header", datagram: ike({}).subarray(0, 20) },
  ])("IKE $what does not", async ({ datagram }) => {
    expect(await passing(datagram)).toBe(0);
  });
});

it("a share of newcomers' IKE comes through, and all of the rest", async () => {
  attach({ unknown: 0.05, rest: 1 }, NO_PLAN);
  expectSome(await passing(ike({})));
  expect(await passing(ike({ responder: 5 }))).toBe(COUNT);
  expect(await passing(esp(0x1234))).toBe(COUNT);
});

it("a share of the rest of IKE, and all newcomers", async () => {
  attach({ unknown: 1, rest: 0.05 }, NO_PLAN);
  expectSome(await passing(ike({ exchange: 37, responder: 5 })));
  expect(await passing(ike({}))).toBe(COUNT);
});

it("a share of what bears a guarded SPI, but all of it from where its home is", async () => {
  const guarded = { spi: 0x5555, share: 0.05 };
  attach(ALL_IKE, { ...NO_PLAN, guarded: [{ ...guarded, exempt: 0 }] });
  expectSome(await passing(esp(0x5555)));
  expect(await passing(esp(0x1234))).toBe(COUNT);
  attach(ALL_IKE, { ...NO_PLAN, guarded: [{ ...guarded, exempt: LOOPBACK }] });
  expect(await passing(esp(0x5555))).toBe(COUNT);
});

it("a share of what bears an unknown SPI, and all of what bears one of five hundred known ones", async () => {
  const known = Array.from({ length: 500 }, (_, index) => 256 + index * 0x00801003);
  attach(ALL_IKE, { ...NO_PLAN, strays: { known, share: 0.05 } });
  for (const spi of [known[0], known[250], known[499]]) {
    expect(await passing(esp(spi ?? 0))).toBe(COUNT);
  }
  const unknown = Array.from({ length: 20 }, (_, index) => 0xc0ffee00 + index * 7919);
  const counts: number[] = [];
  for (const spi of unknown) counts.push(await passing(esp(spi)));
  const hidden = counts.filter((count) => count <= SOME.most);
  // One unknown SPI in sixteen looks known.
  expect(hidden.length).toBeGreaterThan(12);
  expect(await passing(ike({}))).toBe(COUNT);
});

it.each([
  { what: "keepalives", datagram: Uint8Array.of(0xff) },
  { what: "what is too short for an SPI", datagram: Uint8Array.of(1, 2, 3) },
])("a share of $what comes through while there are too many strays", async ({ datagram }) => {
  attach(ALL_IKE, { ...NO_PLAN, strays: { known: [0x1234], share: 0.05 } });
  expectSome(await passing(datagram));
  expect(await passing(esp(0x1234))).toBe(COUNT);
  expect(await passing(ike({}))).toBe(COUNT);
});

it("what is dropped is counted", async () => {
  const drops = new SocketDrops(fd);
  const before = drops.read();
  attach({ unknown: 0.05, rest: 1 }, NO_PLAN);
  const passed = await passing(ike({}));
  expect(drops.read() - before).toBe(COUNT - passed);
  expect(drops.read() - before).toBe(COUNT - passed);
});

it("as likely as is said does an unknown SPI come through", async () => {
  const known = Array.from({ length: 500 }, (_, index) => 256 + index * 0x00801003);
  const strays = { known, share: 0.05 };
  attach(ALL_IKE, { ...NO_PLAN, strays });
  let passed = 0;
  for (let sent = 0; sent < 20 * COUNT; sent++) {
    const datagram = esp(Math.imul(sent + 1, 0x9e3779b1) ^ 0x5bd1e995);
    await new Promise((resolve) => sender.send(datagram, port, "127.0.0.1", resolve));
    if (libcCalls.read(fd, buffer.address(0, 2048), 2048) >= 0) passed += 1;
  }
  const chance = strayChance(strays);
  expect(chance).toBeGreaterThan(0.05);
  expect(passed / (20 * COUNT)).toBeGreaterThan(chance / 1.5);
  expect(passed / (20 * COUNT)).toBeLessThan(chance * 1.5);
});

it("ten thousand known SPIs still make a program that the kernel takes", () => {
  const known = Array.from({ length: 10_000 }, (_, index) => 256 + index * 65_537);
  const guarded = known.slice(0, 40).map((spi) => ({ spi, share: 0.5, exempt: 0 }));
  attach(ALL_IKE, { guarded, strays: { known, share: 0.01 } });
});
