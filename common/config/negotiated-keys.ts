/** The `[keys]` table with `mode = "ikev2"`: who the ends are, and how they prove it. */

import { createPublicKey, type KeyObject } from "node:crypto";
import { z } from "zod";
import { identificationOf } from "../ikev2/identity.ts";
import type { Identification } from "../ikev2/wire/payloads/identification.ts";
import type { SoftLimit } from "../tunnel/data-plane.ts";
import { absolutePath, field, integer, table, word } from "./schema.ts";

/** What an end proves itself with; files, since a configuration may be shown to others. */
export type ProofFiles =
  | { readonly kind: "shared-key"; readonly file: string }
  | { readonly kind: "key-pair"; readonly privateKeyFile: string; readonly peerKey: KeyObject };

/** A home's, as its client has them. */
export interface NegotiatedKeys {
  readonly mode: "ikev2";
  readonly identity: Identification;
  readonly peerIdentity: Identification;
  readonly proof: ProofFiles;
  readonly softLimit: SoftLimit;
}

/** A home's, as the server has them. */
export interface HomeNegotiatedKeys {
  readonly mode: "ikev2";
  /** The home's. */
  readonly identity: Identification;
  readonly proof:
    | { readonly kind: "shared-key"; readonly file: string }
    | { readonly kind: "public-key"; readonly peerKey: KeyObject };
  readonly softLimit: SoftLimit;
}

/** The server's own, for all homes that negotiate. */
export interface ServerIdentity {
  readonly identity: Identification;
  readonly privateKeyFile: string | undefined;
}

const IDENTITY = /^[A-Za-z0-9][A-Za-z0-9._@-]{0,254}$/;
const LARGEST_SEQUENCE = 2 ** 32 - 1;
const USUAL_PACKETS = 2 ** 31;
const USUAL_OCTETS = 2 ** 40;
const SMALLEST_LIMIT = 100;

const identity = field('a name such as "alice.example" or "alice@example"', (raw) =>
  typeof raw === "string" && IDENTITY.test(raw) ? identificationOf(raw) : undefined,
);

/** SubjectPublicKeyInfo in base64: a PEM file's lines between the dashes. RFC 8410. */
const publicKey = field("an Ed25519 or P-256 public key in base64", (raw) => {
  if (typeof raw !== "string") return undefined;
  try {
    const key = createPublicKey(`-----BEGIN PUBLIC KEY-----\n${raw}\n-----END PUBLIC KEY-----\n`);
    const curve = key.asymmetricKeyDetails?.namedCurve;
    const isKnown = key.asymmetricKeyType === "ed25519" || curve === "prime256v1";
    return isKnown ? key : undefined;
  } catch {
    return undefined;
  }
});

/** RFC 8410 section 10.1. */
const RFC_8410_KEY = '"MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE="';
const PSK_FILE = {
  description:
    'The file of a key that both ends share, such as "/etc/hometun/alice.psk": at least 16 octets, in one line.',
};

const common = {
  mode: word(["ikev2"]).meta({
    description:
      "`manual`: the keys stand in this file. `ikev2`: the two ends negotiate them, and the server assigns prefixes and addresses (docs/ikev2.md).",
    example: '"ikev2"',
  }),
  identity: identity.meta({
    description: "The home's name, which it proves; the same in both files.",
    example: '"alice.example"',
  }),
  "rekey-packets": integer(SMALLEST_LIMIT, LARGEST_SEQUENCE, "packets")
    .default(USUAL_PACKETS)
    .meta({
      description: "How many packets are sent with one pair of keys before others are negotiated.",
      example: "2147483648",
    }),
  "rekey-octets": integer(SMALLEST_LIMIT, Number.MAX_SAFE_INTEGER, "octets")
    .default(USUAL_OCTETS)
    .meta({ description: "The same in octets; whichever comes first.", example: "1099511627776" }),
};

const softLimitOf = (fields: { "rekey-packets": number; "rekey-octets": number }): SoftLimit => ({
  packets: fields["rekey-packets"],
  octets: fields["rekey-octets"],
});

/** The client's table. */
export const negotiatedKeysTable: z.ZodType<NegotiatedKeys> = table({
  ...common,
  "server-identity": identity.meta({
    description: "The name that the server must prove.",
    example: '"server.example"',
  }),
  "psk-file": absolutePath.optional().meta(PSK_FILE),
  "private-key-file": absolutePath.optional().meta({
    description:
      "Instead of `psk-file`, with `server-public-key`: the file of the home's private key in PEM, Ed25519 or P-256.",
    example: '"/etc/hometun/key.pem"',
  }),
  "server-public-key": publicKey.optional().meta({
    description: "The server's public key: what stands between the dashes of its PEM file.",
    example: RFC_8410_KEY,
  }),
}).transform((fields, context): NegotiatedKeys => {
  const pskFile = fields["psk-file"];
  const privateKeyFile = fields["private-key-file"];
  const peerKey = fields["server-public-key"];
  const softLimit = softLimitOf(fields);
  const ends = { identity: fields.identity, peerIdentity: fields["server-identity"] };
  const head = { mode: "ikev2", ...ends, softLimit } as const;
  if (pskFile !== undefined && privateKeyFile === undefined && peerKey === undefined) {
    return { ...head, proof: { kind: "shared-key", file: pskFile } };
  }
  if (pskFile === undefined && privateKeyFile !== undefined && peerKey !== undefined) {
    return { ...head, proof: { kind: "key-pair", privateKeyFile, peerKey } };
  }
  const message = "expected psk-file, or private-key-file and server-public-key";
  context.addIssue({ code: "custom", message });
  return z.NEVER;
});

/** A home's table in the server's files. */
export const homeNegotiatedKeysTable: z.ZodType<HomeNegotiatedKeys> = table({
  ...common,
  "psk-file": absolutePath.optional().meta(PSK_FILE),
  "public-key": publicKey.optional().meta({
    description:
      "Instead of `psk-file`: the home's public key, what stands between the dashes of its PEM file.",
    example: RFC_8410_KEY,
  }),
}).transform((fields, context): HomeNegotiatedKeys => {
  const pskFile = fields["psk-file"];
  const peerKey = fields["public-key"];
  const head = {
    mode: "ikev2",
    identity: fields.identity,
    softLimit: softLimitOf(fields),
  } as const;
  if (pskFile !== undefined && peerKey === undefined) {
    return { ...head, proof: { kind: "shared-key", file: pskFile } };
  }
  if (pskFile === undefined && peerKey !== undefined) {
    return { ...head, proof: { kind: "public-key", peerKey } };
  }
  context.addIssue({ code: "custom", message: "expected psk-file, or public-key" });
  return z.NEVER;
});

/** The server's table `[ikev2]`. */
export const serverIdentityTable: z.ZodType<ServerIdentity> = table({
  identity: identity.meta({
    description: "The server's name, which it proves.",
    example: '"server.example"',
  }),
  "private-key-file": absolutePath.optional().meta({
    description:
      "The file of its private key in PEM, Ed25519 or P-256. Needed when a home has a `public-key`.",
    example: '"/etc/hometun/key.pem"',
  }),
}).transform((fields) => ({
  identity: fields.identity,
  privateKeyFile: fields["private-key-file"],
}));
