/**
 * A home and a gateway with a bad network between them, in virtual time: messages are queued, and a fault decides
 * what becomes of each. Packets travel too: after every step each end sends one with the SA it sends with, and
 * whether the other end knows that SA when it arrives is what "no packet lost" means.
 */

import { createPrivateKey } from "node:crypto";
import type { ChildSuite, IkeSuite } from "../../../../common/ikev2/algorithms.ts";
import { identificationOf, isSameIdentification } from "../../../../common/ikev2/identity.ts";
import { IkeInitiator, type InitiatorInput } from "../../../../common/ikev2/ike-initiator.ts";
import {
  DEFAULT_LIMITS,
  IkeResponder,
  type ResponderLimits,
  type SessionId,
} from "../../../../common/ikev2/ike-responder.ts";
import type { Assignment, LinkOffer, LinkRequest } from "../../../../common/ikev2/link.ts";
import { LinkTable } from "../../../../common/ikev2/link-table.ts";
import { openSealed, Sealer } from "../../../../common/ikev2/protection.ts";
import { DEFAULT_TIMES } from "../../../../common/ikev2/retransmission.ts";
import type {
  ChildSa,
  HomeOptions,
  PeerPolicy,
  SessionEffect,
  SessionInput,
  SessionSettings,
} from "../../../../common/ikev2/session-types.ts";
import {
  decodeIkeHeader,
  HEADER_LENGTH,
  type IkeHeader,
} from "../../../../common/ikev2/wire/header.ts";
import { decodePayloads, type Payload } from "../../../../common/ikev2/wire/message.ts";
import { decodePayloadChain } from "../../../../common/ikev2/wire/payload-chain.ts";
import { type Ipv6Address, parseIpv4, parseIpv6Prefix } from "../../../../common/ip/address.ts";
import { earliest, type Instant } from "../../../../common/time.ts";
import type { Endpoint } from "../../../../common/tunnel/tunnel.ts";
import { at } from "../../../support/timeline.ts";

export const HOME: Endpoint = { address: parseIpv4("192.0.2.2"), port: 500 };
export const GATEWAY: Endpoint = { address: parseIpv4("192.0.2.1"), port: 500 };
export const HOME_ID = identificationOf("home@example");
export const GATEWAY_ID = identificationOf("gw.example");
export const SHARED_KEY = {
  kind: "shared-key",
  key: new TextEncoder().encode("hometun-test-psk"),
} as const;

export const IKE_SUITE: IkeSuite = {
  encryption: "aes-gcm-256",
  prf: "hmac-sha2-256",
  group: "x25519",
};
export const CHILD_SUITE: ChildSuite = {
  suite: "aes-gcm-256",
  extendedSequenceNumbers: [true, false],
};

export const SETTINGS: SessionSettings = {
  ikeSuites: [IKE_SUITE],
  childSuites: [CHILD_SUITE],
  times: DEFAULT_TIMES,
  fragmentLimit: 1_200,
  probeIntervalMs: 0,
  keepaliveMs: 0,
  ikeLifetimeMs: 0,
  forceEncapsulation: false,
  revealKeys: false,
};

export const HOME_INTERFACE_ID = Uint8Array.of(0, 0, 0, 0, 0, 0, 0, 2);
export const GATEWAY_INTERFACE_ID = Uint8Array.of(0, 0, 0, 0, 0, 0, 0, 1);

export const LINK_OFFER: LinkOffer = {
  interfaceId: GATEWAY_INTERFACE_ID,
  prefixes: [parseIpv6Prefix("2001:db8:1:2::/64"), parseIpv6Prefix("2001:db8:7::/56")],
  dns: ["2001:db8:f::53" as Ipv6Address],
  dhcp: [],
};

export const POLICY: PeerPolicy = {
  identity: GATEWAY_ID,
  credential: SHARED_KEY,
  trust: SHARED_KEY,
  link: LINK_OFFER,
  multicast: false,
};

export const LINK_REQUEST: LinkRequest = { interfaceId: HOME_INTERFACE_ID, fallback: false };

export const HOME_OPTIONS: HomeOptions = {
  identity: HOME_ID,
  credential: SHARED_KEY,
  peerIdentity: GATEWAY_ID,
  trust: SHARED_KEY,
  link: LINK_REQUEST,
  initialContact: true,
};

/** Like random, but the same each time. */
export function seeded(seed: number): (length: number) => Uint8Array {
  let state = seed >>> 0 || 1;
  return (length) =>
    Uint8Array.from({ length }, () => {
      state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
      return state >>> 24;
    });
}

export type EndName = "home" | "gateway";

export interface Travelling {
  readonly from: EndName;
  readonly message: Uint8Array;
  readonly encapsulated: boolean;
  readonly to: Endpoint;
  readonly source: Endpoint;
  /** How many IKE messages there were before. */
  readonly index: number;
}

/** Delays in milliseconds of the copies that arrive; none is loss. Undefined is the usual single one. */
export type Fault = (travelling: Travelling) => readonly number[] | undefined;

export const DELAY = 10; // ms

interface Traffic {
  inbound: Set<number>;
  outbound: number | undefined;
  /** Outbound SPI of each child, by its inbound. */
  readonly pairs: Map<number, number>;
}

interface Event {
  readonly at: Instant;
  readonly order: number;
  readonly run: () => void;
}

export class Network {
  readonly home: IkeInitiator;
  /** Another one is a gateway that was started anew. */
  gateway: IkeResponder;
  readonly seen: Record<EndName, SessionEffect[]> = { home: [], gateway: [] };
  readonly children: Record<EndName, Map<number, ChildSa>> = {
    home: new Map(),
    gateway: new Map(),
  };
  readonly sent: Travelling[] = [];
  /** SPIs of packets that arrived where nobody knew them. */
  readonly lost: { readonly from: EndName; readonly spi: number; readonly at: number }[] = [];
  now: Instant = at(0);
  packets = 0;
  keepalives = 0;
  fault: Fault = () => undefined;
  homeAddress: Endpoint = HOME;
  /** A NAT in front of the home: how the gateway sees it. */
  translate: (source: Endpoint) => Endpoint = (source) => source;
  carriesPackets = true;
  readonly #traffic: Record<EndName, Traffic> = {
    home: { inbound: new Set(), outbound: undefined, pairs: new Map() },
    gateway: { inbound: new Set(), outbound: undefined, pairs: new Map() },
  };
  #events: Event[] = [];
  #order = 0;

  constructor(
    options: {
      readonly home?: Partial<HomeOptions>;
      readonly homeSettings?: Partial<SessionSettings>;
      readonly gatewaySettings?: Partial<SessionSettings>;
      readonly policy?: Partial<PeerPolicy>;
      readonly limits?: Partial<ResponderLimits>;
      readonly seed?: number;
      readonly gateway?: IkeResponder;
    } = {},
  ) {
    const seed = options.seed ?? 1;
    this.home = new IkeInitiator(
      { ...HOME_OPTIONS, ...options.home },
      { ...SETTINGS, ...options.homeSettings },
      ports(seed),
    );
    this.gateway = gatewayWith(options);
  }

  start(): this {
    this.tell({ kind: "start", path: { local: this.homeAddress, remote: GATEWAY } });
    return this;
  }

  /** Something for the home. */
  tell(input: InitiatorInput): void {
    this.#homeDid(this.home.handle(input, this.now));
  }

  /** Something for the gateway's session of the home; the newest, when there are two. */
  tellGateway(input: Exclude<SessionInput, { kind: "start" | "message" }>): void {
    const id = this.gatewaySession;
    if (id === undefined) throw new Error("the gateway has no session");
    this.#gatewayDid(this.gateway.handle({ kind: "session", id, input }, this.now));
  }

  gatewaySession: SessionId | undefined;

  get established(): { home: number; gateway: number } {
    return { home: this.children.home.size, gateway: this.children.gateway.size };
  }

  assignmentOf(end: EndName): Assignment | undefined {
    const established = this.seen[end].filter((effect) => effect.kind === "established").at(-1);
    return established?.kind === "established" ? established.assignment : undefined;
  }

  /** The one Child SA of an end; throws when there is not just one. */
  childOf(end: EndName): ChildSa {
    const [child, ...more] = this.children[end].values();
    if (child === undefined || more.length > 0) {
      throw new Error(`${end} has ${this.children[end].size} Child SAs`);
    }
    return child;
  }

  kinds(end: EndName): string[] {
    return this.seen[end].map((effect) => effect.kind);
  }

  run(forMs: number): this {
    const until = at(this.now + forMs);
    for (;;) {
      const next = this.#events.reduce<Event | undefined>(
        (best, event) =>
          best === undefined ||
          event.at < best.at ||
          (event.at === best.at && event.order < best.order)
            ? event
            : best,
        undefined,
      );
      const deadline = earliest(this.home.deadline, this.gateway.deadline);
      const due = earliest(next?.at, deadline);
      if (due === undefined || due > until) break;
      this.now = at(Math.max(this.now, due));
      if (next !== undefined && next.at === due) {
        this.#events = this.#events.filter((event) => event !== next);
        next.run();
      } else {
        this.#homeDid(this.home.handleDeadline(this.now));
        this.#gatewayDid(this.gateway.handleDeadline(this.now));
      }
    }
    this.now = until;
    return this;
  }

  #homeDid(effects: ReturnType<IkeInitiator["handle"]>): void {
    for (const effect of effects) {
      if (effect.kind === "send") this.#post("home", effect);
      if (effect.kind === "keepalive") this.keepalives += 1;
      if (effect.kind === "session") this.#note("home", effect.effect);
    }
    this.#packet("home");
    this.#packet("gateway");
  }

  #gatewayDid(effects: ReturnType<IkeResponder["handle"]>): void {
    for (const effect of effects) {
      if (effect.kind === "send") this.#post("gateway", effect);
      if (effect.kind !== "session") continue;
      if (effect.effect.kind === "established") this.gatewaySession = effect.id;
      this.#note("gateway", effect.effect);
    }
    this.#packet("home");
    this.#packet("gateway");
  }

  #post(from: EndName, effect: Extract<SessionEffect, { kind: "send" }>): void {
    const travelling: Travelling = {
      from,
      message: effect.message,
      encapsulated: effect.encapsulated,
      to: effect.path.remote,
      source: from === "home" ? this.translate(effect.path.local) : effect.path.local,
      index: this.sent.length,
    };
    this.sent.push(travelling);
    for (const delay of this.fault(travelling) ?? [DELAY]) {
      this.#schedule(delay, () => this.#arrive(travelling));
    }
  }

  #arrive({ from, message, encapsulated, source, to }: Travelling): void {
    const wallTime = Date.parse("2030-01-01T00:00:00Z");
    if (from === "gateway") {
      // What goes to an address that the home has left is lost.
      const { address } = this.translate(this.homeAddress);
      if (to.address !== address) return;
      const local = { address: this.homeAddress.address, port: encapsulated ? 4500 : 500 };
      const path = { local, remote: source };
      this.tell({ kind: "message", message, path, encapsulated, wallTime });
      return;
    }
    const path = { local: to, remote: source };
    this.#gatewayDid(
      this.gateway.handle({ kind: "message", message, path, encapsulated, wallTime }, this.now),
    );
  }

  #note(end: EndName, effect: SessionEffect): void {
    this.seen[end].push(effect);
    const traffic = this.#traffic[end];
    if (effect.kind === "child-created") {
      const { inbound, outbound } = effect.child;
      this.children[end].set(inbound.spi, effect.child);
      traffic.inbound.add(inbound.spi);
      traffic.pairs.set(inbound.spi, outbound.spi);
      if (effect.outbound === "now") traffic.outbound = outbound.spi;
      traffic.outbound ??= outbound.spi;
    }
    if (effect.kind === "child-outbound") traffic.outbound = traffic.pairs.get(effect.spi);
    if (effect.kind === "child-deleted") {
      this.children[end].delete(effect.spi);
      traffic.inbound.delete(effect.spi);
      const gone = traffic.pairs.get(effect.spi);
      traffic.pairs.delete(effect.spi);
      if (traffic.outbound === gone) traffic.outbound = [...traffic.pairs.values()].at(-1);
    }
  }

  /** One packet, if both ends are up; without an SA to send with it is lost at once. */
  #packet(from: EndName): void {
    const to: EndName = from === "home" ? "gateway" : "home";
    if (!this.carriesPackets || !this.isUp) return;
    const { outbound } = this.#traffic[from];
    this.packets += 1;
    if (outbound === undefined) {
      this.lost.push({ from, spi: 0, at: this.now });
      return;
    }
    this.#schedule(DELAY, () => {
      if (!this.#traffic[to].inbound.has(outbound)) {
        this.lost.push({ from, spi: outbound, at: this.now });
      }
    });
  }

  /** Both ends have had a Child SA. */
  get isUp(): boolean {
    return (["home", "gateway"] as const).every((end) =>
      this.seen[end].some((effect) => effect.kind === "child-created"),
    );
  }

  #schedule(delay: number, run: () => void): void {
    this.#events.push({ at: at(this.now + delay), order: this.#order++, run });
  }
}

export function gatewayWith(
  options: {
    readonly home?: Partial<HomeOptions>;
    readonly gatewaySettings?: Partial<SessionSettings>;
    readonly policy?: Partial<PeerPolicy>;
    readonly limits?: Partial<ResponderLimits>;
    readonly seed?: number;
    readonly gateway?: IkeResponder;
  } = {},
): IkeResponder {
  if (options.gateway !== undefined) return options.gateway;
  const gatewayPorts = ports((options.seed ?? 1) + 7_777);
  const links = new LinkTable(gatewayPorts.random);
  const policy = { ...POLICY, ...options.policy };
  return new IkeResponder({
    directory: {
      authorities: policy.trust.kind === "authorities" ? policy.trust.authorities : [],
      findPeer: (identity) =>
        isSameIdentification(identity, options.home?.identity ?? HOME_ID) ? policy : undefined,
      claimLink: (identity, requested) => links.claim(identity, requested),
    },
    settings: { ...SETTINGS, ...options.gatewaySettings },
    ports: gatewayPorts,
    limits: { ...DEFAULT_LIMITS, ...options.limits },
  });
}

export function ports(seed: number) {
  const random = seeded(seed);
  let next = 0x1000 * seed;
  return { random, allocateSpi: () => 256 + (next++ % 0xfffffff0) };
}

/** What a message says in the clear. */
export function exchangeOf(message: Uint8Array): string {
  const { exchange, response } = decodeIkeHeader(message);
  const names: Record<number, string> = {
    34: "IKE_SA_INIT",
    35: "IKE_AUTH",
    36: "CREATE_CHILD_SA",
    37: "INFORMATIONAL",
  };
  return `${names[exchange] ?? exchange} ${response ? "response" : "request"}`;
}

export function privateKey(pem: string) {
  return { kind: "private-key", privateKey: createPrivateKey(pem), certificates: [] } as const;
}

type IkeKeysEffect = Extract<SessionEffect, { kind: "keys" }>;

/** The payloads of a message between ends that were told to reveal their keys; not for fragments. */
export function readWith(network: Network, message: Uint8Array): readonly Payload[] {
  const header = decodeIkeHeader(message);
  const known = keysOf(network, header);
  const chain = decodePayloadChain(header.nextPayload, message.subarray(HEADER_LENGTH));
  const sealed = chain.payloads.at(-1)?.body ?? new Uint8Array(0);
  const { ei, ai, er, ar } = known.keys;
  const keys = header.fromInitiator
    ? { encryption: ei, integrity: ai }
    : { encryption: er, integrity: ar };
  const associated = message.subarray(0, message.length - sealed.length);
  const plain = openSealed(known.suite.encryption, keys, associated, sealed);
  if (plain === undefined) throw new Error("not authentic");
  return decodePayloads(decodePayloadChain(chain.inner, plain).payloads).payloads;
}

/** A request of the home that its core would never send, for the gateway: authentic, but as wrong as you like. */
export function forgedRequest(
  network: Network,
  request: { exchange: number; messageId: number; first: number; plain: Uint8Array },
): Uint8Array {
  const known = network.seen.home.find((effect) => effect.kind === "keys");
  if (known?.kind !== "keys") throw new Error("the home does not reveal its keys");
  const { initiatorSpi, responderSpi, suite, keys } = known;
  const sealer = new Sealer(
    suite.encryption,
    { encryption: keys.ei, integrity: keys.ai },
    seeded(4_711),
  );
  const { exchange, messageId, first, plain } = request;
  const header = {
    initiatorSpi,
    responderSpi,
    exchange,
    messageId,
    fromInitiator: true,
    response: false,
  };
  return sealer.message(header, first, plain);
}

function keysOf(network: Network, header: IkeHeader): IkeKeysEffect {
  const known = network.seen.home
    .filter((effect) => effect.kind === "keys")
    .find(({ initiatorSpi }) => initiatorSpi === header.initiatorSpi);
  if (known === undefined) throw new Error("the home does not reveal its keys");
  return known;
}
