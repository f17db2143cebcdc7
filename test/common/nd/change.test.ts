import fc from "fast-check";
import { describe, expect, it, test } from "vitest";
import { type ChangeId, changeId, changeOf, changeOption } from "../../../common/nd/change.ts";
import { decodeNdOptions, encodeNdOptions } from "../../../common/nd/option.ts";
import { hex } from "../../support/hex.ts";

const CHANGE = "0123456789ab" as ChangeId;
/** RFC 3971 section 5.3.2: type 14, length 1 (of 8 octets), six octets of nonce. */
const NONCE = hex("0e 01", "0123 4567 89ab");
const LINK_LAYER = hex("02 01", "0000", "c0000207");

describe("the name of a change", () => {
  it("is a Nonce option of six octets on the wire", () => {
    expect(encodeNdOptions([changeOption(CHANGE)])).toEqual(NONCE);
  });

  it("is read wherever the option stands among others", () => {
    for (const wire of [hex("0e01 0123456789ab 0201 0000c0000207"), join(LINK_LAYER, NONCE)]) {
      expect(changeOf(decodeNdOptions(wire))).toBe(CHANGE);
    }
  });

  test.each([
    { name: "no nonce", wire: LINK_LAYER },
    { name: "no option", wire: hex("") },
    { name: "a longer nonce", wire: hex("0e02", "0123456789ab", "0123456789abcdef") },
    { name: "two nonces", wire: join(NONCE, NONCE) },
    { name: "a longer one after it", wire: join(NONCE, hex("0e02", "00".repeat(14))) },
  ])("is not there: $name", ({ wire }) => {
    expect(changeOf(decodeNdOptions(wire))).toBeUndefined();
  });

  it("is made of six octets and no other number", () => {
    expect(changeId(hex("0123456789ab"))).toBe(CHANGE);
    for (const count of [0, 5, 7])
      expect(() => changeId(new Uint8Array(count))).toThrow(RangeError);
  });

  it("is twelve hexadecimal digits or nothing for any options", () => {
    const options = fc.array(
      fc.record({
        type: fc.constantFrom(1, 2, 14),
        value: fc.uint8Array({ maxLength: 30 }),
      }),
    );
    fc.assert(
      fc.property(options, (all) => {
        expect(changeOf(all) ?? "000000000000").toMatch(/^[0-9a-f]{12}$/);
      }),
    );
  });
});

function join(...parts: readonly Uint8Array[]): Uint8Array {
  return Uint8Array.from(parts.flatMap((part) => [...part]));
}
