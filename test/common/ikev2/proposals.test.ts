import { describe, expect, it, test } from "vitest";
import type { ChildSuite, IkeSuite } from "../../../common/ikev2/algorithms.ts";
import {
  childProposals,
  chooseChild,
  chooseIke,
  chosenChildProposal,
  ikeProposals,
} from "../../../common/ikev2/proposals.ts";
import type { Proposal } from "../../../common/ikev2/wire/payloads/security-association.ts";
import { hex } from "../../support/hex.ts";

const GCM: IkeSuite = { encryption: "aes-gcm-256", prf: "hmac-sha2-256", group: "x25519" };
const CBC: IkeSuite = {
  encryption: "aes-cbc-256-hmac-sha2-256-128",
  prf: "hmac-sha2-384",
  group: "ecp-256",
};
const ESP: ChildSuite = { suite: "aes-gcm-256", extendedSequenceNumbers: [true, false] };
const withGroups = { withGroups: true };

const encr = { type: 1, id: 20, keyLength: 256 };
const prf = { type: 2, id: 5 };
const group = { type: 4, id: 31 };
const ike = (...transforms: Proposal["transforms"]): Proposal => ({
  number: 1,
  protocol: 1,
  spi: hex(),
  transforms,
});
const esp = (...transforms: Proposal["transforms"]): Proposal => ({
  number: 1,
  protocol: 3,
  spi: hex("c0ffee01"),
  transforms,
});

describe("proposals for an IKE SA", () => {
  // Numbers of IANA's registry, RFC 7296 section 3.3.2, RFC 5282, RFC 8031.
  it("name each suite's transforms", () => {
    expect(ikeProposals([GCM, CBC]).map(({ transforms }) => transforms)).toEqual([
      [encr, prf, group],
      [
        { type: 1, id: 12, keyLength: 256 },
        { type: 2, id: 6 },
        { type: 3, id: 12 },
        { type: 4, id: 19 },
      ],
    ]);
  });

  it("are chosen among by the responder's preference, by number", () => {
    expect(chooseIke(ikeProposals([GCM, CBC]), [CBC, GCM])).toMatchObject({
      suite: CBC,
      number: 2,
    });
  });

  test.each([
    {
      name: "more than we asked of each type",
      offer: ike({ ...encr, keyLength: 128 }, encr, { type: 2, id: 7 }, prf, group),
    },
    { name: "integrity NONE with an AEAD", offer: ike(encr, { type: 3, id: 0 }, prf, group) },
  ])("may hold $name", ({ offer }) => {
    expect(chooseIke([offer], [GCM])?.suite).toBe(GCM);
  });

  test.each([
    {
      name: "a type we do not know, RFC 7296 section 3.3.6",
      offer: ike(encr, prf, group, { type: 6, id: 1 }),
    },
    { name: "integrity with an AEAD", offer: ike(encr, { type: 3, id: 12 }, prf, group) },
    { name: "another key length", offer: ike({ ...encr, keyLength: 128 }, prf, group) },
    { name: "no key length", offer: ike({ type: 1, id: 20 }, prf, group) },
    {
      name: "an attribute we do not know",
      offer: ike({ ...encr, hasUnknownAttributes: true }, prf, group),
    },
    { name: "no key exchange", offer: ike(encr, prf) },
    { name: "another protocol", offer: { ...ike(encr, prf, group), protocol: 3 } },
  ])("are not chosen with $name", ({ offer }) => {
    expect(chooseIke([offer], [GCM])).toBeUndefined();
  });
});

describe("proposals for a Child SA", () => {
  it("offer both kinds of sequence numbers, and one of them is chosen", () => {
    const [offer] = childProposals([ESP], 0xc0ffee01, withGroups);
    expect(offer).toEqual(esp(encr, { type: 5, id: 1 }, { type: 5, id: 0 }));
    const chosen = chooseChild(
      [esp(encr, { type: 5, id: 1 }, { type: 5, id: 0 })],
      [ESP],
      withGroups,
    );
    expect(chosen).toMatchObject({ extendedSequenceNumbers: true, peerSpi: 0xc0ffee01 });
    if (chosen === undefined) throw new Error("not chosen");
    expect(chosenChildProposal(chosen, 0x1234).transforms).toEqual([encr, { type: 5, id: 1 }]);
  });

  it("in IKE_AUTH leave groups out, and groups of the peer are ignored there", () => {
    const suite: ChildSuite = { ...ESP, group: "x25519" };
    expect(childProposals([suite], 1, { withGroups: false })[0]?.transforms).not.toContainEqual(
      group,
    );
    const offer = esp(encr, group, { type: 5, id: 0 });
    expect(chooseChild([offer], [ESP], { withGroups: false })).toBeDefined();
    expect(chooseChild([offer], [ESP], withGroups)).toBeUndefined();
    expect(chooseChild([offer], [suite], withGroups)).toMatchObject({ group: "x25519" });
  });

  it("are not chosen without a SPI of four octets", () => {
    expect(
      chooseChild([{ ...esp(encr, { type: 5, id: 0 }), spi: hex("01") }], [ESP], withGroups),
    ).toBeUndefined();
  });
});
