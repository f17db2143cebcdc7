import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { TunnelName } from "../../../common/tunnel/tunnel.ts";
import {
  ASSOCIATION_ENTRY,
  type AssociationEntry,
  isSameProof,
  proofOf,
} from "../../../server/state/association-entry.ts";
import { formatEntry, readJournal } from "../../../server/state/home-journal.ts";

const alice = "alice" as TunnelName;
const pair = {
  inbound: 0x1000,
  outbound: 0xffff_ffff,
  suite: "aes-gcm-128",
  proof: "cHJvb2Y=",
} as const;

describe("what is remembered of negotiated SAs", () => {
  it.each([
    ["a pair", { home: alice, pairs: [pair] }],
    ["two, and until when", { home: alice, pairs: [pair, { ...pair, inbound: 7 }], until: 17 }],
    ["none", { home: alice, pairs: [] }],
    ["a link", { home: alice, pairs: [pair], link: { identity: "alice.example", id: "00ff" } }],
    ["one for multicast", { home: alice, pairs: [{ ...pair, multicast: "outbound" as const }] }],
    ["one that was inherited", { home: alice, pairs: [{ ...pair, inheritedAt: 17 }] }],
  ])("is read as it was written: %s", (_, entry: AssociationEntry) => {
    const text = formatEntry(ASSOCIATION_ENTRY, entry);
    expect(readJournal(ASSOCIATION_ENTRY, text).entries.get(alice)).toEqual(entry);
  });

  it.each([
    ["no pairs", {}],
    ["an SPI too large", { pairs: [{ ...pair, inbound: 2 ** 32 }] }],
    ["an SPI of 0", { pairs: [{ ...pair, outbound: 0 }] }],
    ["another suite", { pairs: [{ ...pair, suite: "rot13" }] }],
    ["multicast of a home's", { pairs: [{ ...pair, multicast: "inbound" }] }],
    ["no proof", { pairs: [{ ...pair, proof: 17 }] }],
    ["null for a pair", { pairs: [null] }],
    ["no time of inheritance", { pairs: [{ ...pair, inheritedAt: null }] }],
    ["a Link ID that is none", { pairs: [pair], link: { identity: "alice.example", id: "0" } }],
    ["a link of nobody", { pairs: [pair], link: { id: "00" } }],
    ["no time", { pairs: [pair], until: "soon" }],
  ])("is passed over when it has %s", (_, fields) => {
    const text = `${JSON.stringify({ home: alice, ...fields })}\n`;
    expect(readJournal(ASSOCIATION_ENTRY, text)).toEqual({ entries: new Map(), isDamaged: true });
  });
});

describe("proofOf()", () => {
  it("is another under other keys, and for whoever is believed by something else", () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 1 }), fc.string(), fc.string(), (keys, one, other) => {
        const flipped = keys.map((octet, index) => (index === 0 ? octet ^ 1 : octet));
        expect(isSameProof(proofOf(keys, one), proofOf(keys, one))).toBe(true);
        expect(isSameProof(proofOf(keys, one), proofOf(flipped, one))).toBe(false);
        expect(isSameProof(proofOf(keys, one), proofOf(keys, other))).toBe(one === other);
      }),
    );
  });

  it("is HMAC-SHA-256 (RFC 4231, test case 2)", () => {
    const text = proofOf(Buffer.from("Jefe"), "what do ya want for nothing?");
    expect(Buffer.from(text, "base64").toString("hex")).toBe(
      "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
    );
  });

  it("compares what is not one of these without complaint", () => {
    expect(isSameProof("", proofOf(Buffer.from("key"), ""))).toBe(false);
  });
});
