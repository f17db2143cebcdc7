/**
 * From a Neighbor Discovery message that reached this host to a verdict: which home's tunnel did it come through,
 * and may it act? Echo Replies, the answers to our probes, come the same way. What came through no tunnel, such as an advertisement in clear from the uplink or a LAN, is
 * nobody's and moves nothing.
 */

import type { Ipv4Address } from "../../common/ip/address.ts";
import { Icmpv6Type } from "../../common/ip/icmpv6.ts";
import {
  type AddressPolicy,
  type AdvertisementDropReason,
  acceptAdvertisement,
  type NeighborLink,
} from "../../common/nd/accept.ts";
import type { ChangeId } from "../../common/nd/change.ts";
import type { InterfaceNeighborMessage } from "../../common/nd/interface-neighbor-message.ts";
import type { TunnelName } from "../../common/tunnel/tunnel.ts";

export type IntakeRefusal =
  | AdvertisementDropReason
  /** It came through an interface that is no home's. */
  | "not-a-tunnel"
  /** Longer than Neighbor Discovery ever is. */
  | "truncated"
  /** It answers a solicitation, and we never solicit. */
  | "unasked";

export type IntakeVerdict =
  | {
      readonly kind: "move";
      readonly tunnel: TunnelName;
      readonly address: Ipv4Address;
      readonly change?: ChangeId;
    }
  /** An Echo Reply that may answer a probe. */
  | { readonly kind: "echo"; readonly tunnel: TunnelName }
  | {
      readonly kind: "drop";
      readonly tunnel: TunnelName | undefined;
      readonly reason: IntakeRefusal;
    };

/** A tunnel's link and whose it is. A `TunnelSpec` is one. */
export interface HomeLink extends NeighborLink {
  readonly name: TunnelName;
}

/** The tunnels by their interfaces; one lookup for each message, however many homes there are. */
export class AdvertisementIntake {
  readonly #byInterface = new Map<number, HomeLink>();

  /** Replaces what was known of the tunnels' interfaces. */
  setTunnels(tunnels: Iterable<readonly [interfaceIndex: number, link: HomeLink]>): void {
    this.#byInterface.clear();
    for (const [interfaceIndex, link] of tunnels) this.#byInterface.set(interfaceIndex, link);
  }

  judge(message: InterfaceNeighborMessage, policy: AddressPolicy): IntakeVerdict {
    const link = this.#byInterface.get(message.interfaceIndex);
    if (link === undefined) return drop(undefined, "not-a-tunnel");
    const tunnel = link.name;
    if (message.truncated) return drop(tunnel, "truncated");
    if (message.icmp[0] === Icmpv6Type.echoReply) {
      // Only from the home itself: what its LAN answers says nothing of where the home is.
      return message.source === link.peerLinkLocal
        ? { kind: "echo", tunnel }
        : drop(tunnel, "source");
    }
    const verdict = acceptAdvertisement(message, link, policy);
    // We ask by echo; a solicited advertisement answers a question that nobody asked.
    return verdict.kind === "answer" ? drop(tunnel, "unasked") : { ...verdict, tunnel };
  }
}

function drop(tunnel: TunnelName | undefined, reason: IntakeRefusal): IntakeVerdict {
  return { kind: "drop", tunnel, reason };
}
