/**
 * The ISP's end of all tunnels. It connects the intake of Neighbor Discovery, the endpoint table and the data
 * plane; none of them knows another.
 *
 *     Neighbor Discovery ── message ──> intake ── move, answer ──> endpoint table ── set remote, hold ──> data plane
 *            ^──────────────────────────── probe ────────────────────────┘
 */

import type { Clock, Timer } from "../common/adapters/system-clock.ts";
import type { LinkChange } from "../common/adapters/tunnel-link.ts";
import { mtuSuiteOf } from "../common/config/keys.ts";
import { describeInterfaceDown } from "../common/control/describe.ts";
import type { HomeQuery } from "../common/control/home-query.ts";
import { dataPlaneStatusOf, type MoveStatus, trafficOf } from "../common/control/traffic.ts";
import { ConfigError } from "../common/errors.ts";
import {
  formatIpv6Prefix,
  type Ipv4Address,
  type Ipv6Address,
  type Ipv6Prefix,
} from "../common/ip/address.ts";
import { classifyIpv4, type UnicastScope } from "../common/ip/ipv4.ts";
import { CONFIRMATION_BOUNDS, Histogram } from "../common/metrics/histogram.ts";
import { type AddressPolicy, PUBLIC_ONLY } from "../common/nd/accept.ts";
import type { ChangeId } from "../common/nd/change.ts";
import type { InterfaceNeighborMessage } from "../common/nd/interface-neighbor-message.ts";
import { Driver } from "../common/runtime/drive.ts";
import type { Logger } from "../common/runtime/log.ts";
import { type Instant, later } from "../common/time.ts";
import type { DataPlane, DataPlaneEvent } from "../common/tunnel/data-plane.ts";
import { tunnelMtu } from "../common/tunnel/mtu.ts";
import {
  type Endpoint,
  type TunnelName,
  type TunnelSpec,
  UDP_ENCAPSULATION_PORT,
} from "../common/tunnel/tunnel.ts";
import type { HomeConfig, ServerConfig } from "./config.ts";
import {
  type EndpointEffect,
  type EndpointInput,
  type EndpointStatus,
  EndpointTable,
} from "./endpoint/endpoint-table.ts";
import { ProbeBook } from "./endpoint/probe-book.ts";
import type { HomeKeyExchange, KeyedHome } from "./home-key-exchange.ts";
import { type HomeSelection, type ListedHome, selectHomes } from "./home-list.ts";
import { AdvertisementIntake, type IntakeRefusal } from "./intake/advertisement-intake.ts";
import type { MeteredServer, ServerTotals } from "./metrics.ts";
import type { EndpointEntry } from "./state/endpoint-entry.ts";
import type { HomeStore } from "./state/home-store.ts";
import { describeCounts, type HomeStatus, type ServerStatus } from "./status.ts";

const EVERYTHING: Ipv6Prefix = { address: "::" as Ipv6Address, length: 0 };
/** Until a home's path says otherwise. */
const USUAL_PATH_MTU = 1500; // octets
/** How often it is looked which homes carry traffic, and what must be made durable. */
const TICK_MS = 1_000;
/** When that has not happened for so long, something is wrong with us. */
const STALLED_MS = 10_000;
/** Every home is looked at once in so many ticks. */
const TICKS_A_ROUND = 10;
/** For the summary; about a millisecond's work. */
const HOMES_COUNTED_A_TICK = 500;
/** A home's refused advertisements are logged once in this time, with their number. */
const REFUSAL_LOG_MS = 60_000;
/** Homes written into a status between two turns of the event loop. */
const HOMES_A_PIECE = 100;
/** When a path that was narrow may be tried at full width again, RFC 1191 section 6.3. */
const PATH_MTU_AGE_MS = 600_000;

/** What the server needs of the world. */
export interface TunnelServerParts {
  readonly config: ServerConfig;
  readonly clock: Clock;
  readonly dataPlane: DataPlane;
  readonly store: Pick<HomeStore<EndpointEntry>, "recall" | "remember" | "retain" | "flush">;
  /** Whether state can be kept. */
  readonly health: { readonly problem: string | undefined };
  /** Where the keys come from of homes that negotiate theirs; `prove` reads what they are believed by. */
  readonly keyExchange?: {
    readonly exchange: HomeKeyExchange;
    /** Throws `ConfigError`. */
    readonly prove: (homes: readonly HomeConfig[]) => readonly KeyedHome[];
  };
  /** Sends an ICMPv6 message with hop limit 255 through an interface; false when the kernel would not. */
  readonly sendNeighbor: (
    interfaceIndex: number,
    destination: Ipv6Address,
    icmp: Uint8Array,
  ) => boolean;
  /** Octets that fit the path to an address as far as the kernel knows, or undefined. */
  readonly pathMtu: (address: Ipv4Address) => Promise<number | undefined>;
  /** This machine's IPv4 addresses now. */
  readonly ownAddresses: () => ReadonlySet<Ipv4Address>;
  readonly randomOctets: (count: number) => Uint8Array;
  readonly version: string;
  readonly log: Logger;
}

/** What the server knows of a home besides the table's and the data plane's share. */
interface Home {
  config: HomeConfig;
  spec: TunnelSpec;
  interfaceIndex: number;
  readonly probes: ProbeBook;
  advertisementsAccepted: number;
  readonly refused: Partial<Record<string, number>>;
  /** All of `refused`, and how many of them the log has not told yet. */
  refusals: number;
  refusalsUnlogged: number;
  refusalLoggedAt: Instant | undefined;
  /** What the journal says of where the home is. */
  known: EndpointEntry | undefined;
  /** Since this process began or the home was added. */
  lastMove: MoveStatus | undefined;
  /** What the home calls the change that its latest advertisement tells of. */
  advertisedChange: ChangeId | undefined;
  /** When the MTU was last lowered to what the path takes. */
  narrowedAt: Instant | undefined;
  /** What the home last stated of its address. */
  stated: Ipv4Address | undefined;
  /** It was no use: a NAT lies between, and the home is where its packets come from. */
  isTranslated: boolean;
}

export class TunnelServer implements MeteredServer {
  readonly #parts: TunnelServerParts;
  readonly #table: EndpointTable;
  readonly #driver: Driver<EndpointInput, EndpointEffect>;
  readonly #intake = new AdvertisementIntake();
  readonly #homes = new Map<TunnelName, Home>();
  readonly #unattributed: Partial<Record<IntakeRefusal, number>> = {};
  /** Homes' interfaces that somebody set down. */
  readonly #downInterfaces = new Set<string>();
  readonly #confirmations = new Histogram(CONFIRMATION_BOUNDS);
  readonly #refused: Partial<Record<string, number>> = {};
  #accepted = 0;
  #ticks = 0;
  /** The tick at which `#summary` was made. */
  #summarizedAt: number | undefined;
  #summary = "";
  #moves = 0;
  #policy: AddressPolicy;
  readonly #startedAt: number;
  #tick: Timer | undefined;
  #tickedAt: Instant | undefined;
  /** The homes still to be looked at in this round. */
  #round: Home[] = [];
  #failed: (error: unknown) => void = () => undefined;
  /** The last change of the homes. */
  #changing: Promise<void> = Promise.resolve();

  constructor(parts: TunnelServerParts) {
    const { config, clock } = parts;
    this.#parts = parts;
    this.#startedAt = clock.wall();
    this.#policy = { allowed: allowedScopes(config), ownAddresses: parts.ownAddresses() };
    this.#table = new EndpointTable({
      sharedEndpoints: config.sharedEndpoints,
      advertisementLimit: config.advertisements,
    });
    const perform = (effect: EndpointEffect) => this.#perform(effect);
    this.#driver = new Driver({ core: this.#table, clock, perform });
  }

  /** Makes the tunnels stand. `failed` hears what ends the server later. Throws `SystemError`. */
  async open(failed: (error: unknown) => void): Promise<void> {
    this.#failed = failed;
    this.#parts.dataPlane.onEvent((event) => this.#react(event));
    await this.setHomes(this.#parts.config.homes);
    this.#scheduleTick();
  }

  /**
   * Adds, changes and removes homes; those that stay as they are notice nothing. One change after the other. Throws
   * `SystemError`.
   */
  setHomes(wanted: readonly HomeConfig[]): Promise<void> {
    const change = this.#changing.then(() => this.#change(wanted));
    this.#changing = change.catch(() => undefined);
    return change;
  }

  async #change(wanted: readonly HomeConfig[]): Promise<void> {
    const { config, dataPlane, log } = this.#parts;
    const specs = wanted.map((home) => {
      const before = this.#homes.get(home.name);
      const spec = specOf(home, config, USUAL_PATH_MTU);
      const narrowed = home.mtu === undefined && before?.narrowedAt !== undefined;
      return narrowed ? { ...spec, mtu: before.spec.mtu } : spec;
    });
    const { keyExchange } = this.#parts;
    if (keyExchange === undefined && wanted.some(({ keys }) => keys.mode === "ikev2")) {
      throw new ConfigError("the first home that negotiates its keys needs a restart");
    }
    const keyed = keyExchange?.prove(wanted) ?? [];
    keyExchange?.exchange.retain(keyed);
    await dataPlane.apply(specs);
    const names = new Set(wanted.map(({ name }) => name));
    for (const name of [...this.#homes.keys()]) if (!names.has(name)) this.#removeHome(name);
    wanted.forEach((home, index) => {
      const spec = specs[index];
      if (spec !== undefined) this.#setHome(home, spec);
    });
    this.#listen();
    this.#parts.store.retain(names);
    keyExchange?.exchange.serve(keyed);
    log.info({ homes: this.#homes.size }, "tunnels ready");
  }

  #removeHome(name: TunnelName): void {
    this.#homes.delete(name);
    this.#driver.feed({ kind: "remove", tunnel: name });
    this.#parts.log.info({ home: name }, "home removed");
  }

  #setHome(config: HomeConfig, spec: TunnelSpec): void {
    const { dataPlane, store } = this.#parts;
    const { name } = config;
    const interfaceIndex = dataPlane.interfaceIndex(name);
    const before = this.#homes.get(name);
    if (before !== undefined) {
      Object.assign(before, { config, spec, interfaceIndex });
      // With new keys the data plane has a new tunnel, which must learn what the old one knew.
      const known = this.#table.statusOf(name);
      dataPlane.setRemote(name, known?.endpoint);
      dataPlane.setSending(name, known?.state === "held" ? "probes-only" : "open");
      return;
    }
    const known = store.recall(name);
    this.#homes.set(name, {
      config,
      spec,
      interfaceIndex,
      probes: new ProbeBook(),
      advertisementsAccepted: 0,
      refused: {},
      refusals: 0,
      refusalsUnlogged: 0,
      refusalLoggedAt: undefined,
      known,
      lastMove: undefined,
      advertisedChange: undefined,
      narrowedAt: undefined,
      stated: undefined,
      isTranslated: false,
    });
    this.#driver.feed({ kind: "add", tunnel: name });
    if (known === undefined) return;
    this.#driver.feed({ kind: "restored", tunnel: name, endpoint: known.endpoint });
  }

  /** An ICMPv6 message of the kinds we listen for reached this host. */
  hear(message: InterfaceNeighborMessage): void {
    const verdict = this.#intake.judge(message, this.#policy);
    switch (verdict.kind) {
      case "move":
        this.#advertised(verdict.tunnel, verdict.address, verdict.change);
        break;
      case "echo":
        this.#answered(verdict.tunnel, message.icmp);
        break;
      case "drop": {
        const home = verdict.tunnel === undefined ? undefined : this.#homes.get(verdict.tunnel);
        if (home === undefined) increment(this.#unattributed, verdict.reason);
        else if (verdict.reason === "address-not-allowed") this.#advertisedInside(home);
        else this.#refuse(home, verdict.reason);
        break;
      }
    }
  }

  /** A home has proven who it is, and negotiated keys from there. */
  keyed(name: TunnelName, { address, port }: Endpoint): void {
    this.#driver.feed({ kind: "moved", tunnel: name, address, port });
  }

  /**
   * Authentic packets or IKE messages of a home come from there. Advertisements tell of moves; but a home behind a NAT
   * cannot know where it is, and does not notice when the NAT's address or its port changes (RFC 7296 section 2.23).
   * The endpoint table asks there before it believes.
   */
  observed(name: TunnelName, source: Endpoint): void {
    const home = this.#homes.get(name);
    if (home === undefined || !this.#isUsable(source)) return;
    const known = this.#table.statusOf(name);
    if (known?.endpoint?.address === source.address && known.endpoint.port === source.port) return;
    // Who answers where it said it was has no NAT before it.
    if (!home.isTranslated && known?.state === "confirmed") return;
    home.isTranslated = true;
    home.advertisedChange = undefined;
    this.#driver.feed({ kind: "moved", tunnel: name, ...source });
  }

  /** Something happened to a home's interface. */
  followInterface(change: LinkChange): void {
    const { log } = this.#parts;
    const { kind, interfaceName } = change;
    if (kind === "down") this.#downInterfaces.add(interfaceName);
    else this.#downInterfaces.delete(interfaceName);
    if (kind === "down") log.warn({ interface: interfaceName }, "a home's interface was set down");
    else if (kind === "restored") {
      log.info({ interface: interfaceName }, "a home's interface is configured again");
    } else log.error({ interface: interfaceName, err: change.error }, "tunnel in trouble");
  }

  /** The machine's own addresses may have changed: no home may claim one of them. */
  refreshOwnAddresses(): void {
    this.#policy = { ...this.#policy, ownAddresses: this.#parts.ownAddresses() };
  }

  /** At once, which takes tens of milliseconds for thousands of homes: daemons use `statusPieces`. */
  status(query: HomeQuery = {}): ServerStatus {
    const selecting = this.#select(query);
    let step = selecting.next();
    while (step.done !== true) step = selecting.next();
    const wallOffset = wallOffsetOf(this.#parts.clock);
    const homes = step.value.homes.map(({ home }) => this.#statusOf(home, wallOffset));
    return { ...this.#overview(step.value), homes };
  }

  /** The JSON text of `status`, in pieces; others have their turn between them. */
  *statusPieces(query: HomeQuery): Generator<string> {
    const selecting = this.#select(query);
    let step = selecting.next();
    for (; step.done !== true; step = selecting.next()) yield "";
    const { homes } = step.value;
    const wallOffset = wallOffsetOf(this.#parts.clock);
    yield `${JSON.stringify(this.#overview(step.value)).slice(0, -1)},"homes":[`;
    let separator = "";
    for (let from = 0; from < homes.length; from += HOMES_A_PIECE) {
      // Some may have been removed meanwhile.
      const present = homes
        .slice(from, from + HOMES_A_PIECE)
        .filter(({ home }) => this.#homes.get(home.config.name) === home);
      if (present.length === 0) continue;
      const statuses = present.map(({ home }) => this.#statusOf(home, wallOffset));
      yield separator + JSON.stringify(statuses).slice(1, -1);
      separator = ",";
    }
    yield "]}";
  }

  /** Undefined when no home is called so. */
  statusOf(name: TunnelName): HomeStatus | undefined {
    const home = this.#homes.get(name);
    return home === undefined ? undefined : this.#statusOf(home, wallOffsetOf(this.#parts.clock));
  }

  homeNames(): readonly TunnelName[] {
    return [...this.#homes.keys()];
  }

  totals(): ServerTotals {
    const { dataPlane } = this.#parts;
    return {
      dataPlane: dataPlaneStatusOf(dataPlane),
      stateIsWritten: this.#parts.health.problem === undefined,
      ike: this.#parts.keyExchange?.exchange.ikeTotals(),
      moves: this.#moves,
      confirmations: this.#confirmations,
      advertisementsAccepted: this.#accepted,
      advertisementsRefused: this.#refused,
      unattributed: { packets: dataPlane.unattributed(), advertisements: this.#unattributed },
    };
  }

  /** What keeps the homes from being looked after, if anything does. */
  ailment(now: Instant): string | undefined {
    if (this.#tickedAt === undefined || now - this.#tickedAt < STALLED_MS) return undefined;
    return `homes not looked after for ${Math.round((now - this.#tickedAt) / 1_000)} s`;
  }

  /** How the homes are, in one line for people. */
  summary(): string {
    // Asked each second: thousands need not be counted so often.
    const lasts = Math.min(Math.ceil(this.#homes.size / HOMES_COUNTED_A_TICK), TICKS_A_ROUND);
    if (this.#summarizedAt === undefined || this.#ticks - this.#summarizedAt >= lasts) {
      this.#summarizedAt = this.#ticks;
      this.#summary = `homes: ${describeCounts(this.status({ limit: 0 }).counts)}`;
    }
    const { problem } = this.#parts.health;
    return problem === undefined ? this.#summary : `${problem}; ${this.#summary}`;
  }

  async close(): Promise<void> {
    this.leave();
    // What is still being made is removed, too.
    await this.#changing;
    await this.#parts.dataPlane.close();
  }

  /** Nothing more is done; the tunnels stand. */
  leave(): void {
    this.#tick?.cancel();
    this.#driver.close();
    this.#parts.keyExchange?.exchange.close();
  }

  #react(event: DataPlaneEvent): void {
    switch (event.kind) {
      case "heard":
        this.#driver.feed({ kind: "heard", tunnel: event.tunnel });
        break;
      case "advertised":
        break; // the socket hands it over by itself
      case "source":
        this.observed(event.tunnel, event.source);
        break;
      case "soft-limit":
        this.#parts.keyExchange?.exchange.rekey(event.tunnel, event.spi);
        break;
      case "path-mtu":
        this.#followPathMtu(event.tunnel);
        break;
      case "rebuilt":
        this.#rebuilt(event.tunnel);
        break;
      case "trouble":
        this.#parts.log.error({ home: event.tunnel, err: event.error }, "tunnel in trouble");
        break;
      case "failed":
        this.#failed(event.error);
        break;
    }
  }

  #rebuilt(tunnel: TunnelName): void {
    const home = this.#homes.get(tunnel);
    if (home === undefined) return;
    home.interfaceIndex = this.#parts.dataPlane.interfaceIndex(tunnel);
    this.#downInterfaces.delete(home.spec.interfaceName);
    this.#listen();
    this.#parts.log.warn({ home: tunnel }, "the home's interface was deleted, made it again");
  }

  /** Tells the intake which interface is whose. */
  #listen(): void {
    const homes = [...this.#homes.values()];
    this.#intake.setTunnels(homes.map(({ interfaceIndex, spec }) => [interfaceIndex, spec]));
  }

  #advertised(tunnel: TunnelName, address: Ipv4Address, change: ChangeId | undefined): void {
    const home = this.#homes.get(tunnel);
    if (home === undefined) return;
    home.advertisedChange = change;
    const source = this.#sourceOf(tunnel);
    const known = this.#table.statusOf(tunnel)?.endpoint;
    // It proved by IKE that it is where this comes from, and yet states what it stated before.
    const isKnownOutside =
      source !== undefined &&
      source.address !== address &&
      source.address === known?.address &&
      source.port === known.port;
    if ((home.isTranslated || isKnownOutside) && home.stated === address) {
      this.#advertisedInside(home);
      return;
    }
    home.stated = address;
    const port = source?.address === address ? source.port : UDP_ENCAPSULATION_PORT;
    home.isTranslated = port !== UDP_ENCAPSULATION_PORT;
    this.#moveTo(home, { address, port });
  }

  /** The home states an address behind a NAT: it is where its packets come from, such as the one that said so. */
  #advertisedInside(home: Home): void {
    const { name } = home.config;
    const known = this.#table.statusOf(name);
    const source = this.#sourceOf(name) ?? known?.endpoint;
    // Who answers at an address that it stated itself, and sends from there, has no NAT before it.
    const isOutside =
      known?.state === "confirmed" &&
      known.endpoint?.address === home.stated &&
      source?.address === home.stated;
    if (source === undefined || isOutside || !this.#isUsable(source)) {
      this.#refuse(home, "address-not-allowed");
      return;
    }
    home.isTranslated = true;
    this.#moveTo(home, source);
  }

  #moveTo(home: Home, endpoint: Endpoint): void {
    const refusals = home.refusals;
    this.#driver.feed({ kind: "moved", tunnel: home.config.name, ...endpoint });
    if (home.refusals !== refusals) return;
    home.advertisementsAccepted += 1;
    this.#accepted += 1;
  }

  /** Where a home's authentic packets come from, if that may count. Protocol 50 has no ports to go by. */
  #sourceOf(name: TunnelName): Endpoint | undefined {
    const { config, dataPlane } = this.#parts;
    const source = config.followNat ? dataPlane.counters(name).observedSource : undefined;
    return source?.port === 0 ? undefined : source;
  }

  /** Whether a home may be at this address, stated or not. */
  #isUsable({ address, port }: Endpoint): boolean {
    const { allowed, ownAddresses } = this.#policy;
    const scope = classifyIpv4(address);
    const isAllowed = [...allowed].some((each) => each === scope);
    return this.#parts.config.followNat && port !== 0 && isAllowed && !ownAddresses.has(address);
  }

  #answered(tunnel: TunnelName, icmp: Uint8Array): void {
    const move = this.#homes.get(tunnel)?.probes.redeem(icmp);
    if (move !== undefined) this.#driver.feed({ kind: "answered", tunnel, move });
  }

  #perform(effect: EndpointEffect): void {
    const { dataPlane, log } = this.#parts;
    const { tunnel } = effect;
    const home = this.#homes.get(tunnel);
    if (home === undefined) return;
    switch (effect.kind) {
      case "set-remote":
        dataPlane.setRemote(tunnel, effect.remote);
        this.#parts.keyExchange?.exchange.moved(tunnel, effect.remote);
        break;
      case "persist":
        this.#moved(home, effect.endpoint);
        break;
      case "hold":
        dataPlane.setSending(tunnel, "probes-only");
        // A restart holds thousands at once, until each has answered: no news for people.
        log[home.lastMove === undefined ? "debug" : "info"](
          { home: tunnel },
          "home not proven at its endpoint, sending probes only",
        );
        break;
      case "release":
        dataPlane.setSending(tunnel, "open");
        log[home.lastMove === undefined ? "debug" : "info"](
          { home: tunnel },
          "home answers at its endpoint, sending to it",
        );
        break;
      case "probe":
        this.#probe(home, effect.move);
        break;
      case "confirmed":
        this.#confirmed(home, effect.endpoint, effect.elapsedMs);
        break;
      case "refused":
        this.#refuse(home, effect.reason);
        break;
    }
  }

  #moved(home: Home, endpoint: Endpoint): void {
    const { clock, log } = this.#parts;
    const { address } = endpoint;
    const { name } = home.config;
    const at = clock.wall();
    const from = home.known?.endpoint.address;
    const change = home.advertisedChange;
    home.lastMove = { from, to: address, at, confirmedInMs: undefined, change };
    this.#moves += 1;
    const moves = (home.known?.moves ?? 0) + 1;
    this.#remember(home, { home: name, endpoint, at, moves, from });
    log.info({ home: name, change, previous: from, current: address }, "remote endpoint moved");
  }

  #remember(home: Home, entry: EndpointEntry): void {
    home.known = entry;
    this.#parts.store.remember(entry);
  }

  #confirmed(home: Home, { address }: Endpoint, elapsedMs: number): void {
    const confirmedInMs = Math.round(elapsedMs * 10) / 10;
    this.#confirmations.observe(elapsedMs / 1000);
    if (home.lastMove !== undefined && home.known !== undefined) {
      home.lastMove = { ...home.lastMove, confirmedInMs };
      this.#remember(home, { ...home.known, confirmedInMs });
    }
    const change = home.lastMove?.change;
    const fields = { home: home.config.name, change, address, confirmedInMs };
    this.#parts.log.info(fields, "remote endpoint confirmed");
  }

  #probe(home: Home, move: number): void {
    const { dataPlane, sendNeighbor, randomOctets } = this.#parts;
    const message = home.probes.issue(move, randomOctets(8));
    sendNeighbor(home.interfaceIndex, home.config.linkLocal, message);
    dataPlane.hasten?.(home.config.name);
  }

  /** One log line when it begins, and one a minute with their number while it lasts. */
  #refuse(home: Home, reason: string): void {
    const { clock, log } = this.#parts;
    increment(home.refused, reason);
    increment(this.#refused, reason);
    home.refusals += 1;
    home.refusalsUnlogged += 1;
    const now = clock.now();
    const { refusalLoggedAt } = home;
    if (refusalLoggedAt !== undefined && now - refusalLoggedAt < REFUSAL_LOG_MS) return;
    const count = home.refusalsUnlogged;
    log.warn({ home: home.config.name, reason, count }, "advertisement refused");
    home.refusalLoggedAt = now;
    home.refusalsUnlogged = 0;
  }

  /** What the kernel learned from the path's routers decides; it forgets after ten minutes, and so do we. */
  #followPathMtu(tunnel: TunnelName): void {
    this.#adaptMtu(tunnel).catch((err: unknown) => {
      this.#parts.log.error({ home: tunnel, err }, "tunnel MTU not changed");
    });
  }

  async #adaptMtu(tunnel: TunnelName): Promise<void> {
    const home = this.#homes.get(tunnel);
    const endpoint = this.#table.statusOf(tunnel)?.endpoint;
    if (home === undefined || endpoint === undefined || home.config.mtu !== undefined) return;
    const pathMtu = (await this.#parts.pathMtu(endpoint.address)) ?? USUAL_PATH_MTU;
    const { mtu } = specOf(home.config, this.#parts.config, Math.min(pathMtu, USUAL_PATH_MTU));
    home.narrowedAt = pathMtu < USUAL_PATH_MTU ? this.#parts.clock.now() : undefined;
    if (mtu === home.spec.mtu || this.#homes.get(tunnel) !== home) return;
    const previous = home.spec.mtu;
    await this.#parts.dataPlane.setMtu(tunnel, mtu);
    home.spec = { ...home.spec, mtu };
    this.#parts.log.info({ home: tunnel, previous, current: mtu, pathMtu }, "tunnel MTU changed");
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
    const { dataPlane } = this.#parts;
    this.#tickedAt = now;
    this.#ticks += 1;
    dataPlane.flush();
    this.#parts.store.flush();
    this.#parts.keyExchange?.exchange.flush();
    if (this.#round.length === 0) this.#round = [...this.#homes.values()];
    const share = Math.ceil(this.#homes.size / TICKS_A_ROUND);
    for (const home of this.#round.splice(0, share)) {
      const { name } = home.config;
      if (this.#homes.get(name) !== home) continue;
      const { sentPackets } = dataPlane.counters(name);
      this.#driver.feed({ kind: "traffic", tunnel: name, sentPackets });
      if (home.narrowedAt !== undefined && now - home.narrowedAt > PATH_MTU_AGE_MS) {
        this.#followPathMtu(name);
      }
    }
  }

  #select(query: HomeQuery): Generator<undefined, HomeSelection<Listed>> {
    return selectHomes(this.#listed(query), query);
  }

  *#listed({ sort }: HomeQuery): Generator<Listed> {
    for (const home of this.#homes.values()) {
      const { name } = home.config;
      yield {
        home,
        name,
        state: stateOf(this.#table.statusOf(name)?.state),
        since: home.known?.at,
        octets: sort === "traffic" ? this.#octetsOf(name) : 0,
      };
    }
  }

  #octetsOf(name: TunnelName): number {
    const { sentOctets, receivedOctets } = this.#parts.dataPlane.counters(name);
    return sentOctets + receivedOctets;
  }

  /** A status but for the homes. */
  #overview({ counts, matching }: HomeSelection<Listed>): Omit<ServerStatus, "homes"> {
    const { config, dataPlane, version } = this.#parts;
    return {
      version,
      pid: process.pid,
      startedAt: this.#startedAt,
      address: config.address,
      dataPlane: dataPlaneStatusOf(dataPlane),
      problem: this.#parts.health.problem,
      counts,
      matching,
      unattributed: {
        packets: dataPlane.unattributed(),
        advertisements: { ...this.#unattributed },
      },
    };
  }

  #statusOf(home: Home, wallOffset: number): HomeStatus {
    const { config, spec, lastMove = lastMoveOf(home.known) } = home;
    const { name } = config;
    const current = this.#table.statusOf(name);
    const since = Math.round((current?.since ?? 0) + wallOffset);
    return {
      name,
      interface: config.interfaceName,
      linkLocal: config.linkLocal,
      serverLinkLocal: config.serverLinkLocal,
      prefixes: config.prefixes.map(formatIpv6Prefix),
      encapsulation: config.encapsulation,
      mtu: spec.mtu,
      state: { kind: stateOf(current?.state), since },
      endpoint: current?.endpoint,
      since: home.known?.at,
      moves: home.known?.moves ?? 0,
      lastMove,
      advertisements: { accepted: home.advertisementsAccepted, refused: { ...home.refused } },
      keys: this.#parts.keyExchange?.exchange.statusOf(name),
      problem: this.#downInterfaces.has(config.interfaceName)
        ? describeInterfaceDown(config.interfaceName)
        : undefined,
      traffic: trafficOf(this.#parts.dataPlane.counters(name), wallOffset),
    };
  }
}

/** A home in a list, with what decides its place. */
interface Listed extends ListedHome {
  readonly home: Home;
}

/** The last move, as the journal tells it to a server that began later. */
function lastMoveOf(known: EndpointEntry | undefined): MoveStatus | undefined {
  if (known === undefined || known.moves === 0) return undefined;
  const { endpoint, at, from, confirmedInMs } = known;
  return { from, to: endpoint.address, at, confirmedInMs };
}

/** What to add to the monotonic clock to get wall-clock milliseconds. */
function wallOffsetOf(clock: Clock): number {
  return clock.wall() - clock.now();
}

function stateOf(state: EndpointStatus["state"] | undefined): HomeStatus["state"]["kind"] {
  switch (state) {
    case undefined:
    case "none":
      return "never-heard";
    case "unproven":
      return "unconfirmed";
    case "confirmed":
    case "held":
      return state;
  }
}

function specOf(home: HomeConfig, server: ServerConfig, pathMtu: number): TunnelSpec {
  const { keys } = home;
  const given = keys.mode === "manual" ? { outbound: keys.outbound, inbound: keys.inbound } : {};
  return {
    name: home.name,
    interfaceName: home.interfaceName,
    encapsulation: home.encapsulation,
    localAddresses: [home.serverLinkLocal],
    peerLinkLocal: home.linkLocal,
    remotePrefixes: home.prefixes,
    localPrefixes: [EVERYTHING],
    routes: home.prefixes,
    mtu:
      home.mtu ??
      tunnelMtu(pathMtu, keys.mode === "ikev2" ? "udp" : home.encapsulation, mtuSuiteOf(keys)),
    clampMss: server.clampMss,
    ...given,
  };
}

function allowedScopes(config: ServerConfig): ReadonlySet<UnicastScope> {
  return config.allowPrivateEndpoints ? new Set(["public", "private", "shared"]) : PUBLIC_ONLY;
}

function increment(counts: Partial<Record<string, number>>, reason: string): void {
  counts[reason] = (counts[reason] ?? 0) + 1;
}
