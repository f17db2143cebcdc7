import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  addToSum,
  finishSum,
  internetChecksum,
  pseudoHeaderSum,
} from "../../../common/bytes/checksum.ts";
import { hex } from "../../support/hex.ts";

describe("the Internet checksum", () => {
  it("is that of RFC 1071 section 3's example", () => {
    expect(internetChecksum(hex("0001 f203 f4f5 f6f7"))).toBe(~0xddf2 & 0xffff);
  });

  it("counts the missing octet of an odd length as zero", () => {
    expect(internetChecksum(hex("0001 f2"))).toBe(internetChecksum(hex("0001 f200")));
  });

  it("is all ones of nothing and zero of all ones", () => {
    expect(internetChecksum(new Uint8Array(0))).toBe(0xffff);
    expect(internetChecksum(hex("ffff"))).toBe(0);
  });

  it("does not lose carries of a large region", () => {
    expect(internetChecksum(new Uint8Array(1 << 18).fill(0xff))).toBe(0);
  });

  it("is the same whether octets come in one range or in several of even length", () => {
    fc.assert(
      fc.property(fc.uint8Array(), fc.nat(), (octets, cut) => {
        const at = (cut % (octets.length + 1)) & ~1;
        const sum = addToSum(addToSum(0, octets.subarray(0, at)), octets.subarray(at));
        expect(finishSum(sum)).toBe(internetChecksum(octets));
      }),
    );
  });

  it("makes the whole sum to zero once it is filled in", () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 4 }), (octets) => {
        octets.fill(0, 2, 4);
        new DataView(octets.buffer, octets.byteOffset).setUint16(2, internetChecksum(octets));
        expect(internetChecksum(octets)).toBe(0);
      }),
    );
  });
});

describe("the IPv6 pseudo-header", () => {
  it("is summed like the 40 octets that RFC 8200 section 8.1 draws", () => {
    const source = hex("fe80 0000 0000 0000 02aa bbff fecc ddee");
    const destination = hex("ff02 0000 0000 0000 0000 0000 0000 0001");
    const drawn = new Uint8Array([...source, ...destination, ...hex("0001 0203 0000 003a")]);
    const sum = pseudoHeaderSum({ source, destination, length: 0x10203, nextHeader: 58 });
    expect(finishSum(sum)).toBe(internetChecksum(drawn));
  });
});
