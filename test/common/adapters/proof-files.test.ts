import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it, test } from "vitest";
import { readHomeProof, readProof, readServerProof } from "../../../common/adapters/proof-files.ts";
import { pki } from "../ikev2/vectors/pki.ts";

let directory: string;
const file = (name: string, text: string, mode = 0o600): string => {
  const path = join(directory, name);
  writeFileSync(path, text, { mode });
  return path;
};

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "proof-"));
});
afterEach(() => rmSync(directory, { recursive: true }));

const keyPair = (key: string, certificate: string) =>
  readProof({
    kind: "key-pair",
    privateKeyFile: file("key.pem", key),
    certificateFile: file("certificate.pem", certificate),
    peer: { kind: "authority", file: file("ca.pem", pki.authority) },
  });

it("sends its own certificate and those between it and the authority", () => {
  const { credential, trust } = keyPair(pki.ecdsaKey, pki.home1OfIntermediate + pki.intermediate);
  expect(credential.kind === "private-key" && credential.certificates).toHaveLength(2);
  expect(trust).toMatchObject({ kind: "authorities", authorities: [expect.anything()] });
});

test.each([
  {
    name: "a certificate of another key",
    read: () => keyPair(pki.ed25519Key, pki.home1OfIntermediate),
    says: /certificate\.pem: expected first the certificate of the key in .*key\.pem/,
  },
  {
    name: "the chain in the wrong order",
    read: () => keyPair(pki.ecdsaKey, pki.intermediate + pki.home1OfIntermediate),
    says: /expected first the certificate of the key/,
  },
  {
    name: "something else than certificates",
    read: () => keyPair(pki.ecdsaKey, "no certificate"),
    says: /certificate\.pem: expected certificates in PEM/,
  },
  {
    name: "a key that others can read",
    read: () =>
      readServerProof({
        privateKeyFile: file("key.pem", pki.ecdsaKey, 0o644),
        certificateFile: undefined,
        authorityFile: undefined,
      }),
    says: /key\.pem: holds keys, .*chmod 600/,
  },
])("$name is a mistake, told in one line", ({ read, says }) => {
  expect(read).toThrow(says);
});

it("believes homes with certificates by the server's authority", () => {
  const server = readServerProof({
    privateKeyFile: file("key.pem", pki.ecdsaKey),
    certificateFile: undefined,
    // Everybody may read what is no secret.
    authorityFile: file("ca.pem", pki.authority, 0o644),
  });
  expect(readHomeProof({ kind: "certificate" }, server).trust.kind).toBe("authorities");
});
