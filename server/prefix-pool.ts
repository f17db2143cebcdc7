/** Prefixes for new homes, out of a larger one. */

import { formatIpv6, type Ipv6Prefix, ipv6Octets } from "../common/ip/address.ts";

const ADDRESS_BITS = 128;
const ADDRESS_LENGTH = 16; // octets

/** The first prefix of `length` in `pool` that overlaps none of `taken`; undefined when there is none. */
export function freePrefix(
  pool: Ipv6Prefix,
  length: number,
  taken: readonly Ipv6Prefix[],
): Ipv6Prefix | undefined {
  const size = sizeOf(length);
  const end = numberOf(pool) + sizeOf(pool.length);
  const ranges = taken
    .map((prefix) => ({ first: numberOf(prefix), end: numberOf(prefix) + sizeOf(prefix.length) }))
    .sort((a, b) => (a.first < b.first ? -1 : a.first > b.first ? 1 : 0));
  let candidate = numberOf(pool);
  for (const range of ranges) {
    if (range.end <= candidate) continue;
    if (range.first >= candidate + size) break;
    candidate = ((range.end + size - 1n) / size) * size;
  }
  return candidate + size <= end ? { address: addressOf(candidate), length } : undefined;
}

function sizeOf(length: number): bigint {
  return 1n << BigInt(ADDRESS_BITS - length);
}

function numberOf({ address }: Ipv6Prefix): bigint {
  return ipv6Octets(address).reduce((sum, octet) => (sum << 8n) | BigInt(octet), 0n);
}

function addressOf(number: bigint): Ipv6Prefix["address"] {
  const octets = new Uint8Array(ADDRESS_LENGTH);
  for (let i = ADDRESS_LENGTH - 1, rest = number; i >= 0; i--, rest >>= 8n) {
    octets[i] = Number(rest & 0xffn);
  }
  return formatIpv6(octets);
}
