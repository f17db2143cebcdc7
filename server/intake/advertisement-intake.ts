/**
 * From a Neighbor Discovery message that reached this host to a verdict: which home's tunnel did it come through,
 * and may it act? What came through no tunnel, such as an advertisement in clear from the uplink or a LAN, is
 * nobody's and moves nothing.
 */

import type { Ipv4Address } from "../../common/ip/address.ts";
import {
  type AddressPolicy,
  type AdvertisementDropReason,
  acceptAdvertisement,
} from "../../common/nd/accept.ts";
import type { InterfaceNeighborMessage } from "../../common/nd/interface-neighbor-message.ts";
import type { TunnelName, TunnelSpec } from "../../common/tunnel/tunnel.ts";

export type IntakeRefusal =
  | AdvertisementDropReason
  /** It came through an interface that is no home's. */
  | "not-a-tunnel"
  /** Longer than Neighbor Discovery ever is. */
  | "truncated";

export type IntakeVerdict =
  | { readonly kind: "move"; readonly tunnel: TunnelName; readonly address: Ipv4Address }
  | { readonly kind: "answer"; readonly tunnel: TunnelName }
  | {
      readonly kind: "drop";
      readonly tunnel: TunnelName | undefined;
      readonly reason: IntakeRefusal;
    };

/** The tunnels by their interfaces; one lookup for each message, however many homes there are. */
export class AdvertisementIntake {
  readonly #byInterface = new Map<number, TunnelSpec>();

  /** Replaces what was known of the tunnels' interfaces. */
  setTunnels(tunnels: Iterable<readonly [interfaceIndex: number, spec: TunnelSpec]>): void {
    this.#byInterface.clear();
    for (const [interfaceIndex, spec] of tunnels) this.#byInterface.set(interfaceIndex, spec);
  }

  judge(message: InterfaceNeighborMessage, policy: AddressPolicy): IntakeVerdict {
    const spec = this.#byInterface.get(message.interfaceIndex);
    if (spec === undefined) return { kind: "drop", tunnel: undefined, reason: "not-a-tunnel" };
    const tunnel = spec.name;
    if (message.truncated) return { kind: "drop", tunnel, reason: "truncated" };
    return { ...acceptAdvertisement(message, spec, policy), tunnel };
  }
}
