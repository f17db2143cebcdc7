/**
 * Ephemeral key agreement: X25519 (RFC 8031), ECP-256 (RFC 5903), MODP-2048 (RFC 3526). node:crypto computes; the
 * random octets of the private value are handed in.
 */

import {
  createECDH,
  createPrivateKey,
  createPublicKey,
  diffieHellman,
  getDiffieHellman,
  type KeyObject,
} from "node:crypto";
import { ByteReader } from "../bytes/reader.ts";
import { ByteWriter } from "../bytes/writer.ts";
import { MalformedError } from "../errors.ts";
import type { Group } from "./algorithms.ts";

/** Gives that many unpredictable octets. */
export type RandomSource = (length: number) => Uint8Array;

/** Our half of one agreement. Used once. */
export interface KeyAgreement {
  readonly group: Group;
  /** What goes into the Key Exchange payload. */
  readonly publicValue: Uint8Array;
  /** Throws `MalformedError` `public-value` for one the group does not allow (RFC 6989). */
  sharedSecret(peer: Uint8Array): Uint8Array;
}

export function beginKeyAgreement(group: Group, random: RandomSource): KeyAgreement {
  switch (group) {
    case "x25519":
      return x25519(random);
    case "ecp-256":
      return ecp256(random);
    case "modp-2048":
      return modp2048(random);
  }
}

const X25519_LENGTH = 32; // octets
/** JSON Web Keys (RFC 8037): OpenSSL takes ten times as long to read the same key as DER. */
const X25519_JWK = { kty: "OKP", crv: "X25519" } as const;

function x25519(random: RandomSource): KeyAgreement {
  // The public half has to be a text, but is not looked at.
  const key = { ...X25519_JWK, d: base64Url(random(X25519_LENGTH)), x: "" };
  const privateKey = createPrivateKey({ key, format: "jwk" });
  const { x = "" } = createPublicKey(privateKey).export({ format: "jwk" });
  return {
    group: "x25519",
    publicValue: fromBase64Url(x),
    sharedSecret: (peer) => {
      if (peer.length !== X25519_LENGTH) throw badPublicValue("x25519");
      const publicKey = createPublicKey({
        key: { ...X25519_JWK, x: base64Url(peer) },
        format: "jwk",
      });
      // An all-zero result is refused by node:crypto, as RFC 8031 section 2 wants.
      return agree(privateKey, publicKey, "x25519");
    },
  };
}

const ECP256_LENGTH = 32; // octets of a coordinate
const UNCOMPRESSED_POINT = 4;
/** A random number is outside 1 to n - 1 once in 2^32 times; this many in a row mean a broken source. */
const MAXIMUM_TRIES = 8;

function ecp256(random: RandomSource): KeyAgreement {
  const ecdh = createECDH("prime256v1");
  for (let tries = 0; ; tries++) {
    try {
      ecdh.setPrivateKey(random(ECP256_LENGTH));
      break;
    } catch (error) {
      if (tries === MAXIMUM_TRIES) throw error;
    }
  }
  return {
    group: "ecp-256",
    // RFC 5903 section 7: x and y, without the octet that says "uncompressed".
    publicValue: Uint8Array.from(ecdh.getPublicKey().subarray(1)),
    sharedSecret: (peer) => {
      if (peer.length !== 2 * ECP256_LENGTH) throw badPublicValue("ecp-256");
      try {
        return Uint8Array.from(ecdh.computeSecret(concat([UNCOMPRESSED_POINT], peer)));
      } catch {
        throw badPublicValue("ecp-256");
      }
    },
  };
}

const MODP2048_LENGTH = 256; // octets
/** 320 bits, what RFC 3526 section 8 gives for the group's greater estimate of strength. */
const MODP2048_EXPONENT_LENGTH = 40; // octets
const OID_DH_KEY_AGREEMENT = octetsOf("06092a864886f70d010301");

function modp2048(random: RandomSource): KeyAgreement {
  const prime = Uint8Array.from(getDiffieHellman("modp14").getPrime());
  const algorithm = sequence(OID_DH_KEY_AGREEMENT, sequence(integer(prime), integer([2])));
  const exponent = integer(random(MODP2048_EXPONENT_LENGTH));
  const privateKey = privateKeyOf(
    sequence(integer([0]), algorithm, element(DER_OCTET_STRING, exponent)),
  );
  const publicValue = modpPublicValue(spkiOf(privateKey), algorithm.length);
  return {
    group: "modp-2048",
    publicValue,
    sharedSecret: (peer) => {
      if (peer.length !== MODP2048_LENGTH || !isModpPublicValue(peer, prime)) {
        throw badPublicValue("modp-2048");
      }
      const key = element(DER_BIT_STRING, concat([0], integer(peer)));
      // RFC 7296 section 2.14: padded with zeros to the length of the modulus.
      const spki = sequence(algorithm, key);
      const publicKey = createPublicKey({ key: der(spki), type: "spki", format: "der" });
      return padded(agree(privateKey, publicKey, "modp-2048"), MODP2048_LENGTH);
    },
  };
}

/** 2 to p - 2, RFC 6989 section 2.1. */
function isModpPublicValue(value: Uint8Array, prime: Uint8Array): boolean {
  const y = numberOf(value);
  return y >= 2n && y <= numberOf(prime) - 2n;
}

/** The INTEGER in the BIT STRING of a SubjectPublicKeyInfo, at the length of the modulus. */
function modpPublicValue(spki: Uint8Array, algorithmLength: number): Uint8Array {
  const bitString = contents(contents(spki).subarray(algorithmLength));
  return padded(contents(bitString.subarray(1)), MODP2048_LENGTH);
}

/** What is in the first DER element. */
function contents(element: Uint8Array): Uint8Array {
  const reader = new ByteReader("ikev2", element);
  reader.skip(1);
  const length = reader.u8();
  if (length < 0x80) return reader.octets(length);
  return reader.octets(length === 0x81 ? reader.u8() : reader.u16());
}

function agree(privateKey: KeyObject, publicKey: KeyObject, group: Group): Uint8Array {
  try {
    return new Uint8Array(diffieHellman({ privateKey, publicKey }));
  } catch {
    throw badPublicValue(group);
  }
}

function privateKeyOf(pkcs8: Uint8Array): KeyObject {
  return createPrivateKey({ key: der(pkcs8), type: "pkcs8", format: "der" });
}

function spkiOf(privateKey: KeyObject): Uint8Array {
  return Uint8Array.from(createPublicKey(privateKey).export({ type: "spki", format: "der" }));
}

const DER_INTEGER = 0x02;
const DER_BIT_STRING = 0x03;
const DER_OCTET_STRING = 0x04;
const DER_SEQUENCE = 0x30;

function sequence(...parts: readonly Uint8Array[]): Uint8Array {
  return element(DER_SEQUENCE, concat(...parts));
}

function integer(magnitude: ArrayLike<number>): Uint8Array {
  const octets = Array.from(magnitude);
  while (octets.length > 1 && octets[0] === 0) octets.shift();
  const negative = ((octets[0] ?? 0) & 0x80) !== 0;
  return element(DER_INTEGER, Uint8Array.from(negative ? [0, ...octets] : octets));
}

function element(tag: number, value: Uint8Array): Uint8Array {
  const writer = new ByteWriter().u8(tag);
  if (value.length < 0x80) writer.u8(value.length);
  else if (value.length < 0x100) writer.u8(0x81).u8(value.length);
  else writer.u8(0x82).u16(value.length);
  return writer.octets(value).finish();
}

function padded(value: Uint8Array, length: number): Uint8Array {
  const result = new Uint8Array(length);
  const significant = value.subarray(Math.max(0, value.length - length));
  result.set(significant, length - significant.length);
  return result;
}

function numberOf(octets: Uint8Array): bigint {
  return BigInt(`0x${Array.from(octets, (o) => o.toString(16).padStart(2, "0")).join("")}`);
}

function concat(...parts: readonly ArrayLike<number>[]): Uint8Array {
  return Uint8Array.from(parts.flatMap((part) => Array.from(part)));
}

function base64Url(octets: Uint8Array): string {
  // No copy: they may be secret, and small ones would be copied into memory that all Buffers share.
  return Buffer.from(octets.buffer, octets.byteOffset, octets.length).toString("base64url");
}

function fromBase64Url(text: string): Uint8Array {
  return Uint8Array.from(Buffer.from(text, "base64url"));
}

function octetsOf(hexadecimal: string): Uint8Array {
  return Uint8Array.from({ length: hexadecimal.length / 2 }, (_, i) =>
    Number.parseInt(hexadecimal.slice(2 * i, 2 * i + 2), 16),
  );
}

/** node:crypto takes DER in any view of octets, only its types ask for more. */
function der(octets: Uint8Array): Buffer {
  return octets as Buffer;
}

function badPublicValue(group: Group): MalformedError {
  return new MalformedError("ikev2", "public-value", `not a public value of ${group}`);
}
