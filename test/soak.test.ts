/** How the soak judges; that it runs is test/netns/soak.test.ts's. */

import { describe, expect, it } from "vitest";
import { growth } from "../soak/change-soak.ts";
import { quantile } from "../soak/numbers.ts";
import { SeededRandom } from "../soak/random.ts";
import { WireLedger } from "../soak/wire-judge.ts";
import { EtherType } from "./support/capture.ts";

const SERVER = [198, 51, 100, 1];
const HOME = [192, 0, 2, 7];
const MARKER = "hometun-marker-0";

/** ESP as protocol 50 from one to the other: SPI, sequence number, IV. */
function esp(from: readonly number[], to: readonly number[], spi: number, number: number, iv = 0) {
  const octets = new Uint8Array(20 + 16 + 32);
  const view = new DataView(octets.buffer);
  octets.set([0x45, 0, 0, octets.length]);
  octets[9] = 50;
  octets.set(from, 12);
  octets.set(to, 16);
  view.setUint32(20, spi);
  view.setUint32(24, number);
  view.setUint32(32, iv);
  return { etherType: EtherType.ipv4, octets };
}

describe("what was sent", () => {
  it("is judged where it first appears, and may be seen again further on", () => {
    const ledger = new WireLedger({ uniqueness: "sequence-number", marker: MARKER });
    for (const link of ["wan0", "server"]) ledger.note(link, esp(HOME, SERVER, 300, 1));
    for (const link of ["server", "wan0b"]) ledger.note(link, esp(SERVER, HOME, 301, 1));
    expect(ledger.verdict).toEqual({ packets: 2, associations: 2, repeated: [], clear: 0 });
  });

  it("may not have a sequence number that was there before", () => {
    const ledger = new WireLedger({ uniqueness: "sequence-number", marker: MARKER });
    for (const [number, iv] of [
      [7, 1],
      [8, 1],
      [7, 2],
    ] as const) {
      ledger.note("wan0", esp(HOME, SERVER, 0x300, number, iv));
    }
    expect(ledger.verdict.repeated).toEqual(["SPI 0x300: 7"]);
  });

  it("may not have a nonce that was there before, whatever its number", () => {
    const ledger = new WireLedger({ uniqueness: "gcm-iv", marker: MARKER });
    ledger.note("server", esp(SERVER, HOME, 0x300, 1, 5));
    ledger.note("server", esp(SERVER, HOME, 0x301, 1, 5));
    ledger.note("server", esp(SERVER, HOME, 0x300, 2, 5));
    expect(ledger.verdict.repeated).toEqual(["SPI 0x300: 0000000000000005"]);
  });

  it("may not show what is inside", () => {
    const ledger = new WireLedger({ uniqueness: "gcm-iv", marker: MARKER });
    const octets = new TextEncoder().encode(`anything, then ${MARKER}`);
    ledger.note("wan0", { etherType: EtherType.ipv6, octets });
    expect(ledger.verdict.clear).toBe(1);
  });
});

describe("growth", () => {
  const samples = (values: readonly number[]) =>
    values.map((heap) => ({ heap, data: heap / 2, resident: 2 * heap }));

  it("is what the last samples have more than the first", () => {
    const values = Array.from({ length: 19 }, (_, index) => (index < 9 ? 100 : 103));
    expect(growth(samples(values), "data")).toBeCloseTo(0.03);
    expect(growth(samples(values), "resident")).toBeCloseTo(0.03);
  });

  it("is not the work of a single sample", () => {
    const values = [900, ...Array.from({ length: 27 }, () => 100), 900];
    expect(growth(samples(values), "heap")).toBe(0);
  });
});

it("quantiles are values that were measured", () => {
  expect([0, 0.5, 0.99, 1].map((share) => quantile([3, 1, 2, 4], share))).toEqual([1, 2, 4, 4]);
  expect(quantile([], 0.5)).toBe(0);
});

it("the same seed chooses the same, another seed otherwise", () => {
  const choices = (seed: number) => {
    const random = new SeededRandom(seed);
    return Array.from({ length: 50 }, () => random.between(2, 30));
  };
  expect(choices(7)).toEqual(choices(7));
  expect(choices(8)).not.toEqual(choices(7));
  expect(Math.min(...choices(7))).toBeGreaterThanOrEqual(2);
  expect(Math.max(...choices(7))).toBeLessThanOrEqual(30);
});
