/**
 * Is this Router Solicitation to be answered? RFC 4861 section 6.1.1. The checksum is the kernel's part: it hands
 * no ICMPv6 message with a wrong one to a socket.
 */

import { MalformedError } from "../errors.ts";
import { type Ipv6Address, isMulticast, UNSPECIFIED_IPV6 } from "../ip/address.ts";
import { decodeIcmpv6 } from "../ip/icmpv6.ts";
import { NdOptionType } from "./option.ts";
import { decodeRouterSolicitation } from "./router-solicitation.ts";

const HOP_LIMIT = 255;

export interface ReceivedSolicitation {
  readonly source: Ipv6Address;
  readonly hopLimit: number;
  /** The whole message, type to last option. */
  readonly icmp: Uint8Array;
}

export type SolicitationDropReason =
  | "malformed"
  | "hop-limit"
  | "code"
  /** A multicast address. */
  | "source"
  /** Who has no address yet cannot have a link-layer address to it. */
  | "link-layer-address";

export type SolicitationVerdict =
  | { readonly kind: "answer" }
  | { readonly kind: "drop"; readonly reason: SolicitationDropReason };

/** Never throws. */
export function acceptRouterSolicitation(received: ReceivedSolicitation): SolicitationVerdict {
  try {
    return judge(received);
  } catch (error) {
    if (error instanceof MalformedError) return drop("malformed");
    throw error;
  }
}

function judge({ source, hopLimit, icmp }: ReceivedSolicitation): SolicitationVerdict {
  if (hopLimit !== HOP_LIMIT) return drop("hop-limit");
  const { options } = decodeRouterSolicitation(icmp);
  if (decodeIcmpv6(icmp).code !== 0) return drop("code");
  if (isMulticast(source)) return drop("source");
  const named = options.some(({ type }) => type === NdOptionType.sourceLinkLayerAddress);
  return named && source === UNSPECIFIED_IPV6 ? drop("link-layer-address") : { kind: "answer" };
}

function drop(reason: SolicitationDropReason): SolicitationVerdict {
  return { kind: "drop", reason };
}
