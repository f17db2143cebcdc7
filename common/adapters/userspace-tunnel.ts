/** One tunnel of the userspace data plane: its TUN interface, its SAs, its rules and its counters. */

import type { InboundSa, OutboundSa } from "../esp/security-association.ts";
import type { Instant } from "../time.ts";
import { AdvertisementOrder } from "../tunnel/advertisement-order.ts";
import type { AdvertisementPolice } from "../tunnel/advertisement-police.ts";
import type {
  AssociationUse,
  RefusalReason,
  Sending,
  SoftLimit,
  TunnelCounters,
} from "../tunnel/data-plane.ts";
import type { TunnelSelectors } from "../tunnel/selectors.ts";
import type { InboundSequence, OutboundSequence } from "../tunnel/sequence-store.ts";
import type { Encapsulation, MulticastDirection, TunnelSpec } from "../tunnel/tunnel.ts";
import { type Destination, endpointOf } from "./linux/esp-socket.ts";
import type { Readiness } from "./linux/libc.ts";
import type { Slab } from "./linux/slab.ts";

/** What a tunnel is made of. */
export interface UserspaceTunnelParts {
  readonly spec: TunnelSpec;
  /** File descriptor of the TUN interface. */
  readonly tun: number;
  readonly interfaceIndex: number;
  readonly selectors: TunnelSelectors;
  readonly police: AdvertisementPolice;
}

/** A pair of SAs at work. */
export interface Association {
  readonly tunnel: UserspaceTunnel;
  /** Higher than those of the pairs before it. */
  readonly generation: number;
  readonly outbound: OutboundSa<Slab>;
  readonly outboundSequence: OutboundSequence;
  readonly inbound: InboundSa<Slab>;
  readonly inboundSequence: InboundSequence;
  readonly order: AdvertisementOrder;
  readonly encapsulation: Encapsulation;
  /** Undefined: the link's. */
  readonly multicast: MulticastDirection | undefined;
  /** Absent with keys that the configuration gives. */
  readonly softLimit: SoftLimit | undefined;
  /** Of inner packets, sent. */
  sentOctets: number;
  softLimitTold: boolean;
  /** More sequence numbers were asked for. */
  extending: boolean;
  /** Packets were received that `inboundSequence` has not recorded yet. */
  unrecorded: boolean;
}

/** What the packet path reads and writes; a plain record, since every field is touched for every packet. */
export class UserspaceTunnel {
  spec: TunnelSpec;
  tun: number;
  interfaceIndex: number;
  /** By inbound SPI. */
  readonly associations = new Map<number, Association>();
  /** The pair that is sent with; and what goes to groups, if there is one for that. */
  current: Association | undefined;
  currentMulticast: Association | undefined;
  /** The newest pair that an advertisement came with: those of older pairs are late. */
  advertisedGeneration = 0;
  #generations = 0;
  selectors: TunnelSelectors;
  readonly police: AdvertisementPolice;
  readiness: Readiness | undefined;
  /** Its interface could not be made anew, and will be tried again. */
  rebuilding: NodeJS.Timeout | undefined;

  /** Where ESP goes; address 0 while that is not known. */
  readonly destination: Destination = { familyAndPort: 0, address: 0 };
  sending: Sending = "open";
  /** Octets; what TCP's segment size is clamped to. */
  mtu: number;
  /** `path-mtu` was told and not yet answered by another MTU. */
  pathMtuTold = false;
  /** When `heard` was last told. */
  heardToldAt: Instant | undefined;
  sentPackets = 0;
  sentOctets = 0;
  sentAt: Instant | undefined;
  receivedPackets = 0;
  receivedOctets = 0;
  heardAt: Instant | undefined;
  observedFamilyAndPort = 0;
  observedAddress = 0;
  /** The source that was last told of, and when. */
  toldFamilyAndPort = 0;
  toldAddress = 0;
  sourceToldAt: Instant | undefined;
  readonly #refused: Partial<Record<RefusalReason, number>> = {};

  constructor(parts: UserspaceTunnelParts) {
    this.spec = parts.spec;
    this.tun = parts.tun;
    this.interfaceIndex = parts.interfaceIndex;
    this.selectors = parts.selectors;
    this.police = parts.police;
    this.mtu = parts.spec.mtu;
  }

  /** Receives with it from now on; sends with it if there is no other. */
  add(
    parts: Pick<
      Association,
      | "outbound"
      | "outboundSequence"
      | "inbound"
      | "inboundSequence"
      | "softLimit"
      | "encapsulation"
      | "multicast"
    >,
  ): Association {
    this.#generations += 1;
    const association: Association = {
      tunnel: this,
      generation: this.#generations,
      ...parts,
      order: new AdvertisementOrder(parts.inboundSequence.window.top),
      sentOctets: 0,
      softLimitTold: false,
      extending: false,
      unrecorded: false,
    };
    this.associations.set(parts.inbound.spi, association);
    if (this.#sentWith(association) === undefined) this.use(association);
    return association;
  }

  /** Of what is sent. */
  get encapsulation(): Encapsulation {
    return this.current?.encapsulation ?? this.spec.encapsulation;
  }

  /** Sends with it from now on, unless a newer one is sent with already; never with one that receives multicast. */
  use(association: Association): void {
    const { generation, multicast } = association;
    if (generation <= (this.#sentWith(association)?.generation ?? 0)) return;
    if (multicast === undefined) this.current = association;
    else if (multicast === "outbound") this.currentMulticast = association;
  }

  /** The one of its kind. */
  #sentWith({ multicast }: Association): Association | undefined {
    return multicast === undefined ? this.current : this.currentMulticast;
  }

  /** Neither sends nor receives with it any more; the newest that is left is sent with instead. */
  drop(association: Association): void {
    this.associations.delete(association.inbound.spi);
    association.outboundSequence.release(association.outbound.next);
    association.inboundSequence.record();
    association.outbound.close();
    association.inbound.close();
    const { multicast } = association;
    const next = [...this.associations.values()].findLast((one) => one.multicast === multicast);
    if (this.current === association) this.current = next;
    if (this.currentMulticast === association) this.currentMulticast = next;
  }

  get uses(): AssociationUse[] {
    return [...this.associations.values()].flatMap((association): AssociationUse[] => {
      const { softLimit, outbound, inbound, sentOctets, multicast } = association;
      if (softLimit === undefined) return [];
      const isSentWith = association === this.#sentWith(association);
      const packetsLeft = Math.max(0, softLimit.packets - (outbound.next - 1));
      const octetsLeft = Math.max(0, softLimit.octets - sentOctets);
      return [{ spi: inbound.spi, isSentWith, packetsLeft, octetsLeft, multicast }];
    });
  }

  /** False when an advertisement that was sent later has been admitted before. */
  admitAdvertisement({ generation, order, inbound }: Association): boolean {
    if (generation < this.advertisedGeneration || !order.admit(inbound.sequence)) return false;
    this.advertisedGeneration = generation;
    return true;
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
