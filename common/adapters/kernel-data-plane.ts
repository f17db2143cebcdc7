/**
 * The kernel data plane: xfrm interfaces, states and policies behind the port of `tunnel/data-plane.ts`. No packet
 * comes to this process; what stands in the kernel goes on standing when this process dies, and is adopted by the next.
 *
 * What a tunnel should be is `xfrm/tunnel-xfrm.ts`, what is to be done for it `xfrm/plan.ts`, how it moves
 * `xfrm/move.ts`; here it is carried out. Requests to NETLINK_XFRM are done when the call returns, so moving a
 * tunnel is one function without waiting.
 */

import { readFileSync } from "node:fs";
import { release } from "node:os";
import { SystemError } from "../errors.ts";
import type { ReplayWindow } from "../esp/replay-window.ts";
import { type Ipv4Address, parseIpv4 } from "../ip/address.ts";
import { IpProtocol } from "../ip/ipv6.ts";
import {
  decodeXfrmLink,
  encodeNewXfrmLink,
  encodeXfrmLinksQuery,
  type XfrmLink,
} from "../rtnetlink/xfrm-link-message.ts";
import type { Instant } from "../time.ts";
import {
  type AssociationUse,
  type DataPlane,
  type DataPlaneEvent,
  type IkeDatagram,
  type KeyedDataPlane,
  NO_TRAFFIC,
  type RefusalCounts,
  type RefusalReason,
  type Sending,
  type SoftLimit,
  type TunnelCounters,
} from "../tunnel/data-plane.ts";
import { ephemeralInbound } from "../tunnel/ephemeral-sequences.ts";
import { planTunnels } from "../tunnel/plan.ts";
import type { InboundSequence, OutboundSequence, SequenceStore } from "../tunnel/sequence-store.ts";
import {
  type Endpoint,
  givenKeys,
  type MulticastDirection,
  requireKeys,
  type SaKeys,
  type TunnelName,
  type TunnelRoute,
  type TunnelSpec,
} from "../tunnel/tunnel.ts";
import { keysIn } from "../xfrm/algorithm.ts";
import { decodeExpiry, decodeMapping, type Expiry } from "../xfrm/event-message.ts";
import {
  chooseInterfaceId,
  interfaceIdOf,
  isMulticastRequestId,
  isOwnedBy,
  type XfrmOwner,
} from "../xfrm/interface-id.ts";
import { XfrmMessageType } from "../xfrm/message-type.ts";
import { planMove, succeededStates } from "../xfrm/move.ts";
import {
  type PresentXfrm,
  planXfrm,
  portsOf,
  standingState,
  statesOf,
  successorOf,
  type XfrmOperation,
} from "../xfrm/plan.ts";
import { decodePolicy, type XfrmPolicy } from "../xfrm/policy-message.ts";
import {
  decodeState,
  encodeStateId,
  type PresentState,
  requestIdOf,
  type StateFailures,
  type XfrmState,
} from "../xfrm/state-message.ts";
import {
  type Attachment,
  isNowhere,
  negotiatedXfrm,
  type SequenceStart,
  type WantedXfrm,
  xfrmTunnel,
} from "../xfrm/tunnel-xfrm.ts";
import type { DescriptorStore } from "./descriptor-store.ts";
import {
  KernelAssociations,
  type KernelPair,
  passedThrough,
  type StandingPair,
} from "./kernel-associations.ts";
import type { LeakGuard } from "./leak-guard.ts";
import { UdpEncapsulationSocket } from "./linux/udp-encapsulation-socket.ts";
import { RequestFlag, RouteGroup, RouteMessageType, type RouteSocket } from "./netlink-socket.ts";
import type { TunnelLinks } from "./tunnel-link.ts";
import { subscribeToXfrm, type XfrmSocket, xfrmRequest } from "./xfrm-socket.ts";

/** Requests carried out in one turn of the event loop when many tunnels are made. */
const OPERATIONS_A_TURN = 256;
/** How often held tunnels are looked at for signs of life, and how many at a time; milliseconds. */
const HELD_INTERVAL = 500;
const HELD_A_ROUND = 500;
/** Links are looked at so long after something happened to one, milliseconds. */
const LINKS_SETTLE = 100;
/** From one try to make a lost interface anew to the next. */
const REBUILD_MS = 1_000;
/**
 * A tunnel that was sending when its daemon died goes on sending to the same place so long, while the next daemon asks
 * whether the home is still there; milliseconds. Without it a restart would interrupt what nothing else interrupts.
 */
const HOLD_GRACE = 3_000;
/** And so much longer for each tunnel: thousands are not asked all at once. */
const HOLD_GRACE_A_TUNNEL = 1;
/**
 * Sequence numbers reserved ahead. The kernel asks nobody before it uses one, so they must outlast the ten seconds in
 * which every tunnel is looked at. A power cut loses them: of 64-bit numbers so few that the peer, who may miss no 2^32
 * (RFC 4303 section 2.2.1), follows over three of those; of 32-bit ones a lost reserve may not hurt.
 */
const AHEAD_EXTENDED = 2 ** 30;
const AHEAD_32 = 2 ** 25;
/** The share of those that is left when more are asked for, and when without them nothing more may be sent. */
const EXTEND_BELOW = 1 / 2;
const STOP_BELOW = 1 / 4;
const NO_FAILURES: StateFailures = { tooOld: 0, replayed: 0, notAuthentic: 0 };
const STATISTICS = "/proc/net/xfrm_stat";
/** Linux's counters (Documentation/networking/xfrm_proc.rst) of packets no tunnel can be named for, by our names. */
const STATISTICS_REASONS: Readonly<Record<string, RefusalReason>> = {
  XfrmInNoStates: "unknown-spi",
  XfrmInHdrError: "malformed",
  XfrmInBufferError: "malformed",
  XfrmInNoPols: "inner-source",
  XfrmInPolBlock: "inner-source",
  XfrmInTmplMismatch: "inner-source",
  XfrmInStateMismatch: "unexpected-next-header",
  XfrmInStateModeError: "inner-malformed",
  XfrmOutPolBlock: "held",
  XfrmOutStateSeqError: "sequence-exhausted",
};

export interface KernelDataPlaneOptions {
  readonly owner: XfrmOwner;
  /** Our own IPv4 if it never changes; else `setLocal` tells it. */
  readonly local: Ipv4Address | undefined;
  readonly xfrm: XfrmSocket;
  readonly routes: RouteSocket;
  readonly links: TunnelLinks;
  /** Absent: what stands as a guard is left alone. */
  readonly guard: LeakGuard | undefined;
  readonly sequences: SequenceStore;
  /** What keeps the UDP port while no daemon runs. */
  readonly descriptors?: DescriptorStore | undefined;
  readonly now: () => Instant;
  /** Why this plane was chosen. */
  readonly reason?: string | undefined;
  /** False moves by successor states, as on kernels without MIGRATE. */
  readonly migrate?: boolean;
}

type Heir = Parameters<NonNullable<KeyedDataPlane["inherit"]>>[0];

/** What of ours stands when tunnels are made; by interface, since thousands are not to be searched for each. */
interface Found {
  readonly links: ReadonlyMap<string, XfrmLink>;
  readonly present: PresentXfrm;
  readonly byInterface: ReadonlyMap<number, PresentXfrm>;
  readonly linkIds: ReadonlySet<number>;
}

class KernelTunnel {
  spec: TunnelSpec;
  attachment: Attachment;
  interfaceIndex = 0;
  /** Its interface was lost, and could not be made anew. */
  lacksLink = false;
  /** Of keys that are negotiated; absent: the configuration gives them. */
  readonly associations: KernelAssociations | undefined;
  /** Of keys whose numbers outlive the machine's; a single-use key that was adopted has none. */
  outboundSequence: OutboundSequence | undefined;
  readonly inboundSequence: InboundSequence;
  /** The last number of the numbers reserved. */
  reserved = 0;
  extending = false;
  /** It was sending already when this process found it. */
  adopted = false;
  /** Runs before it is held. */
  grace: NodeJS.Timeout | undefined;

  /** As last read; a state that was lost keeps them. */
  sent = { packets: 0, octets: 0 };
  received = { packets: 0, octets: 0, top: 0 };
  failures = NO_FAILURES;
  sentAt: Instant | undefined;
  heardAt: Instant | undefined;
  observedSource: Endpoint | undefined;

  constructor(spec: TunnelSpec, attachment: Attachment, inboundSequence: InboundSequence) {
    this.spec = spec;
    this.attachment = attachment;
    this.inboundSequence = inboundSequence;
    this.associations = givenKeys(spec) === undefined ? new KernelAssociations() : undefined;
  }

  wanted(start?: SequenceStart): WantedXfrm {
    const { spec, attachment, associations } = this;
    return associations === undefined
      ? xfrmTunnel(spec, attachment, start)
      : negotiatedXfrm(spec, attachment, associations.wanted);
  }
}

export class KernelDataPlane implements DataPlane, KeyedDataPlane {
  readonly kind = "kernel";
  readonly keyed = this;
  readonly crypto = `Linux ${release()}`;
  readonly reason: string | undefined;
  readonly #options: KernelDataPlaneOptions;
  readonly #tunnels = new Map<TunnelName, KernelTunnel>();
  readonly #byInterface = new Map<number, KernelTunnel>();
  readonly #listeners: ((event: DataPlaneEvent) => void)[] = [];
  readonly #subscriptions: { close(): void }[] = [];
  readonly #initialStatistics: RefusalCounts;
  #local: Ipv4Address | undefined;
  #udp: UdpEncapsulationSocket | undefined;
  #heir: Heir = () => undefined;
  /** False once the kernel said that it has no MIGRATE. */
  #migrates: boolean;
  #heldTimer: NodeJS.Timeout | undefined;
  #held: KernelTunnel[] = [];
  #linksTimer: NodeJS.Timeout | undefined;
  #applying = false;
  #closed = false;

  /** Throws `SystemError`. */
  constructor(options: KernelDataPlaneOptions) {
    this.#options = options;
    this.reason = options.reason;
    this.#local = options.local;
    this.#migrates = options.migrate ?? true;
    this.#initialStatistics = readStatistics();
    this.#subscriptions.push(
      subscribeToXfrm((messages) => this.#hearKernel(messages)),
      options.routes.subscribe([RouteGroup.link], () => this.#lookAtLinks()),
    );
  }

  async apply(wanted: readonly TunnelSpec[]): Promise<void> {
    this.#applying = true;
    try {
      await this.#apply(wanted);
    } finally {
      this.#applying = false;
    }
  }

  setRemote(name: TunnelName, remote: Endpoint | undefined): void {
    const tunnel = this.#tunnels.get(name);
    if (tunnel === undefined) return;
    const { address, port } = tunnel.attachment.remote ?? {};
    if (address === remote?.address && port === remote?.port) return;
    this.#attach(tunnel, { remote });
  }

  setLocal(address: Ipv4Address): void {
    if (this.#options.local !== undefined || address === this.#local) return;
    this.#local = address;
    for (const tunnel of this.#tunnels.values()) {
      this.#attach(tunnel, { local: { address, fixed: false } });
    }
  }

  setSending(name: TunnelName, sending: Sending): void {
    const tunnel = this.#tunnels.get(name);
    if (tunnel === undefined) return;
    clearTimeout(tunnel.grace);
    if (tunnel.attachment.sending === sending) return;
    if (sending === "probes-only" && tunnel.adopted) {
      const grace = HOLD_GRACE + HOLD_GRACE_A_TUNNEL * this.#tunnels.size;
      tunnel.grace = setTimeout(() => this.#hold(tunnel), grace).unref();
    } else if (sending === "probes-only") {
      this.#hold(tunnel);
    } else {
      this.#attach(tunnel, { sending });
    }
    tunnel.adopted = false;
  }

  async setMtu(name: TunnelName, mtu: number): Promise<void> {
    const tunnel = this.#tunnels.get(name);
    if (tunnel === undefined) return;
    await this.#options.links.setMtu(tunnel.spec.interfaceName, mtu);
    if (this.#tunnels.get(name) !== tunnel) return;
    const before = tunnel.wanted();
    tunnel.spec = { ...tunnel.spec, mtu };
    // At the smallest MTU outer packets must be allowed to be cut, which is a flag of the states.
    const flagsOf = (wanted: WantedXfrm) => statesOf(wanted).at(0)?.flags;
    if (flagsOf(before) !== flagsOf(tunnel.wanted())) this.#replaceStates(tunnel, before);
  }

  sendKeepalive(name: TunnelName): void {
    const tunnel = this.#tunnels.get(name);
    if (tunnel?.spec.encapsulation !== "udp" || tunnel.attachment.remote === undefined) return;
    this.#udp?.sendKeepalive(tunnel.attachment.remote);
  }

  counters(name: TunnelName): TunnelCounters {
    const tunnel = this.#tunnels.get(name);
    if (tunnel === undefined) return NO_TRAFFIC;
    this.#refresh(tunnel);
    const { sent, received, failures, sentAt, heardAt, observedSource } = tunnel;
    return {
      sentPackets: sent.packets,
      sentOctets: sent.octets,
      receivedPackets: received.packets,
      receivedOctets: received.octets,
      refused: counted({
        replayed: failures.replayed,
        "too-old": failures.tooOld,
        "not-authentic": failures.notAuthentic,
      }),
      sentAt,
      heardAt,
      observedSource,
    };
  }

  unattributed(): RefusalCounts {
    const now = readStatistics();
    const counts: Partial<Record<RefusalReason, number>> = {};
    for (const reason of Object.keys(now) as RefusalReason[]) {
      counts[reason] = (now[reason] ?? 0) - (this.#initialStatistics[reason] ?? 0);
    }
    return counted(counts);
  }

  interfaceIndex(name: TunnelName): number {
    return this.#tunnels.get(name)?.interfaceIndex ?? 0;
  }

  onEvent(listener: (event: DataPlaneEvent) => void): void {
    this.#listeners.push(listener);
  }

  flush(): void {
    this.#options.sequences.flush();
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    if (this.#udp !== undefined) this.#udp.onIke = undefined;
    clearInterval(this.#heldTimer);
    clearTimeout(this.#linksTimer);
    for (const subscription of this.#subscriptions) subscription.close();
    try {
      await this.#apply([]);
    } finally {
      this.#udp?.close();
      this.#options.xfrm.close();
      this.#options.sequences.sync();
    }
  }

  inherit(heir: Heir): void {
    this.#heir = heir;
  }

  addAssociations(name: TunnelName, keys: SaKeys, limit: SoftLimit): void {
    const tunnel = this.#tunnels.get(name);
    if (tunnel === undefined) return;
    const { encapsulation = tunnel.spec.encapsulation } = keys;
    this.#reshape(tunnel, (associations) => associations.add({ ...keys, encapsulation }, limit));
  }

  useAssociations(name: TunnelName, spi: number): void {
    const tunnel = this.#tunnels.get(name);
    if (tunnel === undefined) return;
    this.#reshape(tunnel, (associations) => {
      const pair = associations.find(spi);
      if (pair !== undefined) associations.use(pair);
    });
  }

  removeAssociations(name: TunnelName, spi: number): void {
    const tunnel = this.#tunnels.get(name);
    if (tunnel === undefined) return;
    this.#refresh(tunnel);
    this.#reshape(tunnel, (associations) => {
      const pair = associations.find(spi);
      if (pair !== undefined) associations.remove(pair);
    });
  }

  associations(name: TunnelName): readonly AssociationUse[] {
    return this.#tunnels.get(name)?.associations?.uses ?? [];
  }

  listenForIke(listener: (datagram: IkeDatagram) => void): void {
    this.#openUdp().onIke = (message, remote) => listener({ message, remote });
  }

  sendIke({ message, remote }: IkeDatagram): void {
    this.#udp?.sendIke(message, remote);
  }

  sendIkeKeepalive(remote: Endpoint): void {
    this.#udp?.sendKeepalive(remote);
  }

  #openUdp(): UdpEncapsulationSocket {
    const { local, descriptors } = this.#options;
    this.#udp ??= new UdpEncapsulationSocket(local, descriptors);
    return this.#udp;
  }

  async #apply(wanted: readonly TunnelSpec[]): Promise<void> {
    const specs = [...this.#tunnels.values()].map(({ spec }) => spec);
    const plan = planTunnels(specs, wanted);
    const links = await this.#presentLinks();

    for (const name of plan.remove) this.#forget(name);
    const present = this.#present();
    for (const spec of plan.change) this.#tunnel(spec.name).spec = spec;
    const starts = new Map<KernelTunnel, SequenceStart>();
    const found = { links, present, ...byInterface(links, present) };
    for (const spec of plan.add) {
      const { tunnel, start } = this.#adoptOrOpen(spec, found);
      starts.set(tunnel, start);
    }
    if (wanted.some(({ encapsulation }) => encapsulation === "udp")) this.#openUdp();
    // Reservations are durable before the first packet can use them.
    if (plan.add.length > 0) {
      const { sequences } = this.#options;
      sequences.sync();
      // The kernel knows no limit: without a reservation it may not begin.
      if (sequences.problem !== undefined) throw sequences.problem;
    }

    const tunnels = [...this.#tunnels.values()];
    const operations = planXfrm(
      present,
      tunnels.map((tunnel) => {
        const { states = [] } = found.byInterface.get(tunnel.attachment.interfaceId) ?? {};
        return this.#wantedAmong(tunnel, states, starts.get(tunnel));
      }),
    );
    await this.#perform(operations);
    // From here on what stands is ours, and of what goes nothing is inherited.
    this.#heir = () => undefined;
    const routes = tunnels.flatMap(({ spec }) => spec.routes);
    // Before any interface is made, and gone only with the last of them.
    if (routes.length > 0) await this.#guard(routes);
    await this.#removeLinks(links);
    const failures = await this.#standLinks(links, [...plan.add, ...plan.change]);
    if (routes.length === 0) await this.#guard(routes);
    const [first] = failures.values();
    // Where not one can stand it is not a tunnel's trouble but ours.
    if (first !== undefined && failures.size === tunnels.length) throw first;
    for (const [tunnel, error] of failures) this.#trouble(tunnel, error);
  }

  async #guard(routes: readonly TunnelRoute[]): Promise<void> {
    const error = await this.#options.guard?.apply(routes);
    const [first] = this.#tunnels.values();
    if (error !== undefined && first !== undefined) this.#trouble(first, error);
  }

  /** The tunnels' interfaces as they should be; returns those that cannot be, and why. */
  async #standLinks(links: ReadonlyMap<string, XfrmLink>, differing: readonly TunnelSpec[]) {
    const tunnels = [...this.#tunnels.values()];
    const names = new Set(differing.map(({ name }) => name));
    const stands = ({ spec }: KernelTunnel) => links.has(spec.interfaceName);
    const missing = tunnels.filter((tunnel) => !stands(tunnel));
    const failures = await this.#makeLinks(missing);
    const toConfigure = [
      ...missing.filter((tunnel) => !failures.has(tunnel)),
      ...tunnels.filter((tunnel) => stands(tunnel) && names.has(tunnel.spec.name)),
    ];
    const unconfigured = await this.#configureLinks(toConfigure);
    return new Map([...failures, ...unconfigured]);
  }

  /** A tunnel that is new to this process; what stands of it in the kernel stays as it is. */
  #adoptOrOpen(spec: TunnelSpec, found: Found): { tunnel: KernelTunnel; start: SequenceStart } {
    const { owner, local, sequences } = this.#options;
    const interfaceId = this.#interfaceIdOf(spec, found);
    if (givenKeys(spec) === undefined) return this.#openNegotiated(spec, interfaceId, found);
    const wanted = xfrmTunnel(spec, {
      interfaceId,
      local: { address: this.#local, fixed: local !== undefined },
      remote: undefined,
      sending: "open",
    });
    const own = found.byInterface.get(interfaceId) ?? { states: [], policies: [] };
    const outbound = standingState(own.states, wanted.outbound);
    const inbound = standingState(own.states, wanted.inbound);
    const inboundSequence = sequences.openInbound(requireKeys(spec).inbound);
    const standingLocal = local ?? this.#local ?? somewhere(outbound?.source);
    const tunnel = new KernelTunnel(
      spec,
      {
        interfaceId,
        local: { address: standingLocal, fixed: local !== undefined },
        remote: endpointOf(outbound),
        sending: wasHeld(own) ? "probes-only" : "open",
      },
      inboundSequence,
    );
    tunnel.adopted = tunnel.attachment.remote !== undefined && tunnel.attachment.sending === "open";
    if (tunnel.attachment.sending === "probes-only") this.#watchHeld();
    if (owner === "client") this.#local ??= standingLocal;
    const ahead = aheadOf(spec);
    let sent = 0;
    if (outbound === undefined || !isSingleUse(spec)) {
      const sequence = sequences.openOutbound(requireKeys(spec).outbound);
      tunnel.outboundSequence = sequence;
      sent = outbound?.replay?.sent ?? sequence.next - 1;
      // What is granted lies beyond `limit`; that much is durable with the next sync.
      sequence.extend(sent + ahead, () => undefined);
      tunnel.reserved = sent + ahead;
    }
    if (outbound !== undefined) this.#countSent(tunnel, outbound);
    if (inbound !== undefined) this.#countReceived(tunnel, inbound);
    this.#tunnels.set(spec.name, tunnel);
    this.#byInterface.set(interfaceId, tunnel);
    return { tunnel, start: { sent, received: inboundSequence.window.top } };
  }

  /** Of an earlier process's keys those that are inherited stay; all else that stands of it is removed. */
  #openNegotiated(spec: TunnelSpec, interfaceId: number, found: Found) {
    const { local } = this.#options;
    const own = found.byInterface.get(interfaceId) ?? { states: [], policies: [] };
    const [pair, multicast] = this.#inheritedPairs(spec.name, own.states);
    const tunnel = new KernelTunnel(
      spec,
      {
        interfaceId,
        local: { address: local ?? this.#local, fixed: local !== undefined },
        remote: endpointOf(pair?.outbound),
        sending: pair !== undefined && wasHeld(own) ? "probes-only" : "open",
      },
      ephemeralInbound(),
    );
    if (pair !== undefined) {
      tunnel.associations?.inherit(pair);
      if (multicast !== undefined) tunnel.associations?.inherit(multicast);
      tunnel.adopted = tunnel.attachment.sending === "open";
      if (!tunnel.adopted) this.#watchHeld();
    }
    this.#tunnels.set(spec.name, tunnel);
    this.#byInterface.set(interfaceId, tunnel);
    return { tunnel, start: { sent: 0, received: 0 } };
  }

  /** The link's, and the one for multicast. */
  #inheritedPairs(name: TunnelName, states: readonly PresentState[]) {
    const isMulticast = ({ requestId }: PresentState) => isMulticastRequestId(requestId);
    const ofLink = states.filter((state) => !isMulticast(state));
    return [
      this.#inheritedPair(name, ofLink, undefined),
      this.#inheritedPair(name, states.filter(isMulticast), "outbound"),
    ];
  }

  #inheritedPair(
    name: TunnelName,
    states: readonly PresentState[],
    multicast: MulticastDirection | undefined,
  ): StandingPair | undefined {
    // Pairs are few: one, and for a moment two.
    for (const outbound of states) {
      for (const inbound of states) {
        if (inbound === outbound) continue;
        const keys = Uint8Array.of(...keysIn(outbound.algorithms), ...keysIn(inbound.algorithms));
        const spis = { inbound: inbound.spi, outbound: outbound.spi };
        const limit = this.#heir(name, { ...spis, keys, multicast });
        if (limit !== undefined) return { inbound, outbound, multicast, limit };
      }
    }
    return undefined;
  }

  #interfaceIdOf(spec: TunnelSpec, { links, present, linkIds }: Found): number {
    const { owner } = this.#options;
    const { interfaceName } = spec;
    const link = links.get(interfaceName);
    if (link !== undefined) return link.interfaceId;
    const taken = {
      has: (id: number) => linkIds.has(id) || this.#byInterface.has(id),
    };
    // The interface was deleted and its states were not: the number is told by the keys.
    for (const { interfaceId } of givenKeys(spec) === undefined ? [] : present.states) {
      if (interfaceId === undefined || taken.has(interfaceId)) continue;
      const attachment = {
        interfaceId,
        local: { address: undefined, fixed: true },
        remote: undefined,
        sending: "open",
      } as const;
      const { outbound } = xfrmTunnel(spec, attachment);
      if (standingState(present.states, outbound) !== undefined) return interfaceId;
    }
    return chooseInterfaceId(owner, interfaceName, taken);
  }

  /** The tunnel is not wanted any more, or not with these keys: its numbers are settled, its place is given up. */
  #forget(name: TunnelName): void {
    const tunnel = this.#tunnel(name);
    const { outbound, multicast, inbound, negotiated = [], policies } = tunnel.wanted();
    const { xfrm } = this.#options;
    const others = multicast === undefined ? negotiated : [multicast, ...negotiated];
    clearTimeout(tunnel.grace);
    const ways = policies.filter(({ direction }) => direction === "out");
    xfrm.attempt(ways.map((policy) => xfrmRequest({ kind: "delete-policy", policy })));
    // Nothing is sent any more, so what was sent until now is known for good.
    const sent = outbound && this.#read(outbound);
    if (sent !== undefined) {
      this.#countSent(tunnel, sent);
      xfrm.attempt([xfrmRequest({ kind: "delete-state", state: sent })]);
      tunnel.outboundSequence?.release((sent.replay?.sent ?? 0) + 1);
    }
    const received = inbound && this.#read(inbound);
    if (received !== undefined) {
      this.#countReceived(tunnel, received);
      xfrm.attempt([xfrmRequest({ kind: "delete-state", state: received })]);
    }
    xfrm.attempt(others.map((state) => xfrmRequest({ kind: "delete-state", state })));
    this.#tunnels.delete(name);
    this.#byInterface.delete(tunnel.attachment.interfaceId);
  }

  /** Attaches a standing tunnel elsewhere: done, and in force for the next packet, when it returns. */
  #attach(tunnel: KernelTunnel, change: Partial<Attachment>): void {
    const before = tunnel.wanted();
    tunnel.attachment = { ...tunnel.attachment, ...change };
    const after = tunnel.wanted();
    this.#moveNegotiated(before, after);
    const succeeded = succeededStates(before, after);
    const standing = succeeded.flatMap((state) => this.#read(state) ?? []);
    if (standing.length < succeeded.length) {
      this.#replaceStates(tunnel, before);
      return;
    }
    // The numbers that are left out are reserved ones, too.
    for (const state of standing) this.#countSent(tunnel, state);
    const steps = planMove(before, after, standing);
    if (!this.#migrates && steps.some(({ kind }) => kind === "migrate")) {
      this.#replaceStates(tunnel, before);
      return;
    }
    const refused = this.#options.xfrm
      .attempt(steps.map(xfrmRequest))
      .find((error) => error !== undefined);
    if (refused === undefined) return;
    if (refused.code === "ENOPROTOOPT" || refused.code === "EOPNOTSUPP") this.#migrates = false;
    this.#replaceStates(tunnel, before);
  }

  /**
   * The other way to move: read the states, and in one write delete them and make new ones that go on well above
   * their numbers. It also mends what somebody else has changed or deleted.
   */
  #replaceStates(tunnel: KernelTunnel, before: WantedXfrm): void {
    const after = tunnel.wanted();
    const places = [...statesOf(before), ...statesOf(after)];
    const present = uniqueStates(places.flatMap((state) => this.#read(state) ?? []));
    const start = this.#startAfterLoss(tunnel, present, after);
    if (start === undefined) return;
    const wanted = this.#wantedOf(tunnel, present, start);
    const keys = new Set(wanted.policies.map((policy) => JSON.stringify(policy.selector)));
    const stale = before.policies.filter(({ selector }) => !keys.has(JSON.stringify(selector)));
    const states = planXfrm({ states: present, policies: [] }, [{ ...wanted, policies: [] }]);
    // "Update" makes a policy that is missing, and the blocking ones are not missing in between.
    const policies = wanted.policies.map(
      (policy) => ({ kind: "update-policy", policy }) satisfies XfrmOperation,
    );
    const steps: XfrmOperation[] = [
      ...policies.filter(({ policy }) => policy.action === "block"),
      ...states,
      ...policies.filter(({ policy }) => policy.action !== "block"),
    ];
    this.#options.xfrm.attempt(
      stale.map((policy) => xfrmRequest({ kind: "delete-policy", policy })),
    );
    const refused = this.#options.xfrm
      .attempt(steps.map(xfrmRequest))
      .find((error) => error !== undefined);
    if (refused !== undefined) this.#trouble(tunnel, refused);
  }

  /**
   * Where new states begin if those that stood are gone. Undefined, and said so, when the key must not be used again
   * because its numbers are lost.
   */
  #startAfterLoss(
    tunnel: KernelTunnel,
    present: readonly PresentState[],
    wanted: WantedXfrm,
  ): SequenceStart | undefined {
    if (tunnel.associations !== undefined) return { sent: 0, received: 0 };
    const received = Math.max(tunnel.received.top, tunnel.inboundSequence.window.top);
    const { outbound } = wanted;
    if (outbound && standingState(present, outbound) !== undefined) return { sent: 0, received };
    if (isSingleUse(tunnel.spec)) {
      const hint =
        "its numbers are lost with it; make new keys for both ends with `hometun keygen`";
      const operation = `replace the security association of ${tunnel.spec.name}`;
      this.#trouble(tunnel, new SystemError(operation, "ENOENT", { hint }));
      return undefined;
    }
    // All that could be used are reserved; beyond them nothing was.
    const sent = tunnel.reserved;
    this.#reserve(tunnel, sent);
    this.#options.sequences.sync();
    return { sent, received };
  }

  #trouble(tunnel: KernelTunnel, error: SystemError): void {
    this.#tell({ kind: "trouble", tunnel: tunnel.spec.name, error });
  }

  #read(state: XfrmState): PresentState | undefined {
    try {
      const payload = this.#options.xfrm.ask({
        operation: "read a security association",
        type: XfrmMessageType.getState,
        payload: encodeStateId(state),
      });
      const standing = decodeState(payload);
      return standing.interfaceId === state.interfaceId ? standing : undefined;
    } catch (error) {
      if (error instanceof SystemError && error.code === "ESRCH") return undefined;
      throw error;
    }
  }

  /** Reads the tunnel's states; keeps its reserve of numbers ahead and its window remembered. */
  #refresh(tunnel: KernelTunnel): void {
    if (tunnel.associations !== undefined) {
      this.#refreshNegotiated(tunnel, tunnel.associations);
      return;
    }
    const { outbound, inbound } = tunnel.wanted();
    const sent = outbound && this.#read(outbound);
    if (sent !== undefined) this.#countSent(tunnel, sent);
    const received = inbound && this.#read(inbound);
    if (received !== undefined) this.#countReceived(tunnel, received);
  }

  /** The kernel tells of limits and first packets; where that was lost, this finds it out. */
  #refreshNegotiated(tunnel: KernelTunnel, associations: KernelAssociations): void {
    const wanted = tunnel.wanted();
    for (const pair of associations.sending) {
      const state = sendingStateOf(wanted, pair);
      const sent = state && this.#read(state);
      if (sent !== undefined) pair.countSent(sent);
    }
    for (const state of wanted.negotiated ?? []) {
      const received = this.#read(state);
      const pair = associations.find(state.spi);
      if (received === undefined || pair === undefined) continue;
      pair.countReceived(received);
      if (pair.received.packets > 0) this.#heardWith(tunnel, pair);
    }
    const { totals, sending } = associations;
    if (totals.sent.packets !== tunnel.sent.packets) tunnel.sentAt = this.#options.now();
    if (totals.received.packets !== tunnel.received.packets) tunnel.heardAt = this.#options.now();
    tunnel.sent = totals.sent;
    tunnel.received = { ...totals.received, top: 0 };
    tunnel.failures = totals.failures;
    for (const pair of sending) if (pair.isUsedUp) this.#tellSoftLimit(tunnel, pair);
  }

  /** An authentic packet came with the pair: the peer has it too. */
  #heardWith(tunnel: KernelTunnel, pair: KernelPair): void {
    if (tunnel.associations?.isNewer(pair) !== true) return;
    this.#reshape(tunnel, (associations) => associations.use(pair));
  }

  #tellSoftLimit(tunnel: KernelTunnel, pair: KernelPair): void {
    if (pair.softLimitTold) return;
    pair.softLimitTold = true;
    this.#tell({ kind: "soft-limit", tunnel: tunnel.spec.name, spi: pair.inbound.spi });
  }

  /**
   * Other negotiated pairs: what is received with comes before what is sent with, and what is not sent with any more goes
   * when the other stands, so that no packet finds a policy without its state.
   */
  #reshape(tunnel: KernelTunnel, change: (associations: KernelAssociations) => void): void {
    const { associations } = tunnel;
    if (associations === undefined) throw new Error(`tunnel ${tunnel.spec.name} has its keys`);
    const before = tunnel.wanted();
    const previous = associations.sending;
    change(associations);
    const { sending } = associations;
    const after = tunnel.wanted();
    const spis = (states: readonly XfrmState[] = []) => new Set(states.map(({ spi }) => spi));
    const [receivedBefore, receivedAfter] = [spis(before.negotiated), spis(after.negotiated)];
    const added = after.negotiated?.filter(({ spi }) => !receivedBefore.has(spi)) ?? [];
    const removed = before.negotiated?.filter(({ spi }) => !receivedAfter.has(spi)) ?? [];
    for (const pair of sending) {
      const state = sendingStateOf(after, pair);
      if (state !== undefined && !previous.includes(pair)) added.push(pair.resumed(state));
    }
    // Without a state for both, planning looks at the policies only.
    const policies = planMove({ policies: before.policies }, { policies: after.policies });
    const steps = [...added.map((state) => ({ kind: "add-state", state }) as const), ...policies];
    const refused = this.#options.xfrm
      .attempt(steps.map(xfrmRequest))
      .find((error) => error !== undefined);
    if (refused !== undefined) this.#trouble(tunnel, refused);
    for (const pair of previous) {
      const state = sendingStateOf(before, pair);
      if (state === undefined || sending.includes(pair)) continue;
      pair.left = this.#read(state);
      if (pair.left !== undefined) pair.countSent(pair.left);
      removed.push(state);
    }
    // Those that are gone already were somebody else's to delete.
    this.#options.xfrm.attempt(
      removed.map((state) => xfrmRequest({ kind: "delete-state", state })),
    );
  }

  /**
   * Inbound states of negotiated keys: at our new address, where each stands before it goes here, or with the new port of a
   * NAT before the peer.
   */
  #moveNegotiated(before: WantedXfrm, after: WantedXfrm): void {
    for (const from of before.negotiated ?? []) {
      const to = after.negotiated?.find(({ spi }) => spi === from.spi);
      if (to === undefined) continue;
      if (to.destination === from.destination) {
        if (portsOf(to) === portsOf(from)) continue;
        this.#options.xfrm.attempt([xfrmRequest({ kind: "update-state", state: to })]);
        continue;
      }
      const present = this.#read(from);
      if (present === undefined) continue;
      this.#options.xfrm.attempt([
        xfrmRequest({ kind: "add-state", state: successorOf(present, to) }),
        xfrmRequest({ kind: "delete-state", state: from }),
      ]);
    }
  }

  /** As `#wantedOf`. A tunnel that is not new, and so has no `start`, may have lost its states. */
  #wantedAmong(
    tunnel: KernelTunnel,
    present: readonly PresentState[],
    start: SequenceStart | undefined,
  ): WantedXfrm {
    const wanted = tunnel.wanted();
    const begin = start ?? this.#startAfterLoss(tunnel, present, wanted);
    if (begin !== undefined) return this.#wantedOf(tunnel, present, begin);
    const { inbound, policies } = wanted;
    const stands = inbound !== undefined && standingState(present, inbound) !== undefined;
    return { inbound: stands ? inbound : undefined, policies };
  }

  /**
   * What shall stand, given what does: a negotiated state that is gone is not made again, since its numbers are gone too.
   * Instead others are asked for.
   */
  #wantedOf(
    tunnel: KernelTunnel,
    present: readonly PresentState[],
    start: SequenceStart | undefined,
  ): WantedXfrm {
    const wanted = tunnel.wanted(start);
    const { associations } = tunnel;
    if (associations === undefined) return wanted;
    const stands = (state: XfrmState) => standingState(present, state) !== undefined;
    const { outbound, multicast, negotiated = [], policies } = wanted;
    for (const pair of associations.sending) {
      const state = sendingStateOf(wanted, pair);
      if (state !== undefined && !stands(state)) this.#tellSoftLimit(tunnel, pair);
    }
    return {
      outbound: outbound && stands(outbound) ? outbound : undefined,
      multicast: multicast && stands(multicast) ? multicast : undefined,
      negotiated: negotiated.filter(stands),
      policies,
    };
  }

  #countSent(tunnel: KernelTunnel, state: PresentState): void {
    // Negotiated pairs are counted one by one, and have no reserve: their numbers are the kernel's alone.
    if (tunnel.associations !== undefined) return;
    const { packets, octets } = state.current;
    if (packets !== tunnel.sent.packets) tunnel.sentAt = this.#options.now();
    tunnel.sent = passedThrough({ packets, octets });
    const sent = state.replay?.sent ?? 0;
    const left = (tunnel.reserved - sent) / aheadOf(tunnel.spec);
    if (left < EXTEND_BELOW) this.#reserve(tunnel, sent);
    const { problem } = this.#options.sequences;
    // The kernel knows no limit: before it goes beyond what is reserved it has to end.
    if (left < STOP_BELOW && problem !== undefined) this.#tell({ kind: "failed", error: problem });
  }

  #reserve(tunnel: KernelTunnel, sent: number): void {
    const { outboundSequence } = tunnel;
    if (outboundSequence === undefined || tunnel.extending) return;
    tunnel.extending = true;
    const granted = (limit: number) => {
      tunnel.extending = false;
      tunnel.reserved = limit - 1;
    };
    outboundSequence.extend(sent + aheadOf(tunnel.spec), granted);
  }

  #countReceived(tunnel: KernelTunnel, state: PresentState): void {
    const { packets, octets } = state.current;
    const top = state.replay?.received ?? 0;
    if (packets !== tunnel.received.packets) tunnel.heardAt = this.#options.now();
    tunnel.received = { packets, octets, top };
    tunnel.failures = state.failures;
    if (top > tunnel.inboundSequence.window.top) {
      advance(tunnel.inboundSequence.window, top);
      tunnel.inboundSequence.record();
    }
  }

  #hold(tunnel: KernelTunnel): void {
    if (this.#closed || this.#tunnels.get(tunnel.spec.name) !== tunnel) return;
    this.#attach(tunnel, { sending: "probes-only" });
    this.#watchHeld();
  }

  #watchHeld(): void {
    this.#heldTimer ??= setInterval(() => this.#lookAtHeld(), HELD_INTERVAL).unref();
  }

  #lookAtHeld(): void {
    if (this.#held.length === 0) {
      const all = [...this.#tunnels.values()];
      this.#held = all.filter(({ attachment }) => attachment.sending === "probes-only");
    }
    if (this.#held.length === 0) {
      clearInterval(this.#heldTimer);
      this.#heldTimer = undefined;
      return;
    }
    for (const tunnel of this.#held.splice(0, HELD_A_ROUND)) {
      if (this.#tunnels.get(tunnel.spec.name) !== tunnel) continue;
      const before = tunnel.received.packets;
      this.#refresh(tunnel);
      const stillHeld = tunnel.attachment.sending === "probes-only";
      if (stillHeld && tunnel.received.packets !== before) {
        this.#tell({ kind: "heard", tunnel: tunnel.spec.name });
      }
    }
  }

  #hearKernel(
    messages: readonly { readonly type: number; readonly payload: Uint8Array }[] = [],
  ): void {
    for (const { type, payload } of messages) {
      if (type === XfrmMessageType.expire) this.#hearExpiry(decodeExpiry(payload));
      if (type !== XfrmMessageType.mapping) continue;
      const { requestId, newSource, newPort } = decodeMapping(payload);
      const tunnel = this.#byInterface.get(interfaceIdOf(requestId));
      if (tunnel === undefined) continue;
      const source = { address: newSource as Ipv4Address, port: newPort };
      tunnel.observedSource = source;
      const { remote } = tunnel.attachment;
      if (remote?.address === source.address && remote.port === source.port) continue;
      this.#tell({ kind: "source", tunnel: tunnel.spec.name, source });
    }
  }

  #hearExpiry({ state }: Expiry): void {
    const tunnel = this.#byInterface.get(interfaceIdOf(state.requestId));
    const pair = tunnel?.associations?.find(state.spi);
    if (tunnel === undefined || pair === undefined) return;
    if (state.spi === pair.inbound.spi) this.#heardWith(tunnel, pair);
    else this.#tellSoftLimit(tunnel, pair);
  }

  /** Ours only. */
  #present(): PresentXfrm {
    const { xfrm, owner } = this.#options;
    const states = xfrm
      .dump(
        {
          operation: "list the security associations",
          type: XfrmMessageType.getState,
          payload: new Uint8Array(),
        },
        (payload) => isOwnedBy(owner, interfaceIdOf(requestIdOf(payload))),
      )
      .map(decodeState)
      .filter(({ interfaceId, requestId }) => interfaceId === interfaceIdOf(requestId));
    const policies: XfrmPolicy[] = [];
    xfrm.dump(
      {
        operation: "list the IPsec policies",
        type: XfrmMessageType.getPolicy,
        payload: new Uint8Array(),
      },
      (payload) => {
        const policy = policyIn(payload);
        if (policy?.interfaceId !== undefined && isOwnedBy(owner, policy.interfaceId)) {
          policies.push(policy);
        }
        return false;
      },
    );
    return { states, policies };
  }

  /** xfrm interfaces of ours, by name. Throws for one that has a wanted name and is somebody else's. */
  async #presentLinks(): Promise<Map<string, XfrmLink>> {
    const replies = await this.#options.routes.request({
      operation: "list the xfrm interfaces",
      type: RouteMessageType.getLink,
      flags: RequestFlag.dump,
      payload: encodeXfrmLinksQuery(),
    });
    const links = replies.flatMap(({ payload }) => decodeXfrmLink(payload) ?? []);
    const ours = links.filter(({ interfaceId }) => isOwnedBy(this.#options.owner, interfaceId));
    return new Map(ours.map((link) => [link.name, link]));
  }

  /** Makes these interfaces; returns those that could not be made, and why. */
  async #makeLinks(tunnels: readonly KernelTunnel[]): Promise<Map<KernelTunnel, SystemError>> {
    const refusals = await this.#options.routes.attempt(
      tunnels.map(({ spec: { interfaceName }, attachment: { interfaceId } }) => ({
        operation: `make the xfrm interface ${interfaceName}`,
        type: RouteMessageType.newLink,
        flags: RequestFlag.create | RequestFlag.exclusive,
        payload: encodeNewXfrmLink({ name: interfaceName, interfaceId }),
      })),
    );
    const failures = new Map<KernelTunnel, SystemError>();
    for (const [index, tunnel] of tunnels.entries()) {
      const error = refusals[index];
      if (error === undefined) continue;
      const name = tunnel.spec.interfaceName;
      const hints: Readonly<Record<string, string>> = {
        EEXIST: `an interface ${name} that is not hometun's stands; choose another name`,
        EOPNOTSUPP: "this kernel has no xfrm interfaces: modprobe xfrm_interface",
      };
      const hint = hints[error.code];
      const { operation, code } = error;
      failures.set(
        tunnel,
        hint === undefined ? error : new SystemError(operation, code, { cause: error, hint }),
      );
    }
    return failures;
  }

  /** Configures these tunnels' interfaces, which stand; returns those that could not be, and why. */
  async #configureLinks(tunnels: readonly KernelTunnel[]): Promise<Map<KernelTunnel, SystemError>> {
    const outcomes = await this.#options.links.configureAll(tunnels.map(({ spec }) => spec));
    const failures = new Map<KernelTunnel, SystemError>();
    for (const [index, tunnel] of tunnels.entries()) {
      const outcome = outcomes[index];
      if (outcome?.kind === "ready") tunnel.interfaceIndex = outcome.interfaceIndex;
      else if (outcome !== undefined) failures.set(tunnel, outcome.error);
    }
    return failures;
  }

  /** Those that no tunnel of ours has. */
  async #removeLinks(links: ReadonlyMap<string, XfrmLink>): Promise<void> {
    const wanted = new Map(
      [...this.#tunnels.values()].map(({ spec, attachment }) => [
        spec.interfaceName,
        attachment.interfaceId,
      ]),
    );
    const unwanted = [...links.values()].filter(
      ({ name, interfaceId }) => wanted.get(name) !== interfaceId,
    );
    await this.#options.links.remove(unwanted.map(({ name }) => name));
  }

  #lookAtLinks(delay = LINKS_SETTLE): void {
    if (this.#closed || this.#linksTimer !== undefined) return;
    this.#linksTimer = setTimeout(() => {
      this.#linksTimer = undefined;
      if (this.#applying) return this.#lookAtLinks();
      this.#rebuildLinks().catch((error: Error) => this.#tell({ kind: "failed", error }));
    }, delay).unref();
  }

  /**
   * Somebody may have deleted interfaces. States and policies stand on: nothing was sent in clear meanwhile. Where one
   * cannot be made, as when another has its name, it is tried again each second.
   */
  async #rebuildLinks(): Promise<void> {
    const links = await this.#presentLinks();
    let isLacking = false;
    for (const [name, tunnel] of this.#tunnels) {
      const stands = links.has(tunnel.spec.interfaceName);
      if ((stands && !tunnel.lacksLink) || this.#applying || this.#closed) continue;
      const failures = stands
        ? new Map<KernelTunnel, SystemError>()
        : await this.#makeLinks([tunnel]);
      const configured = failures.size > 0 ? failures : await this.#configureLinks([tunnel]);
      const error = configured.get(tunnel);
      if (error === undefined) {
        tunnel.lacksLink = false;
        this.#tell({ kind: "rebuilt", tunnel: name });
        continue;
      }
      // As in `apply`: where it is the only one, nothing is left to go on with.
      if (this.#tunnels.size === 1) throw error;
      if (!tunnel.lacksLink) this.#tell({ kind: "trouble", tunnel: name, error });
      tunnel.lacksLink = true;
      isLacking = true;
    }
    if (isLacking) this.#lookAtLinks(REBUILD_MS);
  }

  /** A portion a turn of the event loop. */
  async #perform(operations: readonly XfrmOperation[]): Promise<void> {
    for (let at = 0; at < operations.length; at += OPERATIONS_A_TURN) {
      const portion = operations.slice(at, at + OPERATIONS_A_TURN);
      const results = this.#options.xfrm.attempt(portion.map(xfrmRequest));
      for (const [index, error] of results.entries()) throwUnlessGone(error, portion[index]);
      await new Promise((resolve) => setImmediate(resolve));
    }
  }

  #tunnel(name: TunnelName): KernelTunnel {
    const tunnel = this.#tunnels.get(name);
    if (tunnel === undefined) throw new Error(`no tunnel ${name}`);
    return tunnel;
  }

  #tell(event: DataPlaneEvent): void {
    setImmediate(() => {
      if (this.#closed) return;
      for (const listener of this.#listeners) listener(event);
    });
  }
}

/** What is to be deleted may be gone already. */
function throwUnlessGone(error: SystemError | undefined, step: XfrmOperation | undefined): void {
  if (error === undefined) return;
  const isDeletion = step?.kind === "delete-state" || step?.kind === "delete-policy";
  if (!(isDeletion && (error.code === "ESRCH" || error.code === "ENOENT"))) throw error;
}

function policyIn(payload: Uint8Array): XfrmPolicy | undefined {
  try {
    return decodePolicy(payload);
  } catch {
    return undefined; // a socket's own, or one of a kind that we do not make
  }
}

/** The state that a pair sends with, if it does. */
function sendingStateOf(wanted: WantedXfrm, { outbound, multicast }: KernelPair) {
  const state = multicast === undefined ? wanted.outbound : wanted.multicast;
  return state?.spi === outbound.spi ? state : undefined;
}

function endpointOf(state: PresentState | undefined): Endpoint | undefined {
  const address = somewhere(state?.destination);
  if (address === undefined) return undefined;
  return { address, port: state?.encapsulation?.destinationPort ?? 0 };
}

/** Whether a daemon before us had held the tunnel: what it sends by prefix is blocked, though it knows where to. */
function wasHeld({ policies }: PresentXfrm): boolean {
  return policies.some(
    ({ direction, selector }) => direction === "out" && selector.protocol === IpProtocol.icmpv6,
  );
}

function byInterface(
  links: ReadonlyMap<string, XfrmLink>,
  { states, policies }: PresentXfrm,
): Pick<Found, "byInterface" | "linkIds"> {
  const all = new Map<number, { states: PresentState[]; policies: XfrmPolicy[] }>();
  const of = (interfaceId = 0) => {
    const one = all.get(interfaceId) ?? { states: [], policies: [] };
    all.set(interfaceId, one);
    return one;
  };
  for (const state of states) of(state.interfaceId).states.push(state);
  for (const policy of policies) of(policy.interfaceId).policies.push(policy);
  const linkIds = new Set([...links.values()].map(({ interfaceId }) => interfaceId));
  return { byInterface: all, linkIds };
}

function somewhere(address: string | undefined): Ipv4Address | undefined {
  return address === undefined || isNowhere(address) ? undefined : parseIpv4(address);
}

/** RFC 8221 section 5: a manual AES-GCM key whose numbers are not known must not be used again. */
function isSingleUse(spec: TunnelSpec): boolean {
  return requireKeys(spec).outbound.suite !== "aes-cbc-256-hmac-sha2-256-128";
}

function aheadOf(spec: TunnelSpec): number {
  return requireKeys(spec).outbound.extendedSequenceNumbers ? AHEAD_EXTENDED : AHEAD_32;
}

/** Everything up to `top` counts as received. */
function advance(window: ReplayWindow, top: number): void {
  for (let number = Math.max(window.top + 1, top - window.size + 1); number <= top; number++) {
    window.record(number);
  }
}

function uniqueStates(states: readonly PresentState[]): PresentState[] {
  return [...new Map(states.map((state) => [`${state.destination} ${state.spi}`, state])).values()];
}

function counted(counts: Partial<Record<RefusalReason, number>>): RefusalCounts {
  return Object.fromEntries(Object.entries(counts).filter(([, count]) => (count ?? 0) > 0));
}

function readStatistics(): RefusalCounts {
  const counts: Partial<Record<RefusalReason, number>> = {};
  let text: string;
  try {
    text = readFileSync(STATISTICS, "utf8");
  } catch {
    return counts; // CONFIG_XFRM_STATISTICS is off
  }
  for (const line of text.split("\n")) {
    const [name = "", value] = line.split(/\s+/);
    const reason = STATISTICS_REASONS[name];
    if (reason !== undefined) counts[reason] = (counts[reason] ?? 0) + Number(value);
  }
  return counts;
}
