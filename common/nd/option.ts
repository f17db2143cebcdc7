/**
 * Neighbor Discovery options, RFC 4861 section 4.6, and the link-layer address options of links whose
 * link-layer addresses are IPv4 addresses, RFC 2529 section 5.
 */

import { ByteReader } from "../bytes/reader.ts";
import { ByteWriter } from "../bytes/writer.ts";
import { MalformedError } from "../errors.ts";
import { formatIpv4, IPV4_LENGTH, type Ipv4Address, ipv4Octets } from "../ip/address.ts";

/** RFC 4861 section 4.6, RFC 8106 section 5.1. Those of Router Advertisements: `router-option.ts`. */
export const NdOptionType = {
  sourceLinkLayerAddress: 1,
  targetLinkLayerAddress: 2,
  prefixInformation: 3,
  mtu: 5,
  recursiveDnsServer: 25,
} as const;

const OPTION_UNIT = 8; // octets; option lengths are counted in these
const OPTION_HEADER = 2; // octets: type and length
const MAXIMUM_UNITS = 255;
const MUST_BE_ZERO = 2; // octets before the IPv4 address, RFC 2529 section 5

export interface NdOption {
  /** Types we do not know are kept: ignoring them is the reader's part (RFC 4861 section 4.6). */
  readonly type: number;
  /** What follows the length: 6, 14, 22 … octets; after decoding a view, not a copy. */
  readonly value: Uint8Array;
}

/** Throws `MalformedError` `option-length-zero` or `truncated`. */
export function decodeNdOptions(octets: Uint8Array): NdOption[] {
  const reader = new ByteReader("nd", octets);
  const options: NdOption[] = [];
  while (reader.remaining > 0) {
    const type = reader.u8();
    const units = reader.u8();
    // Without this the loop would never end.
    if (units === 0) throw new MalformedError("nd", "option-length-zero", `option ${type}`);
    options.push({ type, value: reader.octets(units * OPTION_UNIT - OPTION_HEADER) });
  }
  return options;
}

/** Throws `RangeError` when a value does not fill whole units of 8 octets. */
export function encodeNdOptions(options: readonly NdOption[]): Uint8Array {
  const writer = new ByteWriter();
  for (const { type, value } of options) {
    const units = (OPTION_HEADER + value.length) / OPTION_UNIT;
    if (!Number.isInteger(units) || units > MAXIMUM_UNITS) {
      throw new RangeError(`option ${type} cannot have a value of ${value.length} octets`);
    }
    writer.u8(type).u8(units).octets(value);
  }
  return writer.finish();
}

/** A source or target link-layer address option that holds an IPv4 address, RFC 2529 section 5. */
export function ipv4LinkLayerOption(type: number, address: Ipv4Address): NdOption {
  const value = new Uint8Array(MUST_BE_ZERO + IPV4_LENGTH);
  value.set(ipv4Octets(address), MUST_BE_ZERO);
  return { type, value };
}

/**
 * The IPv4 address in a link-layer address option. Undefined if the option has not RFC 2529's form: it may
 * be right on another kind of link, so it is not malformed.
 */
export function linkLayerIpv4({ value }: NdOption): Ipv4Address | undefined {
  if (value.length !== MUST_BE_ZERO + IPV4_LENGTH) return undefined;
  if (value[0] !== 0 || value[1] !== 0) return undefined;
  return formatIpv4(value.subarray(MUST_BE_ZERO));
}
