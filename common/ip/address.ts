/**
 * IPv4 and IPv6 addresses and prefixes as canonical text: `===`, `Map` keys, logs and JSON all work.
 * IPv6 text is RFC 5952's form.
 */

import { MalformedError } from "../errors.ts";

/** Canonical dotted-quad text, such as `192.0.2.1`. */
export type Ipv4Address = string & { readonly __brand: "Ipv4Address" };
/** Canonical RFC 5952 text, such as `2001:db8::1`. */
export type Ipv6Address = string & { readonly __brand: "Ipv6Address" };

/** An IPv6 prefix; the bits of `address` beyond `length` are zero. */
export interface Ipv6Prefix {
  readonly address: Ipv6Address;
  /** 0 to 128 bits. */
  readonly length: number;
}

export const IPV4_LENGTH = 4; // octets
export const IPV6_LENGTH = 16; // octets
const COLON = 0x3a;
const DOT = 0x2e;
const DIGIT_ZERO = 0x30;
const DIGIT_NINE = 0x39;
const LETTER_A = 0x61;
export const UNSPECIFIED_IPV6 = "::" as Ipv6Address;
/** All nodes on the link, RFC 4291 section 2.7.1. */
export const ALL_NODES = "ff02::1" as Ipv6Address;

/** Four octets to text. */
export function formatIpv4(octets: Uint8Array): Ipv4Address {
  if (octets.length !== IPV4_LENGTH) throw malformed("an IPv4 address has 4 octets");
  return octets.join(".") as Ipv4Address;
}

/** Text to canonical text. Throws `MalformedError`; leading zeros are refused as ambiguous. */
export function parseIpv4(text: string): Ipv4Address {
  const parts = text.split(".");
  const good = parts.length === 4 && parts.every((p) => /^(0|[1-9]\d{0,2})$/.test(p) && +p < 256);
  if (!good) throw malformed("not an IPv4 address");
  return text as Ipv4Address;
}

/** Four octets. */
export function ipv4Octets(address: Ipv4Address): Uint8Array {
  const octets = new Uint8Array(IPV4_LENGTH);
  let place = 0;
  for (let i = 0; i < address.length; i++) {
    const code = address.charCodeAt(i);
    if (code === DOT) place += 1;
    else octets[place] = 10 * (octets[place] ?? 0) + code - DIGIT_ZERO;
  }
  return octets;
}

/** Sixteen octets to RFC 5952 text: lower case, the longest run of two or more zero groups as `::`. */
export function formatIpv6(octets: Uint8Array): Ipv6Address {
  if (octets.length !== IPV6_LENGTH) throw malformed("an IPv6 address has 16 octets");
  const groups: number[] = [];
  for (let i = 0; i < IPV6_LENGTH; i += 2) {
    groups.push(((octets[i] ?? 0) << 8) | (octets[i + 1] ?? 0));
  }
  const zeros = longestZeroRun(groups);
  const text = (from: number, to: number) =>
    groups
      .slice(from, to)
      .map((group) => group.toString(16))
      .join(":");
  if (zeros.length < 2) return text(0, 8) as Ipv6Address;
  return `${text(0, zeros.start)}::${text(zeros.start + zeros.length, 8)}` as Ipv6Address;
}

/** Text to canonical text, RFC 4291 section 2.2, no zone index. Throws `MalformedError`. */
export function parseIpv6(text: string): Ipv6Address {
  return formatIpv6(octetsIn(text));
}

/** Canonical text to sixteen octets. Nothing is left to check, and each message to a neighbor needs it: no detours. */
export function ipv6Octets(address: Ipv6Address): Uint8Array {
  const octets = new Uint8Array(IPV6_LENGTH);
  let written = 0;
  let gap = IPV6_LENGTH; // where `::` stands
  let digits = 0;
  let group = 0;
  for (let i = 0; i <= address.length; i++) {
    const code = i < address.length ? address.charCodeAt(i) : COLON;
    if (code !== COLON) {
      group = (group << 4) | (code <= DIGIT_NINE ? code - DIGIT_ZERO : code - LETTER_A + 10);
      digits += 1;
    } else if (digits > 0) {
      octets[written] = group >> 8;
      octets[written + 1] = group;
      written += 2;
      digits = 0;
      group = 0;
    } else if (i > 0) gap = written;
  }
  if (gap < IPV6_LENGTH) {
    const resumes = IPV6_LENGTH - (written - gap);
    octets.copyWithin(resumes, gap, written);
    octets.fill(0, gap, resumes);
  }
  return octets;
}

/** `2001:db8::/32` to a prefix. Throws `MalformedError`, also when host bits are set. */
export function parseIpv6Prefix(text: string): Ipv6Prefix {
  const slash = text.indexOf("/");
  const digits = text.slice(slash + 1);
  if (slash < 0 || !/^(0|[1-9]\d{0,2})$/.test(digits) || +digits > 128) {
    throw malformed("not an IPv6 prefix such as 2001:db8::/56");
  }
  const length = +digits;
  const address = parseIpv6(text.slice(0, slash));
  if (maskIpv6(address, length) !== address)
    throw malformed("bits are set beyond the prefix length");
  return { address, length };
}

export function formatIpv6Prefix(prefix: Ipv6Prefix): string {
  return `${prefix.address}/${prefix.length}`;
}

export function isInPrefix(address: Ipv6Address, prefix: Ipv6Prefix): boolean {
  return maskIpv6(address, prefix.length) === prefix.address;
}

/** ff00::/8 */
export function isMulticast(address: Ipv6Address): boolean {
  return ipv6Octets(address)[0] === 0xff;
}

/** fe80::/10 */
export function isLinkLocal(address: Ipv6Address): boolean {
  const [first = 0, second = 0] = ipv6Octets(address);
  return first === 0xfe && (second & 0xc0) === 0x80;
}

/** The address with all bits beyond `length` cleared. */
export function maskIpv6(address: Ipv6Address, length: number): Ipv6Address {
  const octets = ipv6Octets(address);
  for (let i = 0; i < IPV6_LENGTH; i++) {
    const bits = Math.min(8, Math.max(0, length - 8 * i));
    octets[i] = (octets[i] ?? 0) & (0xff00 >> bits);
  }
  return formatIpv6(octets);
}

/** Any form of RFC 4291 section 2.2. Throws `MalformedError`. */
function octetsIn(text: string): Uint8Array {
  const halves = text.split("::");
  if (halves.length > 2) throw malformed("not an IPv6 address");
  const [left = [], right = []] = halves.map(groupsOf);
  const missing = 8 - left.length - right.length;
  if (halves.length === 1 ? missing !== 0 : missing < 1) throw malformed("not an IPv6 address");
  const groups = [...left, ...new Array<number>(missing).fill(0), ...right];
  const octets = new Uint8Array(IPV6_LENGTH);
  groups.forEach((group, i) => {
    octets[2 * i] = group >> 8;
    octets[2 * i + 1] = group & 0xff;
  });
  return octets;
}

/** The 16-bit groups of one side of `::`; a trailing dotted quad gives two. */
function groupsOf(text: string): number[] {
  if (text === "") return [];
  return text.split(":").flatMap((part, index, all) => {
    if (index === all.length - 1 && part.includes(".")) {
      const [a = 0, b = 0, c = 0, d = 0] = ipv4Octets(parseIpv4(part));
      return [(a << 8) | b, (c << 8) | d];
    }
    if (!/^[0-9a-fA-F]{1,4}$/.test(part)) throw malformed("not an IPv6 address");
    return [Number.parseInt(part, 16)];
  });
}

function longestZeroRun(groups: readonly number[]): { start: number; length: number } {
  let best = { start: 0, length: 0 };
  for (let start = 0; start < groups.length; start++) {
    let length = 0;
    while (groups[start + length] === 0) length += 1;
    if (length > best.length) best = { start, length };
  }
  return best;
}

function malformed(detail: string): MalformedError {
  return new MalformedError("address", "bad-address", detail);
}
