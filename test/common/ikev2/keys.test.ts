import { describe, expect, it, test } from "vitest";
import type { Group, IkeEncryption, Prf } from "../../../common/ikev2/algorithms.ts";
import {
  deriveChildKeys,
  deriveIkeKeys,
  initialSkeyseed,
  prf,
  prfPlus,
  rekeyedSkeyseed,
} from "../../../common/ikev2/keys.ts";
import { hex } from "../../support/hex.ts";
import { charonSessions, initialExchange, rekeyExchange } from "./vectors/charon.ts";

describe("prf", () => {
  // RFC 4231 section 4.3, test case 2.
  test.each([
    {
      algorithm: "hmac-sha2-256",
      output: "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
    },
    {
      algorithm: "hmac-sha2-384",
      output:
        "af45d2e376484031617f78d2b58a6b1b9c7ef464f5a01b47e42ec3736322445e" +
        "8e2240ca5e69e2c78b3239ecfab21649",
    },
  ] as const)("$algorithm is RFC 4231's", ({ algorithm, output }) => {
    const text = new TextEncoder();
    const key = text.encode("Jefe");
    expect(
      prf(algorithm, key, text.encode("what do ya want "), text.encode("for nothing?")),
    ).toEqual(hex(output));
  });
});

describe("prf+", () => {
  it("gives at most 255 blocks, RFC 7296 section 2.13", () => {
    const key = new Uint8Array(32);
    expect(prfPlus("hmac-sha2-256", key, key, 255 * 32)).toHaveLength(255 * 32);
    expect(() => prfPlus("hmac-sha2-256", key, key, 255 * 32 + 1)).toThrow(RangeError);
  });
});

// Sessions of strongSwan 5.9.8 with itself: its messages as captured, the keys as its log shows them.
describe.each(charonSessions)("the keys of charon's session $name", (session) => {
  const suite = {
    encryption: session.encryption as IkeEncryption,
    prf: session.prf as Prf,
    group: session.group as Group,
  };
  const initial = initialExchange(session);
  const rekey = rekeyExchange(session);

  it("are derived from the first agreement", () => {
    const skeyseed = initialSkeyseed(suite.prf, initial.nonces, initial.sharedSecret);
    expect(skeyseed).toEqual(initial.skeyseed);
    expect(deriveIkeKeys({ suite, ...initial })).toEqual(initial.keys);
  });

  it("are derived anew when the IKE SA is rekeyed", () => {
    const old = { prf: suite.prf, d: initial.keys.d };
    const skeyseed = rekeyedSkeyseed(old, rekey.nonces, rekey.sharedSecret);
    expect(skeyseed).toEqual(rekey.skeyseed);
    expect(deriveIkeKeys({ suite, ...rekey })).toEqual(rekey.keys);
  });

  it.each(session.children)("of Child SA $number are cut in the right order", (child) => {
    const keys = deriveChildKeys({
      prf: suite.prf,
      d: initial.keys.d,
      suite: suite.encryption,
      nonces: child.nonces,
      ...(child.sharedSecret === undefined ? {} : { secret: child.sharedSecret }),
    });
    expect(keys).toEqual(child.keys);
  });
});
