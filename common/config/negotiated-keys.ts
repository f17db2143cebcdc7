/** The `[keys]` table with `mode = "ikev2"`: who the ends are, and how they prove it. */

import { createPublicKey, type KeyObject } from "node:crypto";
import { z } from "zod";
import {
  IKE_LIFETIME_MS,
  NEGOTIABLE_GROUPS,
  NEGOTIABLE_SUITES,
  type Negotiation,
} from "../ikev2/default-settings.ts";
import { identificationOf } from "../ikev2/identity.ts";
import type { Identification } from "../ikev2/wire/payloads/identification.ts";
import type { Ipv6Address } from "../ip/address.ts";
import type { SoftLimit } from "../tunnel/data-plane.ts";
import {
  absolutePath,
  bool,
  field,
  hostIpv6,
  integer,
  list,
  seconds,
  table,
  word,
} from "./schema.ts";

/** What the two ends prove themselves with to each other; files, since a configuration may be shown to others. */
export type ProofFiles =
  | { readonly kind: "shared-key"; readonly file: string }
  | {
      readonly kind: "key-pair";
      readonly privateKeyFile: string;
      /** The certificate that says whose key it is, and those between it and the server's authority. */
      readonly certificateFile: string | undefined;
      readonly peer: PeerProof;
    };

/** Whom to believe: who has this key, or whom an authority has certified. */
export type PeerProof =
  | { readonly kind: "public-key"; readonly key: KeyObject }
  | { readonly kind: "authority"; readonly file: string };

/** A home's, as its client has them. */
export interface NegotiatedKeys {
  readonly mode: "ikev2";
  readonly identity: Identification;
  readonly peerIdentity: Identification;
  readonly proof: ProofFiles;
  readonly softLimit: SoftLimit;
  /** Age at which ESP keys are replaced; undefined: age is no reason, so that a silent tunnel stays silent. */
  readonly childLifetimeMs: number | undefined;
  readonly negotiation: Negotiation;
  /** After how long the home authenticates again by itself; undefined: when the server asks. */
  readonly reauthenticateMs: number | undefined;
  /** Whether a single address will do, of a server that does not know RFC 5739. */
  readonly fallback: boolean;
  /** Whether the server is asked for an SA for multicast. */
  readonly multicast: boolean;
}

/** A home's, as the server has them. */
export interface HomeNegotiatedKeys {
  readonly mode: "ikev2";
  /** The home's. */
  readonly identity: Identification;
  readonly proof:
    | { readonly kind: "shared-key"; readonly file: string }
    | { readonly kind: "public-key"; readonly peerKey: KeyObject }
    /** Of the identity, by the server's authority. */
    | { readonly kind: "certificate" };
  readonly softLimit: SoftLimit;
  /** Age at which ESP keys are replaced; undefined: age is no reason, so that a silent tunnel stays silent. */
  readonly childLifetimeMs: number | undefined;
}

/** The server's table `[ikev2]`: for all homes that negotiate. */
export interface ServerNegotiation {
  readonly identity: Identification;
  readonly privateKeyFile: string | undefined;
  /** Our certificate and those between it and the homes' authority; undefined: homes know our public key. */
  readonly certificateFile: string | undefined;
  /** Who says with certificates which home is which. */
  readonly authorityFile: string | undefined;
  readonly negotiation: Negotiation;
  /** Seconds until a home must have authenticated again; undefined: never. RFC 4478. */
  readonly authLifetime: number | undefined;
  /** For homes that have none of their own. */
  readonly dns: readonly Ipv6Address[];
  /** Whether homes may have an SA for multicast. */
  readonly multicast: boolean;
}

const IDENTITY = /^[A-Za-z0-9][A-Za-z0-9._@-]{0,254}$/;
const LARGEST_SEQUENCE = 2 ** 32 - 1;
const USUAL_PACKETS = 2 ** 31;
const USUAL_OCTETS = 2 ** 40;
const SMALLEST_LIMIT = 100;
const LONGEST_LIFETIME = 365 * 86_400; // seconds
/** Shorter ones would have the ends negotiate all the time. */
const SHORTEST_LIFETIME = 60; // seconds
const LONGEST_PROBE_INTERVAL = 86_400; // seconds
export const MOST_DNS_SERVERS = 8;

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

const CERTIFICATE_FILE = {
  description:
    "The certificate of this key in PEM, with those between it and the other end's authority. Absent: the other end knows the public key.",
  example: '"/etc/hometun/certificate.pem"',
};

/** 0 is never. */
const lifetime = (expected: string) =>
  field(expected, (raw) => {
    if (raw === 0) return 0;
    const isLifetime =
      typeof raw === "number" &&
      Number.isInteger(raw) &&
      raw >= SHORTEST_LIFETIME &&
      raw <= LONGEST_LIFETIME;
    return isLifetime ? raw : undefined;
  });
const LIFETIME = `0, or ${SHORTEST_LIFETIME} to ${LONGEST_LIFETIME} seconds`;

/** What both ends may say of how they negotiate. */
const negotiationFields = {
  suites: list(word(NEGOTIABLE_SUITES), "a list of suites", 1).optional().meta({
    description:
      "How IKE and ESP are encrypted and authenticated, the preferred first. Absent: all that are known.",
    example: '["aes-gcm-256"]',
  }),
  groups: list(word(NEGOTIABLE_GROUPS), "a list of groups", 1).optional().meta({
    description:
      "How keys are agreed upon, the preferred first: Curve25519, P-256, or 2048-bit MODP. Absent: all that are known.",
    example: '["x25519"]',
  }),
  "dpd-interval": seconds(LONGEST_PROBE_INTERVAL).prefault(0).meta({
    description:
      "After how long without an IKE message the other end is asked whether it lives; 0: never, so that a silent tunnel stays silent.",
    example: "0",
  }),
  "ike-lifetime": lifetime(LIFETIME)
    .prefault(IKE_LIFETIME_MS / 1000)
    .meta({
      description: "After how many seconds the IKE SA has other keys; 0: never.",
      example: "86400",
    }),
};

const negotiationOf = (fields: z.infer<z.ZodObject<typeof negotiationFields>>): Negotiation => ({
  suites: fields.suites,
  groups: fields.groups,
  probeIntervalMs: fields["dpd-interval"],
  ikeLifetimeMs: fields["ike-lifetime"] * 1000,
});

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
  "rekey-seconds": lifetime(LIFETIME).prefault(0).meta({
    description: "The same in seconds; 0: age is no reason, so that a silent tunnel stays silent.",
    example: "0",
  }),
};

const lifetimeOf = (fields: {
  "rekey-packets": number;
  "rekey-octets": number;
  "rekey-seconds": number;
}) => ({
  softLimit: { packets: fields["rekey-packets"], octets: fields["rekey-octets"] },
  childLifetimeMs: unlessZero(fields["rekey-seconds"] * 1000),
});

function unlessZero(number: number): number | undefined {
  return number === 0 ? undefined : number;
}

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
      "Instead of `psk-file`, with `server-public-key` or `ca-file`: the file of the home's private key in PEM, Ed25519 or P-256.",
    example: '"/etc/hometun/key.pem"',
  }),
  "certificate-file": absolutePath.optional().meta(CERTIFICATE_FILE),
  "server-public-key": publicKey.optional().meta({
    description: "The server's public key: what stands between the dashes of its PEM file.",
    example: RFC_8410_KEY,
  }),
  "ca-file": absolutePath.optional().meta({
    description:
      "Instead of `server-public-key`: the certificates in PEM of who says which key is the server's. Its own must have `server-identity` as subjectAltName.",
  }),
  ...negotiationFields,
  "reauthentication-interval": lifetime(LIFETIME).prefault(0).meta({
    description:
      "After how many seconds the home proves anew who it is, without losing a packet; 0: when the server asks for it.",
    example: "0",
  }),
  fallback: bool.default(false).meta({
    description: "Whether a single address will do, of a server that does not know RFC 5739.",
    example: "false",
  }),
  multicast: bool.default(false).meta({
    description:
      "Whether the server is asked for an SA for multicast, so that programs here can receive groups wider than the link; what the server does not give is done without.",
    example: "false",
  }),
}).transform((fields, context): NegotiatedKeys => {
  const proof = clientProof({
    pskFile: fields["psk-file"],
    privateKeyFile: fields["private-key-file"],
    certificateFile: fields["certificate-file"],
    peerKey: fields["server-public-key"],
    authorityFile: fields["ca-file"],
  });
  if (typeof proof === "string") {
    context.addIssue({ code: "custom", message: proof });
    return z.NEVER;
  }
  return {
    mode: "ikev2",
    identity: fields.identity,
    peerIdentity: fields["server-identity"],
    proof,
    ...lifetimeOf(fields),
    negotiation: negotiationOf(fields),
    reauthenticateMs: unlessZero(fields["reauthentication-interval"] * 1000),
    fallback: fields.fallback,
    multicast: fields.multicast,
  };
});

/** A text is what is wrong. */
function clientProof(fields: {
  readonly pskFile: string | undefined;
  readonly privateKeyFile: string | undefined;
  readonly certificateFile: string | undefined;
  readonly peerKey: KeyObject | undefined;
  readonly authorityFile: string | undefined;
}): ProofFiles | string {
  const { pskFile, privateKeyFile, certificateFile, peerKey, authorityFile } = fields;
  const ofKeyPair = [privateKeyFile, certificateFile, peerKey, authorityFile];
  if (pskFile !== undefined && ofKeyPair.every((field) => field === undefined)) {
    return { kind: "shared-key", file: pskFile };
  }
  const isWhole = privateKeyFile !== undefined && pskFile === undefined;
  if (isWhole && peerKey !== undefined && authorityFile === undefined) {
    const peer = { kind: "public-key", key: peerKey } as const;
    return { kind: "key-pair", privateKeyFile, certificateFile, peer };
  }
  if (isWhole && peerKey === undefined && authorityFile !== undefined) {
    const peer = { kind: "authority", file: authorityFile } as const;
    return { kind: "key-pair", privateKeyFile, certificateFile, peer };
  }
  return "expected psk-file, or private-key-file with server-public-key or ca-file";
}

/** A home's table in the server's files. */
export const homeNegotiatedKeysTable: z.ZodType<HomeNegotiatedKeys> = table({
  ...common,
  "psk-file": absolutePath.optional().meta(PSK_FILE),
  "public-key": publicKey.optional().meta({
    description:
      "Instead of `psk-file`: the home's public key, what stands between the dashes of its PEM file. Neither: the home has a certificate of `identity` by `ikev2.ca-file`.",
    example: RFC_8410_KEY,
  }),
}).transform((fields, context): HomeNegotiatedKeys => {
  const pskFile = fields["psk-file"];
  const peerKey = fields["public-key"];
  const { identity } = fields;
  const head = { mode: "ikev2", identity, ...lifetimeOf(fields) } as const;
  if (pskFile !== undefined && peerKey !== undefined) {
    context.addIssue({ code: "custom", message: "expected psk-file or public-key, not both" });
    return z.NEVER;
  }
  if (pskFile !== undefined) return { ...head, proof: { kind: "shared-key", file: pskFile } };
  if (peerKey !== undefined) return { ...head, proof: { kind: "public-key", peerKey } };
  return { ...head, proof: { kind: "certificate" } };
});

/** A list of name servers for homes, INTERNAL_IP6_DNS. */
export const dnsServers = list(hostIpv6, "a list of IPv6 addresses").max(MOST_DNS_SERVERS, {
  error: `expected at most ${MOST_DNS_SERVERS} addresses`,
});

/** The server's table `[ikev2]`. */
export const serverNegotiationTable: z.ZodType<ServerNegotiation> = table({
  identity: identity.meta({
    description: "The server's name, which it proves.",
    example: '"server.example"',
  }),
  "private-key-file": absolutePath.optional().meta({
    description:
      "The file of its private key in PEM, Ed25519 or P-256. Needed when a home has a `public-key` or a certificate.",
    example: '"/etc/hometun/key.pem"',
  }),
  "certificate-file": absolutePath.optional().meta(CERTIFICATE_FILE),
  "ca-file": absolutePath.optional().meta({
    description:
      "The certificates in PEM of who says which key is which home's. A home's own must have its `identity` as subjectAltName.",
    example: '"/etc/hometun/ca.pem"',
  }),
  dns: dnsServers.default([]).meta({
    description: `Name servers that homes are told, at most ${MOST_DNS_SERVERS}; a home's own \`dns\` is instead of these.`,
    example: '["2001:db8::53"]',
  }),
  multicast: bool.default(false).meta({
    description:
      "Whether homes that ask for it get an SA for multicast, by which they receive what is sent to groups wider than the link through their tunnel's interface.",
    example: "false",
  }),
  ...negotiationFields,
  "reauthentication-interval": lifetime(LIFETIME).prefault(0).meta({
    description:
      "For how many seconds a home is believed before it must prove anew who it is (RFC 4478); 0: for ever.",
    example: "0",
  }),
}).transform((fields, context): ServerNegotiation => {
  const privateKeyFile = fields["private-key-file"];
  const certificateFile = fields["certificate-file"];
  if (privateKeyFile === undefined && certificateFile !== undefined) {
    const message = "missing, expected a path, since there is a certificate-file";
    context.addIssue({ code: "custom", path: ["private-key-file"], message });
    return z.NEVER;
  }
  return {
    identity: fields.identity,
    privateKeyFile,
    certificateFile,
    authorityFile: fields["ca-file"],
    negotiation: negotiationOf(fields),
    authLifetime: unlessZero(fields["reauthentication-interval"]),
    dns: fields.dns,
    multicast: fields.multicast,
  };
});
