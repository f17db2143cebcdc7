import { describe, expect, it, test } from "vitest";
import { beginKeyAgreement } from "../../../common/ikev2/key-agreement.ts";
import { hex } from "../../support/hex.ts";

describe("key agreement", () => {
  // RFC 7748 section 6.1: Alice's private key, her public value, Bob's, what they share.
  it("X25519 is RFC 7748's", () => {
    const agreement = beginKeyAgreement("x25519", () => hex(ALICE_PRIVATE));
    expect(agreement.publicValue).toEqual(hex(ALICE_PUBLIC));
    expect(agreement.sharedSecret(hex(BOB_PUBLIC))).toEqual(hex(ALICE_AND_BOB));
  });

  // RFC 5903 section 8.1.
  it("ECP-256 is RFC 5903's", () => {
    const agreement = beginKeyAgreement("ecp-256", () =>
      hex("C88F01F510D9AC3F70A292DAA2316DE544E9AAB8AFE84049C62A9C57862D1433"),
    );
    expect(agreement.publicValue).toEqual(
      hex(
        "DAD0B65394221CF9B051E1FECA5787D098DFE637FC90B9EF945D0C3772581180",
        "5271A0461CDB8252D61F1C456FA3E59AB1F45B33ACCF5F58389E0577B8990BB3",
      ),
    );
    const responder = hex(
      "D12DFB5289C8D4F81208B70270398C342296970A0BCCB74C736FC7554494BF63",
      "56FBF3CA366CC23E8157854C13C58D6AAC23F046ADA30F8353E74F33039872AB",
    );
    expect(agreement.sharedSecret(responder)).toEqual(
      hex("D6840F6B42F6EDAFD13116E0E12565202FEF8E9ECE7DCE03812464D04B9442DE"),
    );
  });

  test.each(["x25519", "ecp-256", "modp-2048"] as const)("%s gives both the same", (group) => {
    let last = 1;
    const random = (length: number) =>
      Uint8Array.from({ length }, () => (last = (last * 75) % 251));
    const one = beginKeyAgreement(group, random);
    const other = beginKeyAgreement(group, random);
    expect(one.sharedSecret(other.publicValue)).toEqual(other.sharedSecret(one.publicValue));
  });

  it("MODP-2048 works with an exponent of one, where the answer is known", () => {
    const random = (length: number) => Uint8Array.from({ length }, (_, i) => +(i === length - 1));
    const agreement = beginKeyAgreement("modp-2048", random);
    const number = (value: number) =>
      Uint8Array.from({ length: 256 }, (_, i) => +(i === 255) * value);
    expect(agreement.publicValue).toEqual(number(2));
    expect(agreement.sharedSecret(number(7))).toEqual(number(7));
  });

  // RFC 6989: values outside the group, of small order, of a wrong length.
  test.each([
    { group: "x25519", name: "of small order", value: "00".repeat(32) },
    { group: "x25519", name: "too short", value: "09" },
    { group: "ecp-256", name: "beside the curve", value: "01".repeat(64) },
    { group: "ecp-256", name: "with its form before it", value: `04${"01".repeat(64)}` },
    { group: "modp-2048", name: "zero", value: "00".repeat(256) },
    { group: "modp-2048", name: "one", value: `${"00".repeat(255)}01` },
    { group: "modp-2048", name: "as great as the prime", value: "ff".repeat(256) },
    { group: "modp-2048", name: "too short", value: "02" },
  ] as const)("$group refuses a value $name", ({ group, value }) => {
    const agreement = beginKeyAgreement(group, (length) => new Uint8Array(length).fill(3));
    expect(() => agreement.sharedSecret(hex(value))).toThrow(
      expect.objectContaining({ layer: "ikev2", code: "public-value" }),
    );
  });
});

const ALICE_PRIVATE = "77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a";
const ALICE_PUBLIC = "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a";
const BOB_PUBLIC = "de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f";
const ALICE_AND_BOB = "4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742";
