/**
 * The home's end of the tunnel, where an address change lives its life. It connects the address watch, the
 * announcer, Neighbor Discovery and the data plane; none of them knows another.
 *
 *     address watch ── new address ──> announcer ── advertise, solicit ──> Neighbor Discovery ──> tunnel
 *                                          ^─── answer ────────────────────────────┘
 */

import type { NeighborChannel, NeighborListeners } from "../common/adapters/neighbor-socket.ts";
import type { Clock, Timer } from "../common/adapters/system-clock.ts";
import type { LinkChange } from "../common/adapters/tunnel-link.ts";
import { mtuSuiteOf } from "../common/config/keys.ts";
import { firstHost } from "../common/config/schema.ts";
import { describeInterfaceDown } from "../common/control/describe.ts";
import { dataPlaneStatusOf, type MoveStatus, trafficOf } from "../common/control/traffic.ts";
import type { SystemError } from "../common/errors.ts";
import { type Assignment, linkLocalAddress } from "../common/ikev2/link.ts";
import {
  formatIpv6Prefix,
  type Ipv4Address,
  type Ipv6Address,
  type Ipv6Prefix,
} from "../common/ip/address.ts";
import { classifyIpv4 } from "../common/ip/ipv4.ts";
import { CONFIRMATION_BOUNDS, Histogram } from "../common/metrics/histogram.ts";
import { type AddressPolicy, acceptAdvertisement, PUBLIC_ONLY } from "../common/nd/accept.ts";
import { CHANGE_LENGTH, type ChangeId, changeId, changeOption } from "../common/nd/change.ts";
import { encodeNeighborAdvertisement } from "../common/nd/neighbor-advertisement.ts";
import { encodeNeighborSolicitation } from "../common/nd/neighbor-solicitation.ts";
import { ipv4LinkLayerOption, NdOptionType } from "../common/nd/option.ts";
import { Driver } from "../common/runtime/drive.ts";
import type { Logger } from "../common/runtime/log.ts";
import { type Instant, later } from "../common/time.ts";
import type { DataPlane, DataPlaneEvent } from "../common/tunnel/data-plane.ts";
import { tunnelMtu } from "../common/tunnel/mtu.ts";
import {
  type Encapsulation,
  type TunnelName,
  type TunnelRoute,
  type TunnelSpec,
  UDP_ENCAPSULATION_PORT,
} from "../common/tunnel/tunnel.ts";
import type { UplinkSnapshot } from "./address-watch/snapshot.ts";
import { Announcer, type AnnouncerEffect, type AnnouncerInput } from "./announce/announcer.ts";
import type { ClientConfig } from "./config.ts";
import type { HomeKeyExchange } from "./home-key-exchange.ts";
import type { HomeView } from "./home-view.ts";
import type { ClientTotals } from "./metrics.ts";
import type { Announcement, ClientStatus } from "./status.ts";

/** There is one tunnel on a client; data planes want a name for it. */
export const HOME_TUNNEL = "home" as TunnelName;
const ADDRESS_LENGTH = 128; // bits
const EVERYTHING: Ipv6Prefix = { address: "::" as Ipv6Address, length: 0 };
/** Before an uplink is known. */
const USUAL_UPLINK_MTU = 1500; // octets
/** How often it is looked whether the tunnel lives and what must be made durable. */
const TICK_MS = 1_000;
/** When that has not happened for so long, something is wrong with us. */
const STALLED_MS = 10_000;
/** We send, and nothing has come for so long. */
const SILENCE_MS = 1_000;

/** What the home's end needs of the world. */
export interface HomeTunnelParts {
  readonly config: ClientConfig;
  readonly clock: Clock;
  readonly dataPlane: DataPlane;
  /** Whether state can be kept. */
  readonly health: { readonly problem: string | undefined };
  /** The address watch: told to look, and how often it was. */
  readonly watcher: { hint(): void; readonly hints: number };
  /** Where keys and addresses come from; absent: from the configuration. */
  readonly keyExchange?: HomeKeyExchange;
  readonly openNeighbors: (interfaceName: string, listeners: NeighborListeners) => NeighborChannel;
  /** Whether this machine forwards IPv6, for the advertisements' router flag. */
  readonly isRouter: () => boolean;
  readonly randomOctets: (count: number) => Uint8Array;
  readonly version: string;
  readonly log: Logger;
}

export class HomeTunnel {
  readonly #parts: HomeTunnelParts;
  readonly #announcer: Announcer;
  readonly #driver: Driver<AnnouncerInput, AnnouncerEffect>;
  readonly #startedAt: number;
  #neighbors: NeighborChannel | undefined;
  #link: HomeLink;
  #spec: TunnelSpec;
  #uplink: UplinkSnapshot | undefined;
  #uplinkSince: number;
  #moves = 0;
  #lastMove: MoveStatus | undefined;
  /** What the logs call the latest change of address. */
  #change: ChangeId;
  #advertisementsSent = 0;
  #solicitationsSent = 0;
  #losses = 0;
  readonly #confirmations = new Histogram(CONFIRMATION_BOUNDS);
  #problem: string | undefined;
  #interfaceIsDown = false;
  #heardAt: Instant | undefined;
  #keepaliveAt: Instant;
  /** As of the last look: asking the system takes time that an advertisement has not. */
  #isRouter = false;
  #tick: Timer | undefined;
  #tickedAt: Instant | undefined;
  #failed: (error: unknown) => void = () => undefined;
  readonly #observers: ((view: HomeView) => void)[] = [];

  constructor(parts: HomeTunnelParts) {
    const { config, clock } = parts;
    this.#parts = parts;
    this.#change = changeId(parts.randomOctets(CHANGE_LENGTH));
    this.#startedAt = clock.wall();
    this.#uplinkSince = this.#startedAt;
    this.#keepaliveAt = clock.now();
    const { linkLocal, serverLinkLocal, prefixes, address } = config.tunnel;
    this.#link = { linkLocal, serverLinkLocal, prefixes, address, dns: [], isSingle: false };
    this.#spec = specOf(config, this.#link, USUAL_UPLINK_MTU);
    this.#announcer = new Announcer({ livenessIntervalMs: config.tunnel.livenessIntervalMs });
    const perform = (effect: AnnouncerEffect) => this.#perform(effect);
    this.#driver = new Driver({ core: this.#announcer, clock, perform });
  }

  /** Makes the tunnel stand; the address watch follows. `failed` hears what ends it later. Throws `SystemError`. */
  async open(failed: (error: unknown) => void): Promise<void> {
    const { config, dataPlane, log } = this.#parts;
    const { interfaceName, prefixes, encapsulation } = config.tunnel;
    this.#failed = failed;
    await dataPlane.apply([this.#spec]);
    dataPlane.setRemote(HOME_TUNNEL, { address: config.server, port: UDP_ENCAPSULATION_PORT });
    dataPlane.onEvent((event) => this.#react(event));
    this.#parts.keyExchange?.listen({
      onAssigned: (assignment) => this.#assigned(assignment),
      onKeyed: () => this.#keyed(),
      onUnkeyed: () => this.#driver.feed({ kind: "cut" }),
    });
    this.#openNeighbors();
    this.#isRouter = this.#parts.isRouter();
    const fields = { interface: interfaceName, prefixes: prefixes.map(formatIpv6Prefix) };
    log.info({ ...fields, encapsulation, dataPlane: dataPlane.kind }, "tunnel interface ready");
    this.#scheduleTick();
  }

  /** The address watch found another way to the server, or none. */
  follow(uplink: UplinkSnapshot | undefined): void {
    const { clock } = this.#parts;
    const previous = this.#uplink;
    this.#uplink = uplink;
    // Before anything is announced: the announcement itself must come from there.
    if (uplink !== undefined) this.#parts.dataPlane.setLocal(uplink.address);
    const sameAddress = previous?.address === uplink?.address;
    if (sameAddress && previous?.interfaceIndex === uplink?.interfaceIndex) {
      if (uplink !== undefined) this.#followMtu(uplink.mtu);
      return;
    }
    this.#uplinkSince = clock.wall();
    if (uplink !== undefined) this.#change = changeId(this.#parts.randomOctets(CHANGE_LENGTH));
    const from = previous?.address ?? this.#lastMove?.to;
    if (uplink !== undefined && uplink.address !== from) {
      this.#moves += 1;
      this.#lastMove = {
        from,
        to: uplink.address,
        at: clock.wall(),
        confirmedInMs: undefined,
        change: this.#change,
      };
    }
    if (sameAddress) this.#driver.feed({ kind: "announce" });
    else this.#driver.feed({ kind: "address", address: uplink?.address });
    // All else can wait: the home's connections stand still until the server knows.
    if (uplink !== undefined) {
      this.#tellChange(previous, uplink);
      this.#followMtu(uplink.mtu);
      this.#parts.keyExchange?.follow(uplink.address);
    }
    this.#tell();
  }

  /** Something happened to the tunnel's interface. */
  followInterface(change: LinkChange): void {
    const { log } = this.#parts;
    this.#interfaceIsDown = change.kind === "down";
    switch (change.kind) {
      case "down":
        log.warn({ interface: change.interfaceName }, "the tunnel interface was set down");
        break;
      case "restored":
        log.info({ interface: change.interfaceName }, "the tunnel interface is configured again");
        this.#driver.feed({ kind: "announce" });
        break;
      case "trouble":
        log.error({ err: change.error }, "tunnel in trouble");
        break;
    }
  }

  /** What those who live behind the tunnel want to know. */
  get view(): HomeView {
    return {
      confirmed: this.#announcer.state.kind === "confirmed",
      address: this.#uplink?.address,
      ispInterface: ispInterfaceOf(this.#uplink),
      mtu: this.#spec.mtu,
      prefixes: this.#spec.localPrefixes,
      dns: this.#link.dns,
      confirmedInMs: this.#lastMove?.confirmedInMs,
    };
  }

  /** `observer` hears whenever the view may be different, and each second. */
  observe(observer: (view: HomeView) => void): void {
    this.#observers.push(observer);
  }

  /** Counted since the start, for metrics. */
  totals(): ClientTotals {
    return {
      confirmations: this.#confirmations,
      solicitations: this.#solicitationsSent,
      losses: this.#losses,
      ike: this.#parts.keyExchange?.ikeTotals(),
      stateIsWritten: this.#parts.health.problem === undefined,
    };
  }

  /** The user, or a hook of the user's network, asks for an announcement. */
  announce(): Announcement {
    this.#parts.watcher.hint();
    this.#driver.feed({ kind: "announce" });
    this.#parts.keyExchange?.hurry();
    return { address: this.#uplink?.address, problem: this.#whatIsWrong };
  }

  status(): ClientStatus {
    const { config, clock, dataPlane, version } = this.#parts;
    const { tunnel } = config;
    const wallOffset = clock.wall() - clock.now();
    const { kind, since } = this.#announcer.state;
    const uplink = this.#uplink;
    return {
      version,
      pid: process.pid,
      startedAt: this.#startedAt,
      server: config.server,
      interface: tunnel.interfaceName,
      linkLocal: this.#link.linkLocal,
      serverLinkLocal: this.#link.serverLinkLocal,
      address: this.#link.address,
      prefixes: this.#link.prefixes.map(formatIpv6Prefix),
      ...(this.#link.dns.length === 0 ? {} : { dns: this.#link.dns }),
      encapsulation: tunnel.encapsulation,
      mtu: this.#spec.mtu,
      dataPlane: dataPlaneStatusOf(dataPlane),
      state: {
        kind,
        since: since === undefined ? this.#startedAt : Math.round(since + wallOffset),
      },
      uplink:
        uplink === undefined
          ? undefined
          : {
              address: uplink.address,
              interface: uplink.interfaceName,
              mtu: uplink.mtu,
              since: this.#uplinkSince,
            },
      moves: this.#moves,
      lastMove: this.#lastMove,
      advertisementsSent: this.#advertisementsSent,
      hints: this.#parts.watcher.hints,
      traffic: trafficOf(dataPlane.counters(HOME_TUNNEL), wallOffset),
      keys: this.#parts.keyExchange?.status(),
      problem: this.#whatIsWrong,
    };
  }

  /** What keeps the tunnel from being looked after, if anything does. */
  ailment(now: Instant): string | undefined {
    if (this.#tickedAt === undefined || now - this.#tickedAt < STALLED_MS) return undefined;
    return `not looked after for ${Math.round((now - this.#tickedAt) / 1_000)} s`;
  }

  async close(): Promise<void> {
    this.#tick?.cancel();
    this.#driver.close();
    this.#parts.keyExchange?.close();
    this.#neighbors?.close();
    await this.#parts.dataPlane.close();
  }

  get #whatIsWrong(): string | undefined {
    const { keyExchange, health } = this.#parts;
    return this.#interfaceProblem ?? keyExchange?.problem ?? this.#problem ?? health.problem;
  }

  get #interfaceProblem(): string | undefined {
    const { interfaceName } = this.#parts.config.tunnel;
    return this.#interfaceIsDown ? describeInterfaceDown(interfaceName) : undefined;
  }

  #react(event: DataPlaneEvent): void {
    switch (event.kind) {
      case "path-mtu":
        this.#parts.watcher.hint();
        break;
      case "soft-limit":
        this.#parts.keyExchange?.rekey(event.spi);
        break;
      case "rebuilt":
        this.#interfaceIsDown = false;
        this.#parts.log.warn("the tunnel interface was deleted, made it again");
        this.#reopenNeighbors();
        break;
      case "trouble":
        this.#parts.log.error({ err: event.error }, "tunnel in trouble");
        break;
      case "failed":
        this.#failed(event.error);
        break;
      case "heard":
      case "source":
      case "advertised":
        break;
    }
  }

  #reopenNeighbors(): void {
    try {
      this.#openNeighbors();
      this.#driver.feed({ kind: "announce" });
    } catch (error) {
      this.#failed(error);
    }
  }

  #openNeighbors(): void {
    this.#neighbors?.close();
    this.#neighbors = this.#parts.openNeighbors(this.#parts.config.tunnel.interfaceName, {
      onAdvertisement: (icmp, source) => this.#hear(icmp, source as Ipv6Address),
      onError: this.#failed,
    });
  }

  #perform(effect: AnnouncerEffect): void {
    const { log } = this.#parts;
    switch (effect.kind) {
      case "advertise":
        if (this.#link.isSingle) break;
        this.#advertisementsSent += 1;
        this.#send(this.#advertisement(effect.address));
        log.debug({ change: this.#change, address: effect.address }, "advertisement sent");
        break;
      case "solicit":
        if (this.#link.isSingle) break;
        this.#solicitationsSent += 1;
        this.#send(encodeNeighborSolicitation({ target: this.#link.serverLinkLocal, options: [] }));
        break;
      case "confirmed": {
        const confirmedInMs = Math.round(effect.elapsedMs * 10) / 10;
        this.#problem = undefined;
        this.#confirmations.observe(effect.elapsedMs / 1000);
        if (this.#lastMove?.confirmedInMs === undefined && this.#lastMove !== undefined) {
          this.#lastMove = { ...this.#lastMove, confirmedInMs };
        }
        log.info(
          { change: this.#change, address: effect.address, confirmedInMs },
          "tunnel up, the server has our address",
        );
        this.#tell();
        break;
      }
      case "lost":
        this.#losses += 1;
        this.#tellUnanswered(
          this.#parts.keyExchange?.status().state === "none"
            ? "no keys are left, announcing again"
            : "the server answers no more, announcing again",
        );
        break;
    }
  }

  #tell(): void {
    for (const observer of this.#observers) observer(this.view);
  }

  /** A change has a name from here to the server's log. */
  #tellChange(previous: UplinkSnapshot | undefined, uplink: UplinkSnapshot): void {
    const { address, interfaceName, mtu } = uplink;
    const where = { previous: previous?.address, current: address, interface: interfaceName, mtu };
    this.#parts.log.info({ change: this.#change, ...where }, "address towards the server");
  }

  /** Once, until the server has answered. */
  #tellUnanswered(message: string): void {
    if (this.#problem !== undefined) return;
    const { server } = this.#parts.config;
    this.#problem = `the server ${server} does not answer`;
    this.#parts.log.warn({ change: this.#change, server }, message);
    this.#tell();
  }

  #advertisement(address: Ipv4Address): Uint8Array {
    return encodeNeighborAdvertisement({
      router: this.#isRouter,
      solicited: false,
      override: true,
      target: this.#link.linkLocal,
      options: [
        ipv4LinkLayerOption(NdOptionType.targetLinkLayerAddress, address),
        changeOption(this.#change),
      ],
    });
  }

  #send(icmp: Uint8Array): void {
    this.#neighbors?.send(this.#link.serverLinkLocal, icmp);
    this.#parts.dataPlane.hasten?.(HOME_TUNNEL);
  }

  /**
   * The socket's filter has checked the hop limit and that nothing stands before ICMPv6; the destination it does
   * not tell, and the checksum covers it.
   */
  #hear(icmp: Uint8Array, source: Ipv6Address): void {
    const destination = this.#link.linkLocal;
    const received = { source, destination, hopLimit: 255, extensionHeaders: false, icmp };
    const verdict = acceptAdvertisement(received, this.#spec, SERVER_DOES_NOT_MOVE);
    if (verdict.kind === "answer") this.#driver.feed({ kind: "answer" });
    else this.#parts.log.debug({ verdict }, "advertisement ignored");
  }

  /** There are keys where there were none: the server is told where we are, unless IKE is all it understands. */
  #keyed(): void {
    this.#driver.feed({ kind: "announce" });
    this.#confirmByKeys();
  }

  /** Who cannot answer advertisements confirms us by having keys with us. */
  #confirmByKeys(): void {
    const hasKeys = this.#parts.keyExchange?.status().state === "established";
    if (this.#link.isSingle && hasKeys) this.#driver.feed({ kind: "answer" });
  }

  /** The server gave addresses and prefixes, perhaps others than before: the interface follows. */
  #assigned(assignment: Assignment): void {
    const { config, dataPlane, log } = this.#parts;
    const link = linkOf(config, assignment);
    if (JSON.stringify(link) === JSON.stringify(this.#link)) return;
    this.#link = link;
    const { mtu } = this.#spec;
    this.#spec = { ...specOf(config, link, USUAL_UPLINK_MTU), mtu };
    const told = { address: link.address, prefixes: link.prefixes.map(formatIpv6Prefix) };
    dataPlane.apply([this.#spec]).then(
      () => {
        log.info(told, "the server assigned a link");
        this.#tell();
      },
      (error: SystemError) => this.#failed(error),
    );
  }

  #followMtu(uplinkMtu: number): void {
    const { config, dataPlane, log } = this.#parts;
    const { mtu } = specOf(config, this.#link, uplinkMtu);
    if (mtu === this.#spec.mtu) return;
    const previous = this.#spec.mtu;
    this.#spec = { ...this.#spec, mtu };
    dataPlane.setMtu(HOME_TUNNEL, mtu).then(
      () => {
        log.info({ previous, current: mtu, uplinkMtu }, "tunnel MTU changed");
        this.#tell();
      },
      (error: SystemError) => this.#failed(error),
    );
  }

  #scheduleTick(): void {
    const { clock } = this.#parts;
    this.#tick = clock.at(later(clock.now(), TICK_MS), () => {
      try {
        this.#maintain(clock.now());
        this.#scheduleTick();
      } catch (error) {
        this.#failed(error);
      }
    });
  }

  #maintain(now: Instant): void {
    const { config, dataPlane } = this.#parts;
    this.#tickedAt = now;
    dataPlane.flush();
    this.#isRouter = this.#parts.isRouter();
    const { heardAt, sentAt } = dataPlane.counters(HOME_TUNNEL);
    if (heardAt !== this.#heardAt) {
      this.#heardAt = heardAt;
      this.#driver.feed({ kind: "heard" });
    }
    if (this.#announcer.state.kind === "unanswered") {
      this.#tellUnanswered("the server does not answer, asking on");
    }
    this.#confirmByKeys();
    this.#doubtKeys(sentAt, heardAt);
    this.#tell();
    const { natKeepaliveMs } = config.tunnel;
    const quietSince = Math.max(sentAt ?? 0, this.#keepaliveAt);
    if (natKeepaliveMs > 0 && this.#uplink !== undefined && now - quietSince >= natKeepaliveMs) {
      this.#keepaliveAt = now;
      dataPlane.sendKeepalive(HOME_TUNNEL);
    }
  }

  /** A server that has begun anew does not know the keys: it is asked as soon as nothing comes back. */
  #doubtKeys(sentAt: Instant | undefined, heardAt: Instant | undefined): void {
    const { keyExchange } = this.#parts;
    if (keyExchange === undefined || sentAt === undefined) return;
    const isUnanswered = this.#announcer.state.kind === "unanswered";
    if (isUnanswered || sentAt - (heardAt ?? 0) >= SILENCE_MS) keyExchange.probe();
  }
}

/** Behind somebody's NAT the uplink may be the LAN as well, by the one interface there is. */
function ispInterfaceOf(uplink: UplinkSnapshot | undefined): string | undefined {
  if (uplink === undefined || classifyIpv4(uplink.address) === "private") return undefined;
  return uplink.interfaceName;
}

/** What is known of the link: configured, or assigned by the server. */
type HomeLink = Pick<
  ClientConfig["tunnel"],
  "linkLocal" | "serverLinkLocal" | "prefixes" | "address"
> & {
  readonly dns: readonly Ipv6Address[];
  /** It is one address, of a server that does not know RFC 5739: there is nobody to advertise to. */
  readonly isSingle: boolean;
};

function linkOf({ tunnel }: ClientConfig, assignment: Assignment): HomeLink {
  const { dns } = assignment;
  if (assignment.kind === "address") {
    const { linkLocal, serverLinkLocal } = tunnel;
    const { address } = assignment;
    const prefixes = [{ address, length: ADDRESS_LENGTH }];
    return { linkLocal, serverLinkLocal, prefixes, address, dns, isSingle: true };
  }
  const { localInterfaceId, peerInterfaceId, prefixes } = assignment;
  const [first] = prefixes;
  return {
    linkLocal: linkLocalAddress(localInterfaceId),
    serverLinkLocal: linkLocalAddress(peerInterfaceId),
    prefixes,
    address: tunnel.address ?? (first === undefined ? undefined : firstHost(first)),
    dns,
    isSingle: false,
  };
}

/** The server is where the configuration says; no advertisement changes that. */
const SERVER_DOES_NOT_MOVE: AddressPolicy = { allowed: PUBLIC_ONLY, ownAddresses: new Set() };

function specOf(config: ClientConfig, link: HomeLink, uplinkMtu: number): TunnelSpec {
  const { tunnel, keys } = config;
  const given = keys.mode === "manual" ? { outbound: keys.outbound, inbound: keys.inbound } : {};
  return {
    name: HOME_TUNNEL,
    interfaceName: tunnel.interfaceName,
    encapsulation: tunnel.encapsulation,
    localAddresses: [link.linkLocal, ...(link.address === undefined ? [] : [link.address])],
    peerLinkLocal: link.serverLinkLocal,
    remotePrefixes: [EVERYTHING],
    localPrefixes: link.prefixes,
    routes: tunnel.defaultRoute ? [EVERYTHING, ...everythingFrom(link.prefixes)] : [],
    mtu: tunnel.mtu ?? tunnelMtu(uplinkMtu, mostEncapsulation(config), mtuSuiteOf(keys)),
    clampMss: tunnel.clampMss,
    ...given,
  };
}

/**
 * What the home's addresses send has a default route of its own, beside which no other is looked at: so it never leaves
 * by the uplink's IPv6, if there is any, which other addresses may use.
 */
function everythingFrom(prefixes: readonly Ipv6Prefix[]): TunnelRoute[] {
  return prefixes.map((source) => ({ ...EVERYTHING, source }));
}

/** Negotiated keys may need UDP whatever is asked for: the MTU is one for both. */
function mostEncapsulation({ keys, tunnel }: ClientConfig): Encapsulation {
  return keys.mode === "ikev2" ? "udp" : tunnel.encapsulation;
}
