/**
 * How the ends prove who they are: shared keys and what is signed (RFC 7296 section 2.15), digital signatures
 * (RFC 7427; Ed25519 by RFC 8420), raw public keys that are known beforehand, and certificates of an authority.
 */

import { type KeyObject, sign, timingSafeEqual, verify, X509Certificate } from "node:crypto";
import { ByteReader } from "../bytes/reader.ts";
import { ByteWriter } from "../bytes/writer.ts";
import { formatIpv4, formatIpv6, IPV4_LENGTH, IPV6_LENGTH } from "../ip/address.ts";
import type { Prf } from "./algorithms.ts";
import { useOf } from "./certificate-extensions.ts";
import { prf } from "./keys.ts";
import { type Authentication, AuthenticationMethod } from "./wire/payloads/authentication.ts";
import { type Certificate, CertificateEncoding } from "./wire/payloads/certificate.ts";
import { type Identification, IdentificationType } from "./wire/payloads/identification.ts";

/** How we prove who we are. Secret. */
export type Credential =
  | { readonly kind: "shared-key"; readonly key: Uint8Array }
  | {
      readonly kind: "private-key";
      /** Ed25519, or ECDSA on P-256. */
      readonly privateKey: KeyObject;
      /** DER, our own first, then those between it and the authority; empty when the peer knows our key. */
      readonly certificates: readonly Uint8Array[];
    };

/** How the peer must prove that it is who it says. */
export type Trust =
  | { readonly kind: "shared-key"; readonly key: Uint8Array }
  /** More than one while a key is being replaced. */
  | { readonly kind: "public-keys"; readonly publicKeys: readonly KeyObject[] }
  | { readonly kind: "authorities"; readonly authorities: readonly X509Certificate[] };

/** Hash algorithms we sign and verify with, for SIGNATURE_HASH_ALGORITHMS: SHA2-256 and Identity (RFC 8420). */
export const SIGNATURE_HASHES = Uint8Array.of(0, 2, 0, 5);

/** What an end authenticates: its first message, the other's nonce, and its identity. RFC 7296 section 2.15. */
export interface SignedParts {
  /** IKE_SA_INIT as this end sent it, from the header to the end. */
  readonly message: Uint8Array;
  /** The other end's nonce. */
  readonly nonce: Uint8Array;
  /** The body of this end's IDi or IDr. */
  readonly identification: Uint8Array;
  readonly prf: Prf;
  /** SK_pi or SK_pr. */
  readonly key: Uint8Array;
}

export function signedOctets(parts: SignedParts): Uint8Array {
  const { message, nonce } = parts;
  const mac = prf(parts.prf, parts.key, parts.identification);
  return new ByteWriter(message.length + nonce.length + mac.length)
    .octets(message)
    .octets(nonce)
    .octets(mac)
    .finish();
}

const KEY_PAD = new TextEncoder().encode("Key Pad for IKEv2");

/** AlgorithmIdentifiers in DER, RFC 7427 appendix A and RFC 8420 appendix A. */
const ED25519 = Uint8Array.of(0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70);
const ECDSA_WITH_SHA256 = Uint8Array.of(
  ...[0x30, 0x0a, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02],
);

export function authenticate(credential: Credential, parts: SignedParts): Authentication {
  const octets = signedOctets(parts);
  if (credential.kind === "shared-key") {
    return {
      method: AuthenticationMethod.sharedKey,
      data: sharedKeyMac(parts.prf, credential.key, octets),
    };
  }
  const { algorithm, hash } = signatureOf(credential.privateKey);
  return {
    method: AuthenticationMethod.digitalSignature,
    data: new ByteWriter()
      .u8(algorithm.length)
      .octets(algorithm)
      .octets(sign(hash, octets, credential.privateKey))
      .finish(),
  };
}

/** What the peer sent to prove itself. */
export interface Proof {
  readonly authentication: Authentication;
  readonly identification: Identification;
  readonly certificates: readonly Certificate[];
  readonly parts: SignedParts;
  /** Milliseconds since the epoch: certificates have dates. */
  readonly wallTime: number;
}

/** Why a proof does not convince. */
export type Distrust =
  | "wrong-method"
  | "wrong-shared-key"
  | "wrong-signature"
  | "no-certificate"
  | "certificate-not-trusted"
  | "certificate-expired"
  | "certificate-of-another"
  /** It is for something else, or says of its use what is not understood. */
  | "certificate-not-for-this";

/** Undefined when the proof holds. */
export function distrust(trust: Trust, proof: Proof): Distrust | undefined {
  const { method, data } = proof.authentication;
  const octets = signedOctets(proof.parts);
  if (trust.kind === "shared-key") {
    if (method !== AuthenticationMethod.sharedKey) return "wrong-method";
    const expected = sharedKeyMac(proof.parts.prf, trust.key, octets);
    const same = data.length === expected.length && timingSafeEqual(data, expected);
    return same ? undefined : "wrong-shared-key";
  }
  if (method !== AuthenticationMethod.digitalSignature) return "wrong-method";
  if (trust.kind === "public-keys") {
    const known = trust.publicKeys.some((key) => isSignature(key, data, octets));
    return known ? undefined : "wrong-signature";
  }
  const leaf = certified(trust.authorities, proof);
  if (typeof leaf === "string") return leaf;
  return isSignature(leaf.publicKey, data, octets) ? undefined : "wrong-signature";
}

function sharedKeyMac(algorithm: Prf, key: Uint8Array, octets: Uint8Array): Uint8Array {
  return prf(algorithm, prf(algorithm, key, KEY_PAD), octets);
}

/** Throws `RangeError` for a key that is neither Ed25519 nor on P-256. */
function signatureOf(key: KeyObject): { algorithm: Uint8Array; hash: "sha256" | null } {
  if (key.asymmetricKeyType === "ed25519") return { algorithm: ED25519, hash: null };
  if (isP256(key)) return { algorithm: ECDSA_WITH_SHA256, hash: "sha256" };
  throw new RangeError(`cannot sign with a key of type ${key.asymmetricKeyType}`);
}

export function isSupportedKey(key: KeyObject): boolean {
  return key.asymmetricKeyType === "ed25519" || isP256(key);
}

function isP256(key: KeyObject): boolean {
  return key.asymmetricKeyType === "ec" && key.asymmetricKeyDetails?.namedCurve === "prime256v1";
}

/** RFC 7427 section 3: the length of the AlgorithmIdentifier, itself, the signature. */
function isSignature(key: KeyObject, data: Uint8Array, octets: Uint8Array): boolean {
  const reader = new ByteReader("ikev2", data);
  if (!isSupportedKey(key) || reader.remaining === 0) return false;
  const length = reader.u8();
  if (length > reader.remaining) return false;
  const { algorithm, hash } = signatureOf(key);
  if (!isEqual(reader.octets(length), algorithm)) return false;
  return verify(hash, octets, key, reader.octets(reader.remaining));
}

const MAXIMUM_CHAIN = 4; // certificates, the peer's own among them
const MAXIMUM_CERTIFICATE_LENGTH = 8192; // octets: our own limit on work done for strangers

/** The peer's certificate, when an authority stands behind it and it names the identity. */
function certified(
  authorities: readonly X509Certificate[],
  proof: Proof,
): X509Certificate | Distrust {
  const chain = proof.certificates
    .filter((certificate) => certificate.encoding === CertificateEncoding.x509Signature)
    .slice(0, MAXIMUM_CHAIN)
    .map((certificate) => parsed(certificate.data));
  const [leaf, ...between] = chain;
  if (leaf === undefined) return "no-certificate";
  if (!names(leaf, proof.identification)) return "certificate-of-another";
  if (!useOf(leaf.raw).mayAuthenticate) return "certificate-not-for-this";
  let current = leaf;
  for (let depth = 0; depth <= between.length; depth++) {
    if (!isValidAt(current, proof.wallTime)) return "certificate-expired";
    if (!useOf(current.raw).isUnderstood) return "certificate-not-for-this";
    // `depth` authorities stand between the one that has issued this and the leaf.
    const hasSigned = (candidate: X509Certificate | undefined): candidate is X509Certificate =>
      candidate !== undefined && hasIssued(candidate, current) && mayStandAbove(depth, candidate);
    const authority = authorities.find(hasSigned);
    if (authority !== undefined) {
      if (!useOf(authority.raw).isUnderstood) return "certificate-not-for-this";
      return isValidAt(authority, proof.wallTime) ? leaf : "certificate-expired";
    }
    const issuer = between.find(hasSigned);
    if (issuer === undefined) break;
    current = issuer;
  }
  return "certificate-not-trusted";
}

function mayStandAbove(authorities: number, issuer: X509Certificate): boolean {
  const { mayCertify, maximumPathLength } = useOf(issuer.raw);
  return mayCertify && authorities <= maximumPathLength;
}

function parsed(data: Uint8Array): X509Certificate | undefined {
  if (data.length > MAXIMUM_CERTIFICATE_LENGTH) return undefined;
  try {
    return new X509Certificate(data);
  } catch {
    return undefined;
  }
}

function hasIssued(issuer: X509Certificate, certificate: X509Certificate): boolean {
  return certificate.checkIssued(issuer) && certificate.verify(issuer.publicKey);
}

function isValidAt(certificate: X509Certificate, wallTime: number): boolean {
  return (
    Date.parse(certificate.validFrom) <= wallTime && wallTime <= Date.parse(certificate.validTo)
  );
}

/** RFC 4945 section 3.1: the identity is one of the certificate's subjectAltNames. Names are never in a subject. */
function names(certificate: X509Certificate, { type, data }: Identification): boolean {
  const text = new TextDecoder().decode(data);
  switch (type) {
    case IdentificationType.fullyQualifiedDomainName:
      return certificate.checkHost(text, { subject: "never", wildcards: false }) !== undefined;
    case IdentificationType.emailAddress:
      return certificate.checkEmail(text, { subject: "never" }) !== undefined;
    case IdentificationType.ipv4Address:
      if (data.length !== IPV4_LENGTH) return false;
      return certificate.checkIP(formatIpv4(data)) !== undefined;
    case IdentificationType.ipv6Address:
      if (data.length !== IPV6_LENGTH) return false;
      return certificate.checkIP(formatIpv6(data)) !== undefined;
    default:
      return false;
  }
}

function isEqual(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((octet, i) => octet === b[i]);
}
