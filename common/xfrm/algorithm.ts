/** How a state encrypts and authenticates: `struct xfrm_algo`, `xfrm_algo_auth` and `xfrm_algo_aead`. */

import { suiteFacts } from "../esp/suite.ts";
import type { Attributes, AttributeWriter } from "../rtnetlink/attribute.ts";
import type { SecurityAssociationKeys } from "../tunnel/tunnel.ts";
import { XfrmAttribute } from "./message-type.ts";
import { malformed, Struct } from "./struct.ts";

const NAME = 64; // octets, zero-terminated
const KEY_BITS = 64;
const ICV_BITS = 68;
const PLAIN_HEADER = 68; // octets before the key
const HEADER = 72; // octets before the key where the length of the ICV is told

/** Of the kernel's crypto API, such as `rfc4106(gcm(aes))`. Secret: never logged or printed. */
export interface Algorithm {
  readonly name: string;
  readonly key: Uint8Array;
}

/** One that makes an integrity check value. */
export interface AuthenticatingAlgorithm extends Algorithm {
  /** Bits of the integrity check value on the wire. */
  readonly icvBits: number;
}

/** Either `aead`, or the other two. */
export interface Algorithms {
  readonly aead?: AuthenticatingAlgorithm | undefined;
  readonly encryption?: Algorithm | undefined;
  readonly authentication?: AuthenticatingAlgorithm | undefined;
}

/** RFC 4106 section 8.1: the kernel's AES-GCM key is the cipher's key followed by the salt. */
export function algorithmsOf(keys: SecurityAssociationKeys): Algorithms {
  const facts = suiteFacts(keys.suite);
  const icvBits = facts.sizes.icv * 8;
  if (facts.mode === "gcm") {
    const key = Uint8Array.of(...keys.encryptionKey, ...keys.companion);
    return { aead: { name: "rfc4106(gcm(aes))", key, icvBits } };
  }
  return {
    encryption: { name: "cbc(aes)", key: keys.encryptionKey },
    authentication: { name: "hmac(sha256)", key: keys.companion, icvBits },
  };
}

export function sameAlgorithms(one: Algorithms, other: Algorithms): boolean {
  return (
    same(one.aead, other.aead) &&
    same(one.encryption, other.encryption) &&
    same(one.authentication, other.authentication)
  );
}

/** The keys of a state, one after the other, as `keyOctets` has them. */
export function keysIn({ aead, encryption, authentication }: Algorithms): Uint8Array {
  const keys = [aead, encryption, authentication].map((algorithm) => [...(algorithm?.key ?? [])]);
  return Uint8Array.from(keys.flat());
}

/** Throws `MalformedError`. */
export function readAlgorithms(attributes: Attributes): Algorithms {
  const aead = attributes.get(XfrmAttribute.aead);
  const encryption = attributes.get(XfrmAttribute.encryption);
  const authentication = attributes.get(XfrmAttribute.truncatedAuthentication);
  return {
    aead: aead && decodeAuthenticating(aead),
    encryption: encryption && decodePlain(encryption, PLAIN_HEADER),
    authentication: authentication && decodeAuthenticating(authentication),
  };
}

export function writeAlgorithms(writer: AttributeWriter, algorithms: Algorithms): void {
  const { aead, encryption, authentication } = algorithms;
  writer
    .attribute(XfrmAttribute.aead, aead && encodeAuthenticating(aead))
    .attribute(
      XfrmAttribute.truncatedAuthentication,
      authentication && encodeAuthenticating(authentication),
    )
    .attribute(
      XfrmAttribute.encryption,
      encryption && encodePlain(encryption, PLAIN_HEADER).octets,
    );
}

function decodePlain(octets: Uint8Array, header: number): Algorithm {
  const bits = Struct.of(octets, header).u32(KEY_BITS);
  const length = Math.ceil(bits / 8);
  if (octets.length - header < length) throw malformed("truncated", `a key of ${bits} bits`);
  const name = octets.subarray(0, NAME);
  const end = name.indexOf(0);
  if (end < 0) throw malformed("bad-name", "an algorithm's name without an end");
  return {
    name: new TextDecoder().decode(name.subarray(0, end)),
    key: octets.subarray(header, header + length),
  };
}

function decodeAuthenticating(octets: Uint8Array): AuthenticatingAlgorithm {
  return { ...decodePlain(octets, HEADER), icvBits: Struct.of(octets, HEADER).u32(ICV_BITS) };
}

function encodePlain({ name, key }: Algorithm, header: number): Struct {
  return Struct.make(header + key.length)
    .set(0, new TextEncoder().encode(name).subarray(0, NAME - 1))
    .setU32(KEY_BITS, key.length * 8)
    .set(header, key);
}

function encodeAuthenticating(algorithm: AuthenticatingAlgorithm): Uint8Array {
  return encodePlain(algorithm, HEADER).setU32(ICV_BITS, algorithm.icvBits).octets;
}

function same(one: Algorithm | undefined, other: Algorithm | undefined): boolean {
  if (one === undefined || other === undefined) return one === other;
  const icv = (algorithm: Partial<AuthenticatingAlgorithm>) => algorithm.icvBits;
  return (
    one.name === other.name &&
    icv(one) === icv(other) &&
    one.key.length === other.key.length &&
    one.key.every((octet, index) => octet === other.key[index])
  );
}
