/**
 * The userspace data plane: TUN interfaces and ESP in this process, behind the port of `tunnel/data-plane.ts`.
 *
 *     TUN ── read ── police the inside ── segment ── seal ── sendmmsg ──> protocol 50 or UDP 4500
 *     TUN <─ write ─ coalesce ─ police the inside ── open <── recvmmsg ──
 *
 * All of it happens on the event loop, a bounded number of batches a turn, in memory that was laid out once: no
 * packet allocates anything. Buffers belong to the plane and its sockets, not to a tunnel, so that a thousand
 * homes need no more of them than one.
 */

import { setImmediate as nextTurn } from "node:timers/promises";
import { SystemError } from "../errors.ts";
import { InboundSa, OutboundSa, refusalOf } from "../esp/security-association.ts";
import type { OpenTransform } from "../esp/transform.ts";
import type { Ipv4Address } from "../ip/address.ts";
import { Icmpv6Type } from "../ip/icmpv6.ts";
import { IPV6_HEADER_LENGTH, IpProtocol } from "../ip/ipv6.ts";
import { clampMss } from "../ip/mss-clamp.ts";
import { completeChecksum } from "../offload/checksum-words.ts";
import { Coalescer } from "../offload/coalescer.ts";
import { Segmenter } from "../offload/segmenter.ts";
import {
  checksumOffset,
  checksumStart,
  GsoType,
  gsoType,
  needsChecksum,
} from "../offload/virtio-net-header.ts";
import type { Instant } from "../time.ts";
import { isAdvertisement } from "../tunnel/advertisement-order.ts";
import { AdvertisementPolice } from "../tunnel/advertisement-police.ts";
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
import { EPHEMERAL_OUTBOUND, ephemeralInbound } from "../tunnel/ephemeral-sequences.ts";
import { planTunnels } from "../tunnel/plan.ts";
import { TunnelSelectors } from "../tunnel/selectors.ts";
import type { InboundSequence, OutboundSequence, SequenceStore } from "../tunnel/sequence-store.ts";
import {
  type Encapsulation,
  type Endpoint,
  givenKeys,
  type SaKeys,
  type TunnelName,
  type TunnelSpec,
} from "../tunnel/tunnel.ts";
import { EspGuard } from "./esp-guard.ts";
import { IkeGate } from "./ike-gate.ts";
import type { LeakGuard } from "./leak-guard.ts";
import { EspSocket, endpointOf, type OutboundBatch, setDestination } from "./linux/esp-socket.ts";
import { onReadable, type Readiness } from "./linux/libc.ts";
import { Slab } from "./linux/slab.ts";
import { SocketDrops } from "./linux/socket-drops.ts";
import { closeTun, openTun, readTun, removeTun, TunWriter } from "./linux/tun-device.ts";
import type { LinkOutcome, TunnelLinks } from "./tunnel-link.ts";
import { type Association, UserspaceTunnel } from "./userspace-tunnel.ts";

/** Octets of a slot: the largest ESP packet, and room behind it for checksums that read whole words. */
const SLOT = 2048;
const SLOTS = 64;
/** Where a packet read from a TUN interface starts; its virtio header lies before it. */
const READ_AT = 16;
/** A TUN read gives up to 64 KiB. */
const READ_LENGTH = 65_536;
const FIRST_SLOT = READ_AT + READ_LENGTH + 48;
const NO_DESCRIPTOR = -1;
/** Batches of one descriptor in one turn of the event loop, so that no tunnel starves the others. */
const BATCHES_A_TURN = 4;
/** Octets that ESP adds at most: header, IV, padding, trailer and ICV of AES-CBC. */
const MOST_OVERHEAD = 8 + 16 + 15 + 2 + 16;
/** A held home that talks is told of so often, in milliseconds. */
const HEARD_SPACING = 1_000;
/** That packets come from elsewhere is told so often, in milliseconds. */
const SOURCE_SPACING = 1_000;
/** Interfaces made in one turn of the event loop when many tunnels are. */
const INTERFACES_A_TURN = 64;
/** From one try to make a lost interface anew to the next. */
const REBUILD_MS = 1_000;
/** Sequence numbers left when more are asked for. */
const EXTEND_BELOW = 1 << 17;

const NEXT_HEADER = 6; // offsets in an IPv6 header
const DESTINATION = 24;
const MULTICAST = 0xff; // first octet of an address, RFC 4291 section 2.7
const LARGEST_PROBE = 128; // octets

/** Before an IKE message where ESP has its SPI: zeros, RFC 3948 section 2.2. */
const NON_ESP_MARKER_LENGTH = 4;
/** RFC 3948 section 2.3 */
const KEEPALIVE = Uint8Array.of(0xff);

export interface UserspaceDataPlaneOptions {
  /** Our own IPv4, or undefined to let the route to the peer choose it at each packet. */
  readonly local: Ipv4Address | undefined;
  readonly openTransform: OpenTransform<Slab>;
  /** How `openTransform` encrypts, for people. */
  readonly crypto: string;
  readonly links: TunnelLinks;
  readonly guard: LeakGuard;
  readonly sequences: SequenceStore;
  readonly now: () => Instant;
  /** Why this plane was chosen. */
  readonly reason?: string | undefined;
  /** Advertisements that one tunnel may send a second, and at once; more never reach Neighbor Discovery. */
  readonly advertisements: { readonly rate: number; readonly burst: number };
}

interface TunnelSequences {
  readonly outbound: OutboundSequence;
  readonly inbound: InboundSequence;
}

/** A pair of SAs that is to be opened. */
interface OpenedKeys {
  readonly keys: SaKeys;
  readonly sequences: TunnelSequences;
  readonly softLimit: SoftLimit | undefined;
}

interface TunnelFailure {
  readonly spec: TunnelSpec;
  readonly error: SystemError;
}

/** A socket and the tunnels whose ESP comes in through it. */
interface Carrier {
  readonly socket: EspSocket;
  readonly bySpi: Map<number, Association>;
  readonly coalescer: Coalescer;
  readonly readiness: Readiness;
  readonly onPacket: (offset: number, length: number) => void;
  readonly guard: EspGuard;
  readonly drops: SocketDrops;
  /** What the coalescer holds and writes is this tunnel's. */
  writingTo: UserspaceTunnel | undefined;
  /** An advertisement is among what was received in this batch. */
  advertised: boolean;
}

export class UserspaceDataPlane implements DataPlane, KeyedDataPlane {
  readonly kind = "userspace";
  readonly keyed = this;
  readonly crypto: string;
  readonly reason: string | undefined;
  readonly #options: UserspaceDataPlaneOptions;
  readonly #tunnels = new Map<TunnelName, UserspaceTunnel>();
  readonly #carriers = new Map<Encapsulation, Carrier>();
  readonly #memory = new Slab(FIRST_SLOT + SLOTS * SLOT);
  readonly #batch: OutboundBatch = {
    memory: this.#memory,
    first: FIRST_SLOT,
    stride: SLOT,
    slots: SLOTS,
  };
  readonly #segmenter = new Segmenter(this.#memory);
  readonly #lengths = new Int32Array(SLOTS);
  /** Pairs of SAs that received something in this turn. */
  readonly #heard: Association[] = [];
  readonly #unattributed: Partial<Record<RefusalReason, number>> = {};
  readonly #listeners: ((event: DataPlaneEvent) => void)[] = [];
  #ikeGate: IkeGate | undefined;
  #now: Instant;

  constructor(options: UserspaceDataPlaneOptions) {
    this.#options = options;
    this.crypto = options.crypto;
    this.reason = options.reason;
    this.#now = options.now();
  }

  async apply(wanted: readonly TunnelSpec[]): Promise<void> {
    const present = [...this.#tunnels.values()].map(({ spec }) => spec);
    const plan = planTunnels(present, wanted);
    const failures: TunnelFailure[] = [];
    const trusted: TunnelSpec[] = [];
    for (const spec of plan.add) {
      try {
        this.#checkGivenKeys(spec);
        trusted.push(spec);
      } catch (error) {
        // Of one tunnel's keys nothing is known: the others stand.
        if (!(error instanceof SystemError)) throw error;
        failures.push({ spec, error });
      }
    }
    const routes = wanted.flatMap((spec) => spec.routes);
    // Before any interface is made, and gone only with the last of them.
    const lacking = routes.length > 0 ? await this.#options.guard.apply(routes) : undefined;
    await this.#remove(plan.remove);
    if (routes.length === 0) await this.#options.guard.apply(routes);
    failures.push(...(await this.#add(trusted)));
    for (const spec of plan.change) {
      await this.#change(spec).catch((error: unknown) => {
        if (!(error instanceof SystemError)) throw error;
        failures.push({ spec, error });
      });
    }
    const [first] = failures;
    // Where not one can stand it is not a tunnel's trouble but ours.
    if (first !== undefined && this.#tunnels.size === 0) throw first.error;
    for (const { spec, error } of failures) {
      this.#tell({ kind: "trouble", tunnel: spec.name, error });
    }
    const [some] = wanted;
    if (lacking !== undefined && some !== undefined) {
      this.#tell({ kind: "trouble", tunnel: some.name, error: lacking });
    }
  }

  setLocal(): void {
    // The route to the peer chooses the source of each packet.
  }

  setRemote(name: TunnelName, remote: Endpoint | undefined): void {
    const destination = this.#tunnels.get(name)?.destination;
    if (destination === undefined) return;
    if (remote === undefined) destination.address = 0;
    else setDestination(destination, remote.address, remote.port);
  }

  hasten(name: TunnelName): void {
    const tunnel = this.#tunnels.get(name);
    if (tunnel === undefined) return;
    this.#transmit(tunnel, this.#carrier(tunnel.encapsulation).socket);
  }

  setSending(name: TunnelName, sending: Sending): void {
    const tunnel = this.#tunnels.get(name);
    if (tunnel === undefined) return;
    tunnel.sending = sending;
    tunnel.heardToldAt = undefined;
  }

  async setMtu(name: TunnelName, mtu: number): Promise<void> {
    const tunnel = this.#tunnels.get(name);
    if (tunnel === undefined) return;
    await this.#options.links.setMtu(tunnel.spec.interfaceName, mtu);
    tunnel.mtu = mtu;
    tunnel.pathMtuTold = false;
  }

  sendKeepalive(name: TunnelName): void {
    const tunnel = this.#tunnels.get(name);
    if (tunnel?.encapsulation !== "udp" || tunnel.destination.address === 0) return;
    this.#carrier("udp").socket.sendKeepalive(tunnel.destination);
  }

  counters(name: TunnelName): TunnelCounters {
    return this.#tunnels.get(name)?.counters() ?? NO_TRAFFIC;
  }

  unattributed(): RefusalCounts {
    let shed = 0;
    for (const { drops, guard, socket } of this.#carriers.values()) {
      shed += drops.read();
      // The filter of a raw socket is not among the kernel's counts.
      if (socket.encapsulation === "esp") shed += guard.estimatedShed;
    }
    return shed === 0 ? { ...this.#unattributed } : { ...this.#unattributed, shed };
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
    await this.apply([]);
    this.#ikeGate?.close();
    for (const { socket, readiness, guard } of this.#carriers.values()) {
      guard.close();
      readiness.close();
      socket.close();
    }
    this.#carriers.clear();
    this.#options.sequences.sync();
  }

  addAssociations(name: TunnelName, keys: SaKeys, softLimit: SoftLimit): void {
    const tunnel = this.#tunnels.get(name);
    if (tunnel === undefined) return;
    const sequences = { outbound: EPHEMERAL_OUTBOUND, inbound: ephemeralInbound() };
    this.#addAssociations(tunnel, { keys, sequences, softLimit });
  }

  useAssociations(name: TunnelName, spi: number): void {
    const tunnel = this.#tunnels.get(name);
    const association = tunnel?.associations.get(spi);
    if (association !== undefined) tunnel?.use(association);
  }

  removeAssociations(name: TunnelName, spi: number): void {
    const tunnel = this.#tunnels.get(name);
    const association = tunnel?.associations.get(spi);
    if (tunnel === undefined || association === undefined) return;
    this.#carriers.get(association.encapsulation)?.bySpi.delete(spi);
    tunnel.drop(association);
  }

  associations(name: TunnelName): readonly AssociationUse[] {
    return this.#tunnels.get(name)?.uses ?? [];
  }

  listenForIke(listener: (datagram: IkeDatagram) => void): void {
    const { socket } = this.#carrier("udp");
    const gate = new IkeGate(socket, this.#options.now);
    this.#ikeGate?.close();
    this.#ikeGate = gate;
    socket.admitNotEsp = (offset, length) => {
      if (gate.admit(offset, length)) return true;
      this.#refuseUnattributed("ike-rate");
      return false;
    };
    socket.onNotEsp = (octets, remote) =>
      listener({ message: octets.subarray(NON_ESP_MARKER_LENGTH), remote });
  }

  sendIke({ message, remote }: IkeDatagram): void {
    const octets = new Uint8Array(NON_ESP_MARKER_LENGTH + message.length);
    octets.set(message, NON_ESP_MARKER_LENGTH);
    this.#carrier("udp").socket.sendDatagram(octets, remote);
  }

  sendIkeKeepalive(remote: Endpoint): void {
    this.#carrier("udp").socket.sendDatagram(KEEPALIVE, remote);
  }

  #checkGivenKeys(spec: TunnelSpec): void {
    const keys = givenKeys(spec);
    if (keys !== undefined) this.#options.sequences.check(keys);
  }

  #openGivenKeys(spec: TunnelSpec): OpenedKeys | undefined {
    const keys = givenKeys(spec);
    if (keys === undefined) return undefined;
    const { sequences } = this.#options;
    return {
      keys,
      sequences: {
        outbound: sequences.openOutbound(keys.outbound),
        inbound: sequences.openInbound(keys.inbound),
      },
      softLimit: undefined,
    };
  }

  /** Interfaces are configured all at once, which takes much less time. Returns the tunnels that cannot stand. */
  async #add(wanted: readonly TunnelSpec[]): Promise<TunnelFailure[]> {
    const { opened, failures } = await this.#openInterfaces(wanted);
    const outcomes = await this.#configure(opened.map(({ spec }) => spec));
    const ready = [];
    for (const [index, { spec, tun }] of opened.entries()) {
      const outcome = outcomes[index];
      if (outcome?.kind !== "ready") {
        removeTun(tun);
        const error = outcome?.error ?? new SystemError("configure a tunnel interface", "ENODEV");
        failures.push({ spec, error });
        continue;
      }
      const { interfaceIndex } = outcome;
      // Keys that are used once are used up from here on.
      ready.push({ spec, tun, interfaceIndex, given: this.#openGivenKeys(spec) });
    }
    // Reservations are durable before the first packet can use them.
    if (ready.length > 0) this.#options.sequences.sync();
    for (const { spec, tun, interfaceIndex, given } of ready) {
      const tunnel = new UserspaceTunnel({
        spec,
        tun,
        interfaceIndex,
        selectors: new TunnelSelectors(spec),
        police: new AdvertisementPolice(this.#options.advertisements),
      });
      this.#tunnels.set(spec.name, tunnel);
      if (given !== undefined) this.#addAssociations(tunnel, given);
      this.#listen(tunnel);
    }
    return failures;
  }

  async #openInterfaces(wanted: readonly TunnelSpec[]) {
    const opened: { readonly spec: TunnelSpec; readonly tun: number }[] = [];
    const failures: TunnelFailure[] = [];
    for (const [index, spec] of wanted.entries()) {
      if (index % INTERFACES_A_TURN === INTERFACES_A_TURN - 1) await nextTurn();
      try {
        this.#carrier(spec.encapsulation);
        opened.push({ spec, tun: openTun(spec.interfaceName) });
      } catch (error) {
        if (!(error instanceof SystemError)) throw error;
        failures.push({ spec, error });
      }
    }
    return { opened, failures };
  }

  async #configure(specs: readonly TunnelSpec[]): Promise<LinkOutcome[]> {
    if (specs.length === 0) return [];
    try {
      return await this.#options.links.configureAll(specs);
    } catch (error) {
      if (!(error instanceof SystemError)) throw error;
      return specs.map(() => ({ kind: "failed", error }));
    }
  }

  #addAssociations(tunnel: UserspaceTunnel, { keys, sequences, softLimit }: OpenedKeys): void {
    const { openTransform } = this.#options;
    const { next, limit } = sequences.outbound;
    const { encapsulation = tunnel.spec.encapsulation, multicast } = keys;
    const association = tunnel.add({
      outbound: new OutboundSa({
        keys: keys.outbound,
        transform: openTransform(keys.outbound, "outbound"),
        next,
        limit,
      }),
      outboundSequence: sequences.outbound,
      inbound: new InboundSa({
        keys: keys.inbound,
        transform: openTransform(keys.inbound, "inbound"),
        window: sequences.inbound.window,
      }),
      inboundSequence: sequences.inbound,
      softLimit,
      encapsulation,
      multicast,
    });
    const { bySpi, guard } = this.#carrier(encapsulation);
    bySpi.set(keys.inbound.spi, association);
    guard.learn();
  }

  #listen(tunnel: UserspaceTunnel): void {
    tunnel.readiness = onReadable(
      tunnel.tun,
      () => this.#transmit(tunnel, this.#carrier(tunnel.encapsulation).socket),
      () => void this.#rebuild(tunnel),
    );
  }

  /**
   * Somebody deleted the interface. SAs, numbers and the remote stay as they are. Where it cannot be made, as when another
   * has its name, it is tried again each second.
   */
  async #rebuild(tunnel: UserspaceTunnel, isTold = false): Promise<void> {
    const { spec } = tunnel;
    tunnel.readiness?.close();
    tunnel.readiness = undefined;
    closeTun(tunnel.tun);
    tunnel.tun = NO_DESCRIPTOR;
    try {
      tunnel.tun = openTun(spec.interfaceName);
      const configured = await this.#options.links.configure({ ...spec, mtu: tunnel.mtu });
      // It may have been removed meanwhile, and its descriptor closed.
      if (this.#tunnels.get(spec.name) !== tunnel) return;
      tunnel.interfaceIndex = configured.interfaceIndex;
      this.#listen(tunnel);
      this.#tell({ kind: "rebuilt", tunnel: spec.name });
    } catch (cause) {
      if (this.#tunnels.get(spec.name) !== tunnel) return;
      const error = cause as Error;
      // As in `apply`: where it is the only one, nothing is left to go on with.
      if (this.#tunnels.size <= 1) {
        this.#tell({ kind: "failed", error });
        return;
      }
      if (!isTold) this.#tell({ kind: "trouble", tunnel: spec.name, error });
      tunnel.rebuilding = setTimeout(() => void this.#rebuild(tunnel, true), REBUILD_MS);
    }
  }

  async #change(spec: TunnelSpec): Promise<void> {
    const tunnel = this.#tunnel(spec.name);
    const { interfaceIndex } = await this.#options.links.configure(spec);
    tunnel.spec = spec;
    tunnel.interfaceIndex = interfaceIndex;
    tunnel.selectors = new TunnelSelectors(spec);
    tunnel.mtu = spec.mtu;
    tunnel.pathMtuTold = false;
  }

  async #remove(names: readonly TunnelName[]): Promise<void> {
    const tunnels = names.map((name) => this.#tunnel(name));
    for (const tunnel of tunnels) this.#stop(tunnel);
    try {
      // Where ours was lost, one of that name is somebody else's.
      const standing = tunnels.filter(({ tun }) => tun !== NO_DESCRIPTOR);
      await this.#options.links.remove(standing.map(({ spec }) => spec.interfaceName));
    } finally {
      for (const { tun } of tunnels) closeTun(tun);
    }
  }

  /** From here on nothing passes; the interface stands until it is removed. */
  #stop(tunnel: UserspaceTunnel): void {
    const { spec } = tunnel;
    this.#tunnels.delete(spec.name);
    tunnel.readiness?.close();
    clearTimeout(tunnel.rebuilding);
    for (const [spi, association] of tunnel.associations) {
      this.#carriers.get(association.encapsulation)?.bySpi.delete(spi);
      tunnel.drop(association);
    }
  }

  #tunnel(name: TunnelName): UserspaceTunnel {
    const tunnel = this.#tunnels.get(name);
    if (tunnel === undefined) throw new Error(`no tunnel ${name}`);
    return tunnel;
  }

  /** The socket for an encapsulation, opened when the first tunnel needs it. */
  #carrier(encapsulation: Encapsulation): Carrier {
    const standing = this.#carriers.get(encapsulation);
    if (standing !== undefined) return standing;
    const socket = new EspSocket(encapsulation, this.#options.local, this.#batch);
    const writer = new TunWriter(socket.received, SLOTS);
    const written = (result: boolean) => {
      if (!result) carrier.writingTo?.refuse("write-failed");
    };
    const bySpi = new Map<number, Association>();
    const carrier: Carrier = {
      socket,
      bySpi,
      coalescer: new Coalescer(socket.received, {
        packet: (offset, length) =>
          written(writer.write(carrier.writingTo?.tun ?? -1, offset, length)),
        merged: (count, offsets, lengths) =>
          written(writer.writeMerged(carrier.writingTo?.tun ?? -1, count, offsets, lengths)),
      }),
      readiness: onReadable(socket.fd, () => this.#receive(carrier)),
      onPacket: (offset, length) => this.#open(carrier, offset, length),
      guard: new EspGuard(socket, () => bySpi.keys(), this.#options.now),
      drops: new SocketDrops(socket.fd),
      writingTo: undefined,
      advertised: false,
    };
    this.#carriers.set(encapsulation, carrier);
    return carrier;
  }

  /** From the TUN interface to the wire. */
  #transmit(tunnel: UserspaceTunnel, socket: EspSocket): void {
    this.#now = this.#options.now();
    for (let batch = 0; batch < BATCHES_A_TURN; batch++) {
      if (!this.#transmitBatch(tunnel, socket)) break;
    }
    if (tunnel.current !== undefined) this.#watchNumbers(tunnel.current);
    if (tunnel.currentMulticast !== undefined) this.#watchNumbers(tunnel.currentMulticast);
  }

  /** False when the interface had nothing more to read. */
  #transmitBatch(tunnel: UserspaceTunnel, socket: EspSocket): boolean {
    const memory = this.#memory;
    let filled = 0;
    let more = true;
    // Refused packets count too: a flood of them must not hold the event loop.
    for (let read = 0; read < SLOTS && more; read++) {
      const length = readTun(tunnel.tun, memory, READ_AT, READ_LENGTH);
      more = length >= 0;
      if (!more) break;
      const association = this.#associationFor(tunnel, socket);
      const refusal = this.#refusalToSend(tunnel, length, association?.multicast !== undefined);
      if (refusal !== undefined || association === undefined) {
        tunnel.refuse(refusal ?? "no-association");
      } else if (gsoType(memory, READ_AT) === GsoType.none) {
        if (this.#fillSlot(association, filled, length)) filled += 1;
      } else {
        // Its segments need the slots, and must not overtake what is in them.
        this.#send(tunnel, socket, filled);
        this.#sendSegments(association, socket, length);
        return true;
      }
    }
    this.#send(tunnel, socket, filled);
    return more;
  }

  /** What the packet that was read goes with. While two IKE SAs disagree on encapsulation, one socket's pairs serve. */
  #associationFor(
    { current, currentMulticast }: UserspaceTunnel,
    { encapsulation }: EspSocket,
  ): Association | undefined {
    if (currentMulticast?.encapsulation !== encapsulation) return current;
    return this.#memory.octets[READ_AT + DESTINATION] === MULTICAST ? currentMulticast : current;
  }

  #refusalToSend(
    tunnel: UserspaceTunnel,
    length: number,
    isMulticast: boolean,
  ): RefusalReason | undefined {
    const refusal = tunnel.selectors.judgeOutbound(this.#memory, READ_AT, length, isMulticast);
    if (refusal !== undefined) return refusal;
    if (tunnel.destination.address === 0) return "no-remote";
    if (tunnel.sending === "probes-only" && !isProbe(this.#memory, length)) return "held";
    return undefined;
  }

  /** Puts the packet that was read, which is no super-packet, into a slot and seals it. */
  #fillSlot(association: Association, index: number, length: number): boolean {
    const memory = this.#memory;
    const { tunnel } = association;
    if (length + MOST_OVERHEAD > SLOT) {
      tunnel.refuse("too-big");
      return false;
    }
    if (needsChecksum(memory, READ_AT) && !completeGivenChecksum(memory, length)) {
      tunnel.refuse("inner-malformed");
      return false;
    }
    const slot = FIRST_SLOT + index * SLOT;
    const inner = slot + association.outbound.innerOffset;
    memory.octets.copyWithin(inner, READ_AT, READ_AT + length);
    return this.#seal(association, index, length);
  }

  #sendSegments(association: Association, socket: EspSocket, length: number): void {
    const segmenter = this.#segmenter;
    const { tunnel } = association;
    if (!segmenter.begin(READ_AT, length)) {
      tunnel.refuse("inner-malformed");
      return;
    }
    if (segmenter.segmentLength + MOST_OVERHEAD > SLOT) {
      tunnel.refuse("too-big");
      return;
    }
    const first = FIRST_SLOT + association.outbound.innerOffset;
    for (;;) {
      const count = segmenter.fill(first, SLOT, SLOTS, this.#lengths);
      if (count === 0) return;
      let sealed = 0;
      while (sealed < count && this.#seal(association, sealed, this.#lengths[sealed] ?? 0)) {
        sealed += 1;
      }
      this.#send(tunnel, socket, sealed);
      if (sealed < count) return; // no numbers are left for the rest either
    }
  }

  /** Seals the inner packet of `length` octets that stands in a slot. */
  #seal(association: Association, index: number, length: number): boolean {
    const { tunnel, outbound } = association;
    const slot = FIRST_SLOT + index * SLOT;
    if (tunnel.spec.clampMss) {
      clampMss(this.#memory, slot + outbound.innerOffset, length, tunnel.mtu);
    }
    const sealed = outbound.seal(this.#memory, slot, length);
    if (sealed === 0) {
      tunnel.refuse("sequence-exhausted");
      return false;
    }
    this.#lengths[index] = sealed;
    tunnel.sentOctets += length;
    association.sentOctets += length;
    return true;
  }

  #send(tunnel: UserspaceTunnel, socket: EspSocket, count: number): void {
    if (count === 0) return;
    const { failed, exceededPathMtu } = socket.send(count, this.#lengths, tunnel.destination);
    tunnel.sentPackets += count - failed;
    tunnel.sentAt = this.#now;
    if (failed > 0) tunnel.refuse("send-failed", failed);
    if (exceededPathMtu && !tunnel.pathMtuTold) {
      tunnel.pathMtuTold = true;
      this.#tell({ kind: "path-mtu", tunnel: tunnel.spec.name });
    }
  }

  /** Reserves more numbers in time, or has other keys negotiated. */
  #watchNumbers(association: Association): void {
    const { tunnel, outbound, outboundSequence, softLimit, inbound } = association;
    if (softLimit !== undefined) {
      if (association.softLimitTold) return;
      if (outbound.next <= softLimit.packets && association.sentOctets < softLimit.octets) return;
      association.softLimitTold = true;
      this.#tell({ kind: "soft-limit", tunnel: tunnel.spec.name, spi: inbound.spi });
      return;
    }
    if (association.extending || outbound.limit - outbound.next > EXTEND_BELOW) return;
    association.extending = true;
    const granted = (limit: number) => {
      // A key whose numbers are used up gets no more: asking again would not help.
      association.extending = limit <= outbound.limit;
      outbound.limit = limit;
    };
    outboundSequence.extend(outbound.next, granted);
  }

  /** From the wire to the TUN interfaces. */
  #receive(carrier: Carrier): void {
    this.#now = this.#options.now();
    const { socket, coalescer, onPacket } = carrier;
    for (let batch = 0; batch < BATCHES_A_TURN; batch++) {
      const count = socket.receive(onPacket);
      if (count === 0) break;
      coalescer.flush();
      carrier.writingTo = undefined;
      if (carrier.advertised) this.#tellAdvertised(carrier);
    }
    for (const association of this.#heard) {
      association.unrecorded = false;
      association.inboundSequence.record();
    }
    this.#heard.length = 0;
  }

  #open(carrier: Carrier, offset: number, length: number): void {
    const memory = carrier.socket.received;
    const association = length < 4 ? undefined : carrier.bySpi.get(memory.view.getUint32(offset));
    if (association === undefined) {
      this.#refuseUnattributed(length < 4 ? "malformed" : "unknown-spi");
      carrier.guard.stray();
      return;
    }
    const { tunnel, inbound, multicast } = association;
    const inner = inbound.open(memory, offset, length);
    if (inner < 0) {
      const reason = refusalOf(inner);
      tunnel.refuse(reason);
      if (reason === "not-authentic" || reason === "malformed")
        carrier.guard.note(inbound.spi, tunnel);
      return;
    }
    this.#hear(association, carrier.socket);
    const packet = offset + inbound.innerOffset;
    const refusal =
      tunnel.selectors.judgeInbound(memory, packet, inner, multicast) ??
      this.#judgeAdvertisement(carrier, association, packet, inner);
    if (refusal !== undefined) {
      tunnel.refuse(refusal);
      return;
    }
    if (tunnel.spec.clampMss) clampMss(memory, packet, inner, tunnel.mtu);
    tunnel.receivedPackets += 1;
    tunnel.receivedOctets += inner;
    if (carrier.writingTo !== tunnel) {
      carrier.coalescer.flush();
      carrier.writingTo = tunnel;
    }
    carrier.coalescer.add(packet, inner);
  }

  /** Neighbor Discovery beyond the rate, or overtaken; all else passes. */
  #judgeAdvertisement(
    carrier: Carrier,
    association: Association,
    packet: number,
    inner: number,
  ): RefusalReason | undefined {
    const { tunnel, multicast } = association;
    const memory = carrier.socket.received;
    // None that counts comes with the pair for multicast: what moves a home, or answers one, goes to one address.
    if (multicast !== undefined) return undefined;
    if (!tunnel.police.admit(memory, packet, inner, this.#now)) return "advertisement-rate";
    if (!isAdvertisement(memory, packet, inner)) return undefined;
    if (!tunnel.admitAdvertisement(association)) return "advertisement-late";
    carrier.advertised = true;
    return undefined;
  }

  #refuseUnattributed(reason: RefusalReason): void {
    this.#unattributed[reason] = (this.#unattributed[reason] ?? 0) + 1;
  }

  /** The packet was authentic, whatever is inside. */
  #hear(association: Association, socket: EspSocket): void {
    const { tunnel } = association;
    if (tunnel.current !== association) tunnel.use(association);
    tunnel.heardAt = this.#now;
    tunnel.observedFamilyAndPort = socket.sourceFamilyAndPort;
    tunnel.observedAddress = socket.sourceAddress;
    if (socket.encapsulation === "udp" && isElsewhere(tunnel)) this.#tellSource(association);
    if (!association.unrecorded) {
      association.unrecorded = true;
      this.#heard.push(association);
    }
    if (
      tunnel.sending === "probes-only" &&
      this.#now - (tunnel.heardToldAt ?? 0) >= HEARD_SPACING
    ) {
      tunnel.heardToldAt = this.#now;
      this.#tell({ kind: "heard", tunnel: tunnel.spec.name });
    }
  }

  /** Only the newest packet tells where the peer is: an older one may have been held up on its old way. */
  #tellSource({ tunnel, inbound, inboundSequence }: Association): void {
    if (inbound.sequence !== inboundSequence.window.top) return;
    const { observedFamilyAndPort, observedAddress } = tunnel;
    const isTold =
      observedAddress === tunnel.toldAddress && observedFamilyAndPort === tunnel.toldFamilyAndPort;
    if (isTold && this.#now - (tunnel.sourceToldAt ?? 0) < SOURCE_SPACING) return;
    tunnel.toldAddress = observedAddress;
    tunnel.toldFamilyAndPort = observedFamilyAndPort;
    tunnel.sourceToldAt = this.#now;
    const source = endpointOf(observedFamilyAndPort, observedAddress);
    this.#tell({ kind: "source", tunnel: tunnel.spec.name, source });
  }

  #tellAdvertised(carrier: Carrier): void {
    carrier.advertised = false;
    for (const listener of this.#listeners) listener({ kind: "advertised" });
  }

  /** Listeners may call back in and send: not in the middle of a batch. */
  #tell(event: DataPlaneEvent): void {
    setImmediate(() => {
      for (const listener of this.#listeners) listener(event);
    });
  }
}

/** The last authentic packet came from elsewhere than the tunnel's go to. */
function isElsewhere({ destination, observedAddress, observedFamilyAndPort }: UserspaceTunnel) {
  return (
    destination.address !== observedAddress || destination.familyAndPort !== observedFamilyAndPort
  );
}

/** The virtio header says where a checksum remains to be made. */
function completeGivenChecksum(memory: Slab, length: number): boolean {
  const start = checksumStart(memory, READ_AT);
  return completeChecksum(memory, READ_AT, length, start, checksumOffset(memory, READ_AT));
}

/**
 * Neighbor Discovery and echo between the two ends of the link: what may be sent to an endpoint that has not
 * answered yet. Small, and few, since the kernel and the daemon make them and nobody else.
 */
function isProbe(memory: Slab, length: number): boolean {
  const { octets } = memory;
  if (length <= IPV6_HEADER_LENGTH || length > LARGEST_PROBE) return false;
  if (octets[READ_AT + NEXT_HEADER] !== IpProtocol.icmpv6) return false;
  const destination = READ_AT + DESTINATION;
  if (octets[destination] !== 0xfe || ((octets[destination + 1] ?? 0) & 0xc0) !== 0x80)
    return false;
  switch (octets[READ_AT + IPV6_HEADER_LENGTH]) {
    case Icmpv6Type.neighborSolicitation:
    case Icmpv6Type.neighborAdvertisement:
    case Icmpv6Type.echoRequest:
    case Icmpv6Type.echoReply:
      return true;
    default:
      return false;
  }
}
