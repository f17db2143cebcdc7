/** What the ends prove who they are with, read from the files that the configuration names. */

import { type KeyObject, X509Certificate } from "node:crypto";
import type { HomeNegotiatedKeys, PeerProof, ProofFiles } from "../config/negotiated-keys.ts";
import { ConfigError } from "../errors.ts";
import { type Credential, isSupportedKey, type Trust } from "../ikev2/authentication.ts";
import { readConfigFile } from "./config-file.ts";
import { readPrivateKey, readSharedKey } from "./secret-file.ts";

const CERTIFICATE = /-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g;

/** How one end proves itself, and what it believes the other by. */
export interface Proof {
  readonly credential: Credential;
  readonly trust: Trust;
}

type KeyPairCredential = Extract<Credential, { kind: "private-key" }>;

/** What a server proves itself with to all homes that have no key shared with it. */
export interface ServerProof {
  readonly credential: KeyPairCredential | undefined;
  readonly authorities: readonly X509Certificate[];
}

/** The client's. Throws `ConfigError`. */
export function readProof(proof: ProofFiles): Proof {
  if (proof.kind === "shared-key") return sharedKey(proof.file);
  const { privateKeyFile, certificateFile, peer } = proof;
  return { credential: readCredential(privateKeyFile, certificateFile), trust: readTrust(peer) };
}

/** Throws `ConfigError`. */
export function readServerProof(files: {
  readonly privateKeyFile: string | undefined;
  readonly certificateFile: string | undefined;
  readonly authorityFile: string | undefined;
}): ServerProof {
  const { privateKeyFile, certificateFile, authorityFile } = files;
  return {
    credential:
      privateKeyFile === undefined ? undefined : readCredential(privateKeyFile, certificateFile),
    authorities: authorityFile === undefined ? [] : readCertificates(authorityFile),
  };
}

/** Of one home at a server. Throws `ConfigError`. */
export function readHomeProof(
  proof: HomeNegotiatedKeys["proof"],
  { credential, authorities }: ServerProof,
): Proof {
  if (proof.kind === "shared-key") return sharedKey(proof.file);
  if (credential === undefined) {
    const expectation = "missing, expected a path, since homes have a public-key or a certificate";
    throw new ConfigError(expectation, { key: "ikev2.private-key-file" });
  }
  return proof.kind === "public-key"
    ? { credential, trust: { kind: "public-keys", publicKeys: [proof.peerKey] } }
    : { credential, trust: { kind: "authorities", authorities } };
}

/** Certificates in PEM, at least one. Throws `ConfigError`. */
function readCertificates(file: string): X509Certificate[] {
  const certificates = (readConfigFile(file).text.match(CERTIFICATE) ?? []).map(parsed);
  const known = certificates.filter((certificate) => certificate !== undefined);
  if (known.length > 0 && known.length === certificates.length) return known;
  throw new ConfigError("expected certificates in PEM", { file });
}

function parsed(pem: string): X509Certificate | undefined {
  try {
    return new X509Certificate(pem);
  } catch {
    return undefined;
  }
}

function readCredential(
  privateKeyFile: string,
  certificateFile: string | undefined,
): KeyPairCredential {
  const privateKey = readPrivateKey(privateKeyFile);
  if (certificateFile === undefined) return { kind: "private-key", privateKey, certificates: [] };
  const chain = readCertificates(certificateFile);
  const [own] = chain;
  if (own === undefined || !isFor(own, privateKey)) {
    const expectation = `expected first the certificate of the key in ${privateKeyFile}`;
    throw new ConfigError(expectation, { file: certificateFile });
  }
  const certificates = chain.map(({ raw }) => new Uint8Array(raw));
  return { kind: "private-key", privateKey, certificates };
}

function isFor(certificate: X509Certificate, privateKey: KeyObject): boolean {
  return isSupportedKey(certificate.publicKey) && certificate.checkPrivateKey(privateKey);
}

function readTrust(peer: PeerProof): Trust {
  return peer.kind === "public-key"
    ? { kind: "public-keys", publicKeys: [peer.key] }
    : { kind: "authorities", authorities: readCertificates(peer.file) };
}

function sharedKey(file: string): Proof {
  const key = readSharedKey(file);
  return { credential: { kind: "shared-key", key }, trust: { kind: "shared-key", key } };
}
