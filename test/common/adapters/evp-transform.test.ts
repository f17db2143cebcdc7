/** What only the transform by addresses can get wrong: bounds, lifetimes, keys. Its vectors: test/common/esp. */

import { randomBytes } from "node:crypto";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { evpAvailable, openEvpTransform } from "../../../common/adapters/linux/evp-transform.ts";
import { Slab } from "../../../common/adapters/linux/slab.ts";
import { openNodeTransform } from "../../../common/esp/node-transform.ts";
import type { EspTransform } from "../../../common/esp/transform.ts";
import { COMBINATIONS, innerPacket, keysOf, Pair, SUITES } from "../esp/transforms.ts";

const reason = evpAvailable() ? "" : " (skipped: this Node does not export OpenSSL's EVP)";

describe.skipIf(!evpAvailable())(`the EVP transform${reason}`, () => {
  it.each(SUITES)("understands node:crypto and is understood by it: %s", (suite) => {
    for (const extended of [false, true]) {
      const keys = keysOf(suite, extended);
      const evp = new Pair({ open: openEvpTransform, keys });
      const node = new Pair({ open: openNodeTransform((count) => randomBytes(count)), keys });
      for (let length = 40; length < 140; length++) {
        const inner = innerPacket(length);
        expect(node.open(evp.seal(inner))).toBe(length);
        expect(node.inner(length)).toEqual(inner);
        expect(evp.open(node.seal(inner))).toBe(length);
        expect(evp.inner(length)).toEqual(inner);
      }
      evp.close();
      node.close();
    }
  });

  it.each(SUITES)("refuses keys of the wrong length: %s", (suite) => {
    const keys = keysOf(suite, false);
    for (const wrong of [
      { ...keys, encryptionKey: new Uint8Array(keys.encryptionKey.length - 1) },
      { ...keys, encryptionKey: new Uint8Array(0) },
      { ...keys, companion: new Uint8Array(keys.companion.length + 1) },
    ]) {
      expect(() => openEvpTransform(wrong, "outbound")).toThrow(RangeError);
    }
  });

  it.each(SUITES)("serves one direction only: %s", (suite) => {
    const memory = new Slab(256);
    const outbound = openEvpTransform(keysOf(suite, false), "outbound");
    const inbound = openEvpTransform(keysOf(suite, false), "inbound");
    expect(() => outbound.open(memory, 0, 32, 0)).toThrow("direction");
    expect(() => inbound.seal(memory, 0, 32, 0, 1)).toThrow("direction");
    outbound.close();
    inbound.close();
  });

  it("can be opened and closed many times, with other work between", () => {
    for (let i = 0; i < 300; i++) {
      for (const suite of SUITES) {
        const ends = new Pair({ open: openEvpTransform, keys: keysOf(suite, i % 2 === 0) });
        const forged = ends.seal(innerPacket(60));
        forged[30] = (forged[30] ?? 0) ^ 1;
        expect(ends.open(forged)).toBeLessThan(0);
        ends.close();
        ends.close();
      }
    }
    // A refusal leaves no error behind for Node to trip over.
    expect(randomBytes(16).length).toBe(16);
  });
});

const suites = COMBINATIONS.filter(({ name }) => name.endsWith("EVP"));
describe.skipIf(!evpAvailable())("the bounds of the memory", () => {
  const SIZE = 512;
  describe.each(suites)("$name", ({ open, keys }) => {
    let outbound: EspTransform<Slab>;
    let inbound: EspTransform<Slab>;
    beforeAll(() => {
      outbound = open(keys, "outbound");
      inbound = open(keys, "inbound");
    });
    afterAll(() => {
      outbound.close();
      inbound.close();
    });

    const edge = fc.oneof(
      fc.integer({ min: -64, max: SIZE + 64 }),
      fc.constantFrom(0, -0, 0.5, -1, SIZE, 2 ** 31, -(2 ** 31), 2 ** 32, 2 ** 53, 1e300),
      fc.constantFrom(Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY),
    );

    it("hold whatever offset and length are asked for", () => {
      const memory = new Slab(SIZE);
      fc.assert(
        fc.property(edge, edge, fc.boolean(), (offset, length, seal) => {
          const overhead = 8 + outbound.sizes.iv + outbound.sizes.icv;
          const whole = Number.isInteger(offset) && Number.isInteger(length);
          const inside = offset >= 0 && length >= 0 && offset + length + overhead <= SIZE;
          const usable = whole && inside && length % outbound.sizes.block === 0;
          const work = () =>
            seal
              ? outbound.seal(memory, offset, length, 0, 1)
              : inbound.open(memory, offset, length, 0);
          if (!inside) expect(work).toThrow(RangeError);
          else if (usable) expect(work).not.toThrow();
          else {
            // No caller asks this; it must do no more harm than an exception or a refusal.
            try {
              expect(work()).not.toBe(true);
            } catch (error) {
              expect(error).toBeInstanceOf(Error);
            }
          }
        }),
        { numRuns: 500 },
      );
    });
  });
});
