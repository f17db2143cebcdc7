/** Which /64 of the home's prefixes each LAN gets. Pure. */

import {
  formatIpv6,
  type Ipv6Address,
  type Ipv6Prefix,
  ipv6Octets,
  isInPrefix,
} from "../../common/ip/address.ts";

/** Bits; what hosts need to make addresses by themselves, RFC 4862 and RFC 7421. */
export const LAN_PREFIX_LENGTH = 64;

/** Nobody has as many LANs; the search for a free one ends. */
const MOST_SUBNETS = 4_096;

/**
 * `count` different /64s, always the same for the same home, so that hosts keep their addresses when a LAN is added
 * behind the others. From a /56 the first LAN gets subnet 1, the second subnet 2; subnet 0, in which the tunnel's own
 * address usually lies, comes last, so that a home with a single /64 can give it to its LAN. Fewer when there are not
 * as many.
 */
export function lanSubnets(
  prefixes: readonly Ipv6Prefix[],
  tunnelAddress: Ipv6Address | undefined,
  count: number,
): Ipv6Prefix[] {
  const chosen: Ipv6Prefix[] = [];
  const last: Ipv6Prefix[] = [];
  for (const prefix of prefixes) {
    for (const subnet of subnetsOf(prefix)) {
      if (chosen.length === count) return chosen;
      (isInPrefix(tunnelAddress ?? prefix.address, subnet) ? last : chosen).push(subnet);
    }
  }
  return [...chosen, ...last].slice(0, count);
}

/** The LAN's interface gets this one: the first of its /64. */
export function lanAddress(subnet: Ipv6Prefix): Ipv6Address {
  const octets = ipv6Octets(subnet.address);
  octets[15] = 1;
  return formatIpv6(octets);
}

function* subnetsOf(prefix: Ipv6Prefix): Generator<Ipv6Prefix> {
  if (prefix.length > LAN_PREFIX_LENGTH) return;
  const bits = LAN_PREFIX_LENGTH - prefix.length;
  const subnets = bits >= 12 ? MOST_SUBNETS : 2 ** bits;
  for (let number = 0; number < subnets; number++) {
    const octets = ipv6Octets(prefix.address);
    // At most 12 bits: they lie in the last two octets of the /64.
    octets[6] = (octets[6] ?? 0) | (number >> 8);
    octets[7] = (octets[7] ?? 0) | (number & 0xff);
    yield { address: formatIpv6(octets), length: LAN_PREFIX_LENGTH };
  }
}
