/**
 * The algorithms hometun speaks in IKEv2, their numbers in IANA's registry and their sizes. RFC 8247 says which
 * must be there; weak ones are not.
 */

import type { Suite } from "../tunnel/tunnel.ts";

/** Protects the IKE messages: AEAD (RFC 5282), or CBC with its HMAC. */
export type IkeEncryption = "aes-gcm-128" | "aes-gcm-256" | "aes-cbc-256-hmac-sha2-256-128";
export type Prf = "hmac-sha2-256" | "hmac-sha2-384";
/** Key exchange methods: RFC 8031, RFC 5903, RFC 3526. */
export type Group = "x25519" | "ecp-256" | "modp-2048";

export interface IkeSuite {
  readonly encryption: IkeEncryption;
  readonly prf: Prf;
  readonly group: Group;
}

export interface ChildSuite {
  readonly suite: Suite;
  /** Extended sequence numbers acceptable, the preferred first. */
  readonly extendedSequenceNumbers: readonly boolean[];
  /** For perfect forward secrecy when the SA is created or rekeyed after IKE_AUTH; absent: none. */
  readonly group?: Group;
}

/** A cipher that protects IKE messages or ESP packets. Lengths in octets. */
export interface Cipher {
  readonly transform: number;
  readonly keyLength: number;
  /** Salt of GCM that follows the key in the keying material, RFC 5282 section 7.1. */
  readonly saltLength: number;
  /** Number of the integrity transform; absent with an AEAD. */
  readonly integrity?: number;
  readonly integrityKeyLength: number;
}

const ENCR_AES_CBC = 12;
const ENCR_AES_GCM_16 = 20;
const AUTH_HMAC_SHA2_256_128 = 12;

const gcm = (keyLength: number): Cipher => ({
  transform: ENCR_AES_GCM_16,
  keyLength,
  saltLength: 4,
  integrityKeyLength: 0,
});

export const CIPHERS: Readonly<Record<Suite, Cipher>> = {
  "aes-gcm-128": gcm(16),
  "aes-gcm-192": gcm(24),
  "aes-gcm-256": gcm(32),
  "aes-cbc-256-hmac-sha2-256-128": {
    transform: ENCR_AES_CBC,
    keyLength: 32,
    saltLength: 0,
    integrity: AUTH_HMAC_SHA2_256_128,
    integrityKeyLength: 32,
  },
};

/** `length` is that of the output and of the preferred key, in octets (RFC 4868 section 2.4). */
export const PRFS: Readonly<
  Record<Prf, { readonly transform: number; readonly hash: string; readonly length: number }>
> = {
  "hmac-sha2-256": { transform: 5, hash: "sha256", length: 32 },
  "hmac-sha2-384": { transform: 6, hash: "sha384", length: 48 },
};

export const GROUPS: Readonly<Record<Group, { readonly transform: number }>> = {
  "modp-2048": { transform: 14 },
  "ecp-256": { transform: 19 },
  x25519: { transform: 31 },
};

/** The group of a number, if it is one of ours. */
export function groupOf(transform: number): Group | undefined {
  return (Object.keys(GROUPS) as Group[]).find((group) => GROUPS[group].transform === transform);
}
