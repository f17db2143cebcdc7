/** All that a home's SAs depend on: who it is, what it is believed by, and what it was given. */

import type { KeyObject } from "node:crypto";
import type { Credential, Trust } from "../common/ikev2/authentication.ts";
import { formatIdentification } from "../common/ikev2/identity.ts";
import type { KeyedHome } from "./home-key-exchange.ts";

/** What a home must learn of, or prove, again when it differs. Never told or written: it holds keys. */
export function homeFingerprint({ config, identity, credential, trust }: KeyedHome): string {
  const { linkLocal, serverLinkLocal, prefixes, dns } = config;
  return JSON.stringify([
    formatIdentification(identity),
    linkLocal,
    serverLinkLocal,
    prefixes,
    dns,
    secretOf(credential),
    secretOf(trust),
  ]);
}

function secretOf(secret: Credential | Trust): unknown {
  const publicText = (key: KeyObject) => key.export({ format: "jwk" });
  switch (secret.kind) {
    case "shared-key":
      return [...secret.key];
    case "public-keys":
      return secret.publicKeys.map(publicText);
    case "private-key":
      return publicText(secret.privateKey);
    case "authorities":
      return secret.authorities.map(({ fingerprint256 }) => fingerprint256);
  }
}
