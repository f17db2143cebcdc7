/**
 * What an ISP tells a home whose keys are negotiated, in one line that can be pasted, or read from a QR code:
 *
 *     hometun:203.0.113.1?server=isp.example&home=alice.example&key=MCowBQYDK2VwAyEA...
 *
 * A line with `key` holds the server's public key and may be read by anybody. One with `psk` holds the shared key: who
 * reads it can be this home. One without `home` is for all homes.
 */

import { MalformedError } from "../errors.ts";
import { type Ipv4Address, parseIpv4 } from "../ip/address.ts";

export interface Invitation {
  readonly server: Ipv4Address;
  readonly serverIdentity: string;
  /** The home's. */
  readonly identity?: string | undefined;
  readonly proof: InvitationProof;
}

export type InvitationProof =
  /** The server's, SubjectPublicKeyInfo in base64. */
  | { readonly kind: "public-key"; readonly publicKey: string }
  /** Secret. */
  | { readonly kind: "shared-key"; readonly sharedKey: string };

const SCHEME = "hometun:";
const LONGEST = 2_048; // characters; an identity has 255 at most
const IDENTITY = /^[A-Za-z0-9][A-Za-z0-9._@-]{0,254}$/;
const PUBLIC_KEY = /^[A-Za-z0-9_-]{40,200}$/;
const SHARED_KEY = /^[A-Za-z0-9_-]{16,128}$/;

export function formatInvitation({ server, serverIdentity, identity, proof }: Invitation): string {
  const parts = [`server=${serverIdentity}`];
  if (identity !== undefined) parts.push(`home=${identity}`);
  parts.push(
    proof.kind === "public-key" ? `key=${urlText(proof.publicKey)}` : `psk=${proof.sharedKey}`,
  );
  return `${SCHEME}${server}?${parts.join("&")}`;
}

/** Throws `MalformedError` `bad-invitation`. Unknown parts are ignored: a later version may have more. */
export function parseInvitation(text: string): Invitation {
  const [head = "", tail = "", ...more] = text.trim().split("?");
  if (text.length > LONGEST || !head.startsWith(SCHEME) || more.length > 0) {
    throw malformed(`expected one line that begins with ${SCHEME}`);
  }
  const parts = partsOf(tail);
  const server = addressOf(head.slice(SCHEME.length));
  const serverIdentity = matching(parts.get("server"), IDENTITY, "server");
  const home = parts.get("home");
  const identity = home === undefined ? undefined : matching(home, IDENTITY, "home");
  return { server, serverIdentity, identity, proof: proofOf(parts) };
}

/** A public key for a URL, RFC 4648 section 5, and back. */
function urlText(base64: string): string {
  return base64.replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}

function base64Text(text: string): string {
  const padding = "=".repeat((4 - (text.length % 4)) % 4);
  return text.replaceAll("-", "+").replaceAll("_", "/") + padding;
}

function partsOf(tail: string): Map<string, string> {
  const parts = new Map<string, string>();
  for (const part of tail.split("&")) {
    const equals = part.indexOf("=");
    const name = equals < 0 ? part : part.slice(0, equals);
    if (parts.has(name)) throw malformed("one of its parts comes twice");
    parts.set(name, equals < 0 ? "" : part.slice(equals + 1));
  }
  return parts;
}

function addressOf(text: string): Ipv4Address {
  try {
    return parseIpv4(text);
  } catch {
    throw malformed("it does not begin with the server's IPv4 address");
  }
}

function proofOf(parts: ReadonlyMap<string, string>): InvitationProof {
  const key = parts.get("key");
  const psk = parts.get("psk");
  if (key !== undefined && psk === undefined) {
    return { kind: "public-key", publicKey: base64Text(matching(key, PUBLIC_KEY, "key")) };
  }
  if (psk !== undefined && key === undefined) {
    return { kind: "shared-key", sharedKey: matching(psk, SHARED_KEY, "psk") };
  }
  throw malformed("it has no key");
}

/** What does not match is not repeated: it may be a key. */
function matching(text: string | undefined, pattern: RegExp, name: string): string {
  if (text !== undefined && pattern.test(text)) return text;
  throw malformed(text === undefined ? `it has no "${name}"` : `its "${name}" is damaged`);
}

function malformed(detail: string): MalformedError {
  return new MalformedError("invitation", "bad-invitation", detail);
}
