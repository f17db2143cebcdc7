/** One tunnel of the userspace data plane: its TUN interface, its SAs, its rules and its counters. */

import type { InboundSa, OutboundSa } from "../esp/security-association.ts";
import type { Instant } from "../time.ts";
import type { AdvertisementOrder } from "../tunnel/advertisement-order.ts";
import type { AdvertisementPolice } from "../tunnel/advertisement-police.ts";
import type { RefusalReason, Sending, TunnelCounters } from "../tunnel/data-plane.ts";
import type { TunnelSelectors } from "../tunnel/selectors.ts";
import type { InboundSequence, OutboundSequence } from "../tunnel/sequence-store.ts";
import type { TunnelSpec } from "../tunnel/tunnel.ts";
import { type Destination, endpointOf } from "./linux/esp-socket.ts";
import type { Readiness } from "./linux/libc.ts";
import type { Slab } from "./linux/slab.ts";

/** What a tunnel is made of. */
export interface UserspaceTunnelParts {
  readonly spec: TunnelSpec;
  /** File descriptor of the TUN interface. */
  readonly tun: number;
  readonly interfaceIndex: number;
  readonly outbound: OutboundSa<Slab>;
  readonly outboundSequence: OutboundSequence;
  readonly inbound: InboundSa<Slab>;
  readonly inboundSequence: InboundSequence;
  readonly selectors: TunnelSelectors;
  readonly police: AdvertisementPolice;
  readonly order: AdvertisementOrder;
}

/** What the packet path reads and writes; a plain record, since every field is touched for every packet. */
export class UserspaceTunnel {
  spec: TunnelSpec;
  tun: number;
  interfaceIndex: number;
  readonly outbound: OutboundSa<Slab>;
  readonly outboundSequence: OutboundSequence;
  readonly inbound: InboundSa<Slab>;
  readonly inboundSequence: InboundSequence;
  selectors: TunnelSelectors;
  readonly police: AdvertisementPolice;
  readonly order: AdvertisementOrder;
  readiness: Readiness | undefined;

  /** Where ESP goes; address 0 while that is not known. */
  readonly destination: Destination = { familyAndPort: 0, address: 0 };
  sending: Sending = "open";
  /** Octets; what TCP's segment size is clamped to. */
  mtu: number;
  /** `path-mtu` was told and not yet answered by another MTU. */
  pathMtuTold = false;
  /** When `heard` was last told. */
  heardToldAt: Instant | undefined;
  /** More sequence numbers were asked for. */
  extending = false;
  /** Packets were received that `inboundSequence` has not recorded yet. */
  unrecorded = false;

  sentPackets = 0;
  sentOctets = 0;
  sentAt: Instant | undefined;
  receivedPackets = 0;
  receivedOctets = 0;
  heardAt: Instant | undefined;
  observedFamilyAndPort = 0;
  observedAddress = 0;
  readonly #refused: Partial<Record<RefusalReason, number>> = {};

  constructor(parts: UserspaceTunnelParts) {
    this.spec = parts.spec;
    this.tun = parts.tun;
    this.interfaceIndex = parts.interfaceIndex;
    this.outbound = parts.outbound;
    this.outboundSequence = parts.outboundSequence;
    this.inbound = parts.inbound;
    this.inboundSequence = parts.inboundSequence;
    this.selectors = parts.selectors;
    this.police = parts.police;
    this.order = parts.order;
    this.mtu = parts.spec.mtu;
  }

  refuse(reason: RefusalReason, count = 1): void {
    this.#refused[reason] = (this.#refused[reason] ?? 0) + count;
  }

  counters(): TunnelCounters {
    const { observedAddress, observedFamilyAndPort } = this;
    return {
      sentPackets: this.sentPackets,
      sentOctets: this.sentOctets,
      receivedPackets: this.receivedPackets,
      receivedOctets: this.receivedOctets,
      refused: { ...this.#refused },
      sentAt: this.sentAt,
      heardAt: this.heardAt,
      observedSource:
        observedAddress === 0 ? undefined : endpointOf(observedFamilyAndPort, observedAddress),
    };
  }
}
