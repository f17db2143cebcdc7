import { createPrivateKey, createPublicKey, X509Certificate } from "node:crypto";
import { describe, expect, it, test } from "vitest";
import type { Prf } from "../../../common/ikev2/algorithms.ts";
import {
  authenticate,
  type Credential,
  distrust,
  type Proof,
  type SignedParts,
  signedOctets,
  type Trust,
} from "../../../common/ikev2/authentication.ts";
import { identificationOf } from "../../../common/ikev2/identity.ts";
import { findPayload } from "../../../common/ikev2/wire/message.ts";
import type { Certificate } from "../../../common/ikev2/wire/payloads/certificate.ts";
import { hex } from "../../support/hex.ts";
import { rules } from "./vectors/certificates-with-rules.ts";
import { charonSessions, initialExchange, openMessage } from "./vectors/charon.ts";
import { pki } from "./vectors/pki.ts";

const text = (value: string) => new TextEncoder().encode(value);

describe.each(charonSessions)("charon's session $name", (session) => {
  const { nonces, keys } = initialExchange(session);
  const request = openMessage(session, 2);
  const response = openMessage(session, 3);
  const parts = {
    initiator: {
      message: session.messages[0] ?? hex(),
      nonce: nonces.responder,
      identification: findPayload(request, "IDi")?.body ?? hex(),
      prf: session.prf as Prf,
      key: keys.pi,
    },
    responder: {
      message: session.messages[1] ?? hex(),
      nonce: nonces.initiator,
      identification: findPayload(response, "IDr")?.body ?? hex(),
      prf: session.prf as Prf,
      key: keys.pr,
    },
  };
  const sharedKey = { kind: "shared-key", key: text("hometun-test-psk") } as const;

  test.each(["initiator", "responder"] as const)("signs what we sign, as %s", (end) => {
    const recorded = session.authentications[end === "initiator" ? 0 : 1];
    expect(signedOctets(parts[end])).toEqual(recorded?.signedOctets);
    expect(authenticate(sharedKey, parts[end])).toEqual({ method: 2, data: recorded?.auth });
  });
});

describe("a proof", () => {
  const parts: SignedParts = {
    message: hex("0102"),
    nonce: hex("0304"),
    identification: hex("02000000", "61"),
    prf: "hmac-sha2-256",
    key: hex("05".repeat(32)),
  };
  const ed25519 = createPrivateKey(pki.ed25519Key);
  const ecdsa = createPrivateKey(pki.ecdsaKey);
  const known = (...keys: Parameters<typeof createPublicKey>[0][]): Trust => ({
    kind: "public-keys",
    publicKeys: keys.map((key) => createPublicKey(key)),
  });
  const authority: Trust = {
    kind: "authorities",
    authorities: [new X509Certificate(pki.authority)],
  };
  const der = (pem: string) => new Uint8Array(new X509Certificate(pem).raw);
  const prove = (credential: Credential, changes: Partial<Proof> = {}): Proof => ({
    authentication: authenticate(credential, parts),
    identification: identificationOf("home1.example"),
    certificates:
      credential.kind === "private-key"
        ? credential.certificates.map((data) => ({ encoding: 4, data }))
        : [],
    parts,
    wallTime: Date.parse("2030-01-01T00:00:00Z"),
    ...changes,
  });
  const raw = (privateKey: typeof ed25519): Credential => ({
    kind: "private-key",
    privateKey,
    certificates: [],
  });
  const certified = (...pems: string[]): Credential => ({
    kind: "private-key",
    privateKey: ecdsa,
    certificates: pems.map(der),
  });
  const sharedKey = (key: string) => ({ kind: "shared-key", key: text(key) }) as const;

  test.each([
    { name: "a shared key", credential: sharedKey("secret"), trust: sharedKey("secret") },
    { name: "an Ed25519 key", credential: raw(ed25519), trust: known(pki.ed25519Key) },
    { name: "an ECDSA key", credential: raw(ecdsa), trust: known(pki.ecdsaKey) },
    {
      name: "the second of two keys, while one replaces the other",
      credential: raw(ecdsa),
      trust: known(pki.ed25519Key, pki.ecdsaKey),
    },
    { name: "a certificate", credential: certified(pki.home1), trust: authority },
    {
      name: "a certificate with another between it and the authority",
      credential: certified(pki.home1OfIntermediate, pki.intermediate),
      trust: authority,
    },
  ])("holds with $name", ({ credential, trust }) => {
    expect(distrust(trust, prove(credential))).toBeUndefined();
  });

  test.each([
    {
      name: "another shared key",
      credential: sharedKey("a"),
      trust: sharedKey("b"),
      reason: "wrong-shared-key",
    },
    {
      name: "a shared key for a signature",
      credential: sharedKey("a"),
      trust: known(pki.ecdsaKey),
      reason: "wrong-method",
    },
    {
      name: "a signature for a shared key",
      credential: raw(ecdsa),
      trust: sharedKey("a"),
      reason: "wrong-method",
    },
    {
      name: "an unknown key",
      credential: raw(ed25519),
      trust: known(pki.ecdsaKey),
      reason: "wrong-signature",
    },
    { name: "no certificate", credential: raw(ecdsa), trust: authority, reason: "no-certificate" },
    {
      name: "a certificate of an unknown authority",
      credential: certified(pki.stranger),
      trust: authority,
      reason: "certificate-not-trusted",
    },
    {
      name: "a missing intermediate",
      credential: certified(pki.home1OfIntermediate),
      trust: authority,
      reason: "certificate-not-trusted",
    },
    {
      name: "a certificate issued by one that may not",
      credential: certified(pki.issuedByHome2, pki.home2),
      trust: authority,
      reason: "certificate-not-trusted",
    },
    {
      name: "the certificate of another",
      credential: certified(pki.home2),
      trust: authority,
      reason: "certificate-of-another",
    },
  ] as const)("does not hold with $name", ({ credential, trust, reason }) => {
    expect(distrust(trust, prove(credential))).toBe(reason);
  });

  test.each([
    { name: "after", wallTime: Date.parse("2120-01-01T00:00:00Z") },
    { name: "before", wallTime: Date.parse("2001-01-01T00:00:00Z") },
  ])("does not hold $name the certificate's days", ({ wallTime }) => {
    expect(distrust(authority, prove(certified(pki.home1), { wallTime }))).toBe(
      "certificate-expired",
    );
  });

  it("does not hold when the certificate is another's than the key", () => {
    const credential: Credential = {
      kind: "private-key",
      privateKey: ed25519,
      certificates: [der(pki.home1)],
    };
    expect(distrust(authority, prove(credential))).toBe("wrong-signature");
  });

  it("does not hold when what was signed differs", () => {
    const proof = prove(raw(ed25519), { parts: { ...parts, nonce: hex("0305") } });
    expect(distrust(known(pki.ed25519Key), proof)).toBe("wrong-signature");
  });

  test.each(["", "ff", "0730050603", `0c${"00".repeat(12)}`])(
    "does not hold with the data %j",
    (data) => {
      const proof = prove(raw(ecdsa), { authentication: { method: 14, data: hex(data) } });
      expect(distrust(known(pki.ecdsaKey), proof)).toBe("wrong-signature");
    },
  );

  /** `openssl verify` says the same of them, but for the two that RFC 4945 sections 5.1.3.2 and 5.1.3.12 speak of. */
  describe("with certificates that say what they are for", () => {
    const trust: Trust = { kind: "authorities", authorities: [new X509Certificate(rules.root)] };

    test.each([
      { name: "signs, for IPsec", chain: [rules.signs] },
      {
        name: "is below an authority that may have none below it",
        chain: [rules.ofShort, rules.short],
      },
    ])("holds with one that $name", ({ chain }) => {
      expect(distrust(trust, prove(certified(...chain)))).toBeUndefined();
    });

    test.each([
      {
        name: "an authority for other names",
        chain: [rules.ofNamed, rules.named],
        reason: "certificate-not-for-this",
      },
      {
        name: "an authority below one that may have none below it",
        chain: [rules.ofSub, rules.sub, rules.short],
        reason: "certificate-not-trusted",
      },
      {
        name: "something critical that is not understood",
        chain: [rules.unknown],
        reason: "certificate-not-for-this",
      },
      {
        name: "a key that may not sign",
        chain: [rules.encipher],
        reason: "certificate-not-for-this",
      },
      {
        name: "a key for electronic mail only",
        chain: [rules.mail],
        reason: "certificate-not-for-this",
      },
      {
        name: "an authority that may not sign certificates",
        chain: [rules.ofNoCertSign, rules.noCertSign],
        reason: "certificate-not-trusted",
      },
    ] as const)("does not hold with $name", ({ chain, reason }) => {
      expect(distrust(trust, prove(certified(...chain)))).toBe(reason);
    });
  });

  it("does not hold with a certificate any octet of which is changed", () => {
    const trust: Trust = { kind: "authorities", authorities: [new X509Certificate(rules.root)] };
    const good = prove(certified(rules.ofShort, rules.short));
    const [{ encoding, data }, above] = good.certificates as [Certificate, Certificate];
    for (let at = 0; at < data.length; at++) {
      const changed = data.map((octet, index) => (index === at ? octet ^ 0x01 : octet));
      const certificates = [{ encoding, data: changed }, above];
      expect(distrust(trust, { ...good, certificates })).toBeDefined();
    }
  });
});
