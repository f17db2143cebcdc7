/** Asking for certificates, in IKE_SA_INIT's response and in IKE_AUTH's request. RFC 7296 section 3.7. */

import { createHash, type X509Certificate } from "node:crypto";
import type { Payload } from "../wire/message.ts";
import { CertificateEncoding } from "../wire/payloads/certificate.ts";

/** Names the authorities that are believed; nothing when there are none. */
export function certificateRequests(authorities: readonly X509Certificate[]): Payload[] {
  if (authorities.length === 0) return [];
  const hashes = authorities.map(({ publicKey }) => {
    const key = publicKey.export({ type: "spki", format: "der" });
    return Uint8Array.from(createHash("sha1").update(key).digest());
  });
  return [{ kind: "CERTREQ", encoding: CertificateEncoding.x509Signature, authorities: hashes }];
}
