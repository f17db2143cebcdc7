/** The Internet checksum (RFC 1071) and the pseudo-header of IPv6's upper layers (RFC 8200 section 8.1). */

/**
 * Adds 16-bit big-endian words to a running sum that is not yet folded. Only the last range of a message
 * may have an odd length: its missing octet counts as zero.
 */
export function addToSum(sum: number, octets: Uint8Array): number {
  const even = octets.length & ~1;
  let total = sum;
  for (let i = 0; i < even; i += 2) total += ((octets[i] ?? 0) << 8) | (octets[i + 1] ?? 0);
  return even === octets.length ? total : total + ((octets[even] ?? 0) << 8);
}

/** Folds the carries in and complements: the value for the checksum field. */
export function finishSum(sum: number): number {
  let folded = sum;
  // Division, not a shift: a sum over a large region may pass 32 bits.
  while (folded > 0xffff) folded = (folded % 0x10000) + Math.floor(folded / 0x10000);
  return ~folded & 0xffff;
}

/** Checksum of octets whose checksum field is zero; 0 when the field holds the right value already. */
export function internetChecksum(octets: Uint8Array): number {
  return finishSum(addToSum(0, octets));
}

/** What an upper-layer checksum covers besides the message itself, RFC 8200 section 8.1. */
export interface Ipv6PseudoHeader {
  /** 16 octets. */
  readonly source: Uint8Array;
  /** 16 octets; the final destination if there is a routing header. */
  readonly destination: Uint8Array;
  /** Octets of the upper-layer message, extension headers not counted. */
  readonly length: number;
  /** The upper-layer protocol, not the first extension header's. */
  readonly nextHeader: number;
}

/** The running sum to start an upper-layer message's from. */
export function pseudoHeaderSum(header: Ipv6PseudoHeader): number {
  const addresses = addToSum(addToSum(0, header.source), header.destination);
  return addresses + (header.length >>> 16) + (header.length & 0xffff) + header.nextHeader;
}
