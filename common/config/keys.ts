/** The `[keys]` table of both daemons' files: manual keys, RFC 4301 section 4.5.1. */

import { z } from "zod";
import { NEGOTIABLE_SUITES, WIDEST_SUITE } from "../ikev2/default-settings.ts";
import type { SecurityAssociationKeys, Suite } from "../tunnel/tunnel.ts";
import { type Alternatives, bool, chosen, integer, secretField, table, word } from "./schema.ts";

/** Keys that stand in the file, one security association for each direction as the file's owner sees them. */
export interface ManualKeys {
  readonly mode: "manual";
  readonly outbound: SecurityAssociationKeys;
  readonly inbound: SecurityAssociationKeys;
}

/** What a suite's second secret is called in files, and how long both are. */
export interface SuiteSecrets {
  /** Octets. */
  readonly key: number;
  readonly companionName: "salt" | "integrity-key";
  /** Octets. */
  readonly companion: number;
}

const SMALLEST_SPI = 256; // RFC 4303 section 2.1 reserves those below
const LARGEST_SPI = 0xffff_ffff;

export const SUITE_SECRETS: Readonly<Record<Suite, SuiteSecrets>> = {
  "aes-cbc-256-hmac-sha2-256-128": { key: 32, companionName: "integrity-key", companion: 32 },
  "aes-gcm-128": { key: 16, companionName: "salt", companion: 4 },
  "aes-gcm-192": { key: 24, companionName: "salt", companion: 4 },
  "aes-gcm-256": { key: 32, companionName: "salt", companion: 4 },
};

export const SUITES = Object.keys(SUITE_SECRETS) as Suite[];

const common = {
  spi: integer(SMALLEST_SPI, LARGEST_SPI, "a Security Parameters Index").meta({
    description:
      "The number by which the receiver finds the security association; RFC 4301 section 4.1.",
    example: "0x0000c001",
  }),
  suite: word(SUITES).meta({
    description:
      "How packets are encrypted and authenticated. A manual AES-GCM key serves for one start only (RFC 8221 section 5); CBC with HMAC keeps its keys.",
    example: '"aes-cbc-256-hmac-sha2-256-128"',
  }),
  "extended-sequence-numbers": bool.default(true).meta({
    description:
      "Sequence numbers of 64 bits instead of 32; RFC 4303 section 2.2.1. The same at both ends.",
    example: "true",
  }),
};

const encryptionKey = (octets: number) =>
  hexField(octets).meta({
    description: "The key that encrypts. Secret.",
    example: '"64 hexadecimal digits"',
  });
const salt = (octets: number) =>
  hexField(octets).meta({
    description: "The four octets before each nonce of AES-GCM; RFC 4106 section 4. Secret.",
  });
const integrityKey = (octets: number) =>
  hexField(octets).meta({
    description: "The key that authenticates; AES-GCM needs none. Secret.",
    example: '"64 hexadecimal digits"',
  });

const bySuite = new Map(SUITES.map((suite) => [suite as string, suiteTable(SUITE_SECRETS[suite])]));

/** While the suite is unknown, what depends on it is not judged; it never passes, for the suite is a mistake. */
const unknownSuite = table({
  ...common,
  key: z.unknown().optional(),
  salt: z.unknown().optional(),
  "integrity-key": z.unknown().optional(),
}).transform(() => z.NEVER as SecurityAssociationKeys);

const securityAssociation = chosen(
  ({ suite }) => (typeof suite === "string" ? bySuite.get(suite) : undefined) ?? unknownSuite,
  { key: "suite", schemas: bySuite },
);

const manualKeys = table({
  mode: word(["manual"]).default("manual").meta({
    description:
      "`manual`: the keys stand in this file. `ikev2`: the two ends negotiate them, and the server assigns prefixes and addresses (docs/ikev2.md).",
    example: '"manual"',
  }),
  outbound: securityAssociation.meta({
    description: "What this end sends; the other end has the same under `inbound`.",
  }),
  inbound: securityAssociation.meta({
    description: "What this end receives; the other end has the same under `outbound`.",
  }),
}).superRefine(({ outbound, inbound }, context) => {
  // With AES-GCM a nonce could come twice under one key; with CBC a packet could be sent back to its sender.
  if (hexText(outbound.encryptionKey) !== hexText(inbound.encryptionKey)) return;
  context.addIssue({
    code: "custom",
    path: ["inbound", "key"],
    message: "expected another key than outbound's",
  });
});

const otherMode = z.looseObject({ mode: word(["manual", "ikev2"]) }).transform(() => z.NEVER);

/** The table `[keys]`, in which `negotiated` is what `mode = "ikev2"` asks for. */
export function keysTable<Negotiated>(
  negotiated: z.ZodType<Negotiated>,
): z.ZodType<ManualKeys | Negotiated> {
  const schemas = byMode<z.ZodType>({ manual: manualKeys, ikev2: negotiated });
  return chosen(({ mode }): z.ZodType<ManualKeys | Negotiated> => {
    if (mode === "ikev2") return negotiated;
    return mode === undefined || mode === "manual" ? manualKeys : otherMode;
  }, schemas).meta({ description: "Whom to believe, and what protects the packets." });
}

/** What depends on `[keys]`' mode, in the table itself and wherever else. */
export function byMode<Schema extends z.ZodType>(schemas: {
  readonly manual: Schema;
  readonly ikev2: Schema;
}): Alternatives & { readonly schemas: ReadonlyMap<string, Schema> } {
  return { key: "keys.mode", schemas: new Map(Object.entries(schemas)) };
}

/** Suites that ESP may be protected with. */
export function suitesOf(keys: ManualKeys | { readonly mode: "ikev2" }): readonly Suite[] {
  return keys.mode === "manual" ? [keys.outbound.suite, keys.inbound.suite] : NEGOTIABLE_SUITES;
}

/** The suite that a tunnel's MTU is computed with. */
export function mtuSuiteOf(keys: ManualKeys | { readonly mode: "ikev2" }): Suite {
  return keys.mode === "manual" ? keys.outbound.suite : WIDEST_SUITE;
}

/** Whether a document's `[keys]` asks for `mode = "ikev2"`; nothing else in it is judged. */
export function asksToNegotiate(document: Readonly<Record<string, unknown>>): boolean {
  const { keys } = document;
  return typeof keys === "object" && keys !== null && "mode" in keys && keys.mode === "ikev2";
}

/** Lower-case hexadecimal digits, as keys stand in files. Secret when the octets are. */
export function hexText(octets: Uint8Array): string {
  return Array.from(octets, (octet) => octet.toString(16).padStart(2, "0")).join("");
}

function suiteTable(secrets: SuiteSecrets): z.ZodType<SecurityAssociationKeys> {
  const shape = { ...common, key: encryptionKey(secrets.key) };
  const schema =
    secrets.companionName === "salt"
      ? table({ ...shape, salt: salt(secrets.companion) })
      : table({ ...shape, "integrity-key": integrityKey(secrets.companion) });
  return schema.transform((fields) => ({
    spi: fields.spi,
    suite: fields.suite,
    encryptionKey: fields.key,
    companion: "salt" in fields ? fields.salt : fields["integrity-key"],
    extendedSequenceNumbers: fields["extended-sequence-numbers"],
  }));
}

function hexField(octets: number) {
  const digits = new RegExp(`^[0-9a-fA-F]{${2 * octets}}$`);
  return secretField(`${2 * octets} hexadecimal digits`, (raw) =>
    typeof raw === "string" && digits.test(raw) ? octetsOf(raw) : undefined,
  );
}

function octetsOf(hex: string): Uint8Array {
  return Uint8Array.from(hex.match(/../g) ?? [], (digits) => Number.parseInt(digits, 16));
}
