/**
 * The homes' keys by IKEv2, and their links by RFC 5739: drives the responder over the transport, hands pairs of SAs to
 * the data plane, and tells the server where a home is that has proven who it is.
 */

import type { X509Certificate } from "node:crypto";
import type { IkeMessage } from "../common/adapters/ike-transport.ts";
import type { KeyLogFile } from "../common/adapters/key-log-file.ts";
import type { Clock } from "../common/adapters/system-clock.ts";
import { firstHost } from "../common/config/schema.ts";
import { IkeLedger, type IkeTotals } from "../common/control/ike-ledger.ts";
import {
  associationStatuses,
  type KeyStatus,
  type NegotiatedPair,
} from "../common/control/key-status.ts";
import type { Credential, Trust } from "../common/ikev2/authentication.ts";
import { encodeInvalidSpi } from "../common/ikev2/exchanges/informational.ts";
import { formatIdentification, isSameIdentification } from "../common/ikev2/identity.ts";
import {
  IkeResponder,
  type ResponderEffect,
  type ResponderInput,
  type SessionId,
  type StrangerDrop,
} from "../common/ikev2/ike-responder.ts";
import { LinkTable } from "../common/ikev2/link-table.ts";
import { isMulticast } from "../common/ikev2/selectors.ts";
import type {
  CloseReason,
  Directory,
  PeerPolicy,
  SessionEffect,
  SessionPorts,
  SessionSettings,
} from "../common/ikev2/session-types.ts";
import type { Identification } from "../common/ikev2/wire/payloads/identification.ts";
import { type Ipv4Address, type Ipv6Address, ipv6Octets } from "../common/ip/address.ts";
import { Driver } from "../common/runtime/drive.ts";
import type { Logger } from "../common/runtime/log.ts";
import type { KeyedDataPlane, SoftLimit } from "../common/tunnel/data-plane.ts";
import {
  type Endpoint,
  IKE_PORT,
  keyOctets,
  type TunnelName,
  UDP_ENCAPSULATION_PORT,
} from "../common/tunnel/tunnel.ts";
import type { HomeConfig } from "./config.ts";
import { FormerAssociations } from "./former-associations.ts";
import { homeFingerprint } from "./home-fingerprint.ts";
import {
  type AssociationEntry,
  type AssociationPair,
  type HomeLink,
  proofOf,
} from "./state/association-entry.ts";
import type { HomeStore } from "./state/home-store.ts";

const INTERFACE_ID = 8; // offset in an address
/** A home whose configuration is another now has so long to ask for it. */
const REAUTHENTICATE_SECONDS = 2;

/** A home that negotiates its keys, and what it is believed by. */
export interface KeyedHome {
  readonly config: HomeConfig;
  readonly identity: Identification;
  readonly credential: Credential;
  readonly trust: Trust;
  readonly softLimit: SoftLimit;
  readonly childLifetimeMs: number | undefined;
}

export interface ServerKeyExchangeParts {
  readonly address: Ipv4Address;
  /** Ours. */
  readonly identity: Identification;
  /** Seconds for which a home is believed before it must prove anew who it is; undefined: for ever. */
  readonly authLifetime: number | undefined;
  /** Name servers for homes that have none of their own. */
  readonly dns: readonly Ipv6Address[];
  /** Whether homes may have an SA for multicast. */
  readonly multicast: boolean;
  readonly settings: SessionSettings;
  readonly ports: SessionPorts;
  readonly clock: Clock;
  readonly keyed: KeyedDataPlane;
  readonly send: (message: IkeMessage) => void;
  readonly sendKeepalive: (remote: Endpoint) => void;
  /** A home has keys, and its messages come from there. */
  readonly onKeyed: (home: TunnelName, endpoint: Endpoint) => void;
  /** What was negotiated, for the next process. */
  readonly memory: Pick<HomeStore<AssociationEntry>, "recall" | "remember" | "retain" | "flush">;
  /** Where a home was last, if that is known. */
  readonly endpointOf: (home: TunnelName) => Endpoint | undefined;
  /** A home's messages come from elsewhere now. */
  readonly onSource: (home: TunnelName, endpoint: Endpoint) => void;
  /** Where keys are told to who debugs; absent: nowhere. */
  readonly keyLog?: KeyLogFile | undefined;
  readonly log: Logger;
}

/** One of an earlier process's (`inheritedAt`) has no IKE SA. */
interface Pair extends NegotiatedPair, AssociationPair {}

interface Entry {
  home: KeyedHome;
  /** Of `home`. */
  policy: PeerPolicy;
  /** Of `home`. */
  fingerprint: string;
  readonly sessions: Set<SessionId>;
  /** By inbound SPI. */
  readonly associations: Map<number, Pair>;
  /** Wall-clock milliseconds since 1970: the home must have proven anew who it is. */
  until: number | undefined;
  /** What the home got by RFC 5739. */
  link: HomeLink | undefined;
  rekeys: number;
  /** Wall-clock milliseconds since 1970: since when there are keys, or none. */
  since: number;
}

/** Whose a session is, and by what he was believed when it began. */
interface Proven {
  readonly entry: Entry;
  readonly fingerprint: string;
}

export class HomeKeyExchange {
  readonly #parts: ServerKeyExchangeParts;
  readonly #driver: Driver<ResponderInput, ResponderEffect>;
  readonly #links: LinkTable;
  readonly #homes = new Map<TunnelName, Entry>();
  readonly #byIdentity = new Map<string, Entry>();
  readonly #bySession = new Map<SessionId, Proven>();
  readonly #spis = new Set<number>();
  readonly #ledger = new IkeLedger<SessionId>();
  readonly #former: FormerAssociations;
  /** Whose tunnels are being made. */
  #wanted: ReadonlyMap<TunnelName, KeyedHome> = new Map();
  /** Of all the homes that have certificates. */
  #authorities: readonly X509Certificate[] = [];
  /** Where the message came from that is being handled. */
  #remote: Endpoint | undefined;

  constructor(parts: ServerKeyExchangeParts) {
    const { settings, ports, clock } = parts;
    this.#parts = parts;
    this.#links = new LinkTable(ports.random);
    const authorities = () => this.#authorities;
    const directory: Directory = {
      get authorities() {
        return authorities();
      },
      findPeer: (identity, wanted) => this.#findPeer(identity, wanted),
      claimLink: (identity, requested) => this.#claimLink(identity, requested),
    };
    const core = new IkeResponder({
      directory,
      settings,
      ports: { ...ports, allocateSpi: () => this.#allocateSpi() },
    });
    this.#driver = new Driver({ core, clock, perform: (effect) => this.#perform(effect) });
    this.#former = new FormerAssociations({
      memory: parts.memory,
      clock,
      isSettled: (name) => this.#homes.get(name)?.sessions.size !== 0,
      tell: (name, spi) => this.#tellInvalidSpi(name, spi),
      expired: () => this.#removeInherited(),
    });
    parts.keyed.inherit?.((name, pair) => {
      const home = this.#wanted.get(name);
      if (home === undefined) return undefined;
      if (pair.multicast !== undefined && !parts.multicast) return undefined;
      return this.#former.mayInherit(name, pair, homeFingerprint(home))
        ? home.softLimit
        : undefined;
    });
  }

  /** Ends what belongs to homes that are no more, or whose tunnels are made anew. Their tunnels still stand. */
  retain(wanted: readonly KeyedHome[]): void {
    this.#wanted = new Map(wanted.map((home) => [home.config.name, home]));
    for (const [name, entry] of [...this.#homes]) {
      const next = this.#wanted.get(name);
      const stays =
        next !== undefined &&
        isSameIdentification(next.identity, entry.home.identity) &&
        next.config.interfaceName === entry.home.config.interfaceName &&
        next.config.encapsulation === entry.home.config.encapsulation;
      if (stays) continue;
      this.#end(entry);
      this.#homes.delete(name);
      this.#byIdentity.delete(formatIdentification(entry.home.identity));
      this.#links.forget(entry.home.identity);
    }
  }

  /** The home is told, and may come again. */
  #end(entry: Entry): void {
    for (const id of [...entry.sessions]) {
      this.#driver.feed({ kind: "session", id, input: { kind: "close" } });
    }
    this.#removeAll(entry);
  }

  /** From now on these homes may come: their tunnels stand. Those that changed are asked to come again. */
  serve(wanted: readonly KeyedHome[]): void {
    const authorities = wanted.flatMap(({ trust }) =>
      trust.kind === "authorities" ? trust.authorities : [],
    );
    this.#authorities = [...new Set(authorities)];
    for (const home of wanted) {
      const entry = this.#homes.get(home.config.name);
      const print = homeFingerprint(home);
      if (entry === undefined) {
        this.#add(home, print);
        continue;
      }
      // It had no tunnel when they were negotiated: they are nowhere, and it does not know.
      if (this.#lacksPairs(entry)) this.#end(entry);
      const changed = entry.fingerprint !== print;
      entry.home = home;
      entry.policy = this.#policyOf(home);
      entry.fingerprint = print;
      if (!changed) continue;
      for (const id of entry.sessions) this.#askReauthentication(id);
      // Nobody is there who could be asked.
      this.#removeAll(entry, isInherited);
    }
    this.#parts.memory.retain(new Set(this.#homes.keys()));
    const inherited = [...this.#homes.values()].flatMap(({ associations }) => [
      ...associations.values(),
    ]);
    this.#former.begin([...this.#homes.keys()], inherited);
  }

  #lacksPairs({ home, associations }: Entry): boolean {
    if (associations.size === 0) return false;
    const standing = new Set(
      this.#parts.keyed.associations(home.config.name).map(({ spi }) => spi),
    );
    return [...associations.keys()].some((spi) => !standing.has(spi));
  }

  #askReauthentication(id: SessionId): void {
    const input = { kind: "ask-reauthentication", seconds: REAUTHENTICATE_SECONDS } as const;
    this.#driver.feed({ kind: "session", id, input });
  }

  #add(home: KeyedHome, print: string): void {
    const { clock, keyed, memory } = this.#parts;
    const { name } = home.config;
    const since = clock.wall();
    const known = memory.recall(name);
    const inherited = keyed.associations(name).flatMap(({ spi }) => {
      const pair = known?.pairs.find(({ inbound }) => inbound === spi);
      return pair === undefined ? [] : [{ ...pair, since, inheritedAt: pair.inheritedAt ?? since }];
    });
    const entry = {
      home,
      policy: this.#policyOf(home),
      fingerprint: print,
      sessions: new Set<SessionId>(),
      associations: new Map(inherited.map((pair) => [pair.inbound, pair])),
      until: known?.until,
      link: known?.link?.identity === formatIdentification(home.identity) ? known.link : undefined,
      rekeys: 0,
      since,
    };
    for (const { inbound } of inherited) this.#spis.add(inbound);
    if (entry.link !== undefined) {
      this.#links.restore(home.identity, Buffer.from(entry.link.id, "hex"));
    }
    this.#homes.set(name, entry);
    this.#byIdentity.set(formatIdentification(home.identity), entry);
    if (inherited.length > 0) this.#remember(entry);
  }

  receive({ message, remote, encapsulated }: IkeMessage): void {
    const { address, clock } = this.#parts;
    const port = encapsulated ? UDP_ENCAPSULATION_PORT : IKE_PORT;
    const path = { local: { address, port }, remote };
    this.#remote = remote;
    this.#driver.feed({ kind: "message", message, path, encapsulated, wallTime: clock.wall() });
    this.#remote = undefined;
  }

  /** An advertisement moved the home: IKE goes there too. */
  moved(home: TunnelName, remote: Endpoint): void {
    const input = { kind: "moved", path: { remote } } as const;
    for (const id of this.#homes.get(home)?.sessions ?? []) {
      this.#driver.feed({ kind: "session", id, input });
    }
  }

  /** The soft limit of a pair of SAs is reached. */
  rekey(home: TunnelName, spi: number): void {
    const { sessions = [], associations } = this.#homes.get(home) ?? {};
    for (const id of sessions) {
      this.#driver.feed({ kind: "session", id, input: { kind: "rekey-child", spi } });
    }
    if (associations?.get(spi)?.inheritedAt !== undefined) this.#tellInvalidSpi(home, spi);
  }

  /** Undefined for a home that does not negotiate. */
  statusOf(home: TunnelName): KeyStatus | undefined {
    const entry = this.#homes.get(home);
    if (entry === undefined) return undefined;
    const { sessions, associations, rekeys, since } = entry;
    const uses = associations.size === 0 ? [] : this.#parts.keyed.associations(home);
    return {
      state: associations.size === 0 ? "none" : "established",
      since,
      ikeSas: sessions.size,
      ike: this.#ledger.statuses(sessions),
      associations: associationStatuses(uses, associations),
      rekeys,
    };
  }

  ikeTotals(): IkeTotals {
    return this.#ledger.totals();
  }

  /** Tries again what could not be written. To be called each second. */
  flush(): void {
    this.#parts.memory.flush();
  }

  /** Tells nobody: the homes find out, and a restart is no reason to lose their packets sooner. */
  close(): void {
    this.#former.close();
    this.#driver.close();
  }

  /** Every home hears IKE at port 4500, or where a NAT has that. */
  #tellInvalidSpi(name: TunnelName, spi: number): void {
    const { endpointOf, send } = this.#parts;
    const { address, port } = endpointOf(name) ?? {};
    if (address === undefined) return;
    const message = encodeInvalidSpi(spi);
    for (const each of new Set([port || UDP_ENCAPSULATION_PORT, UDP_ENCAPSULATION_PORT])) {
      send({ message, remote: { address, port: each }, encapsulated: true });
    }
  }

  #findPeer(identity: Identification, wanted: Identification | undefined): PeerPolicy | undefined {
    if (wanted !== undefined && !isSameIdentification(wanted, this.#parts.identity)) {
      return undefined;
    }
    return this.#byIdentity.get(formatIdentification(identity))?.policy;
  }

  #policyOf({ config, credential, trust, childLifetimeMs }: KeyedHome): PeerPolicy {
    const { identity, authLifetime, dns, multicast } = this.#parts;
    const [first] = config.prefixes;
    return {
      identity,
      credential,
      trust,
      link: {
        interfaceId: interfaceIdOf(config.serverLinkLocal),
        peerInterfaceId: interfaceIdOf(config.linkLocal),
        prefixes: config.prefixes,
        dns: config.dns ?? dns,
        dhcp: [],
        // Of a home that does not know RFC 5739: one address of its own.
        ...(first === undefined ? {} : { fallback: { address: firstHost(first), length: 128 } }),
      },
      multicast,
      ...(authLifetime === undefined ? {} : { authLifetime }),
      ...(childLifetimeMs === undefined ? {} : { childLifetimeMs }),
    };
  }

  #claimLink(identity: Identification, requested: Uint8Array): Uint8Array {
    const linkId = this.#links.claim(identity, requested);
    const name = formatIdentification(identity);
    const entry = this.#byIdentity.get(name);
    // Remembered with the SAs that it is for.
    if (entry !== undefined) {
      entry.link = { identity: name, id: Buffer.from(linkId).toString("hex") };
    }
    return linkId;
  }

  #allocateSpi(): number {
    for (;;) {
      const spi = this.#parts.ports.allocateSpi();
      if (!this.#spis.has(spi)) return spi;
    }
  }

  #perform(effect: ResponderEffect): void {
    const { send, sendKeepalive } = this.#parts;
    if (effect.kind === "send") send({ ...effect, remote: effect.path.remote });
    else if (effect.kind === "keepalive") sendKeepalive(effect.path.remote);
    else if (effect.kind === "session") {
      this.#parts.keyLog?.note(effect.effect);
      this.#note(effect.id, effect.effect);
    } else if (effect.kind === "cookie-sent") this.#ledger.cookieSent();
    else this.#refuse(effect.reason);
  }

  /** Strangers set the pace: no more than a debugging line. */
  #refuse(reason: StrangerDrop): void {
    this.#ledger.refuse(reason);
    this.#parts.log.debug({ reason }, "IKE message of a stranger dropped");
  }

  #note(id: SessionId, effect: SessionEffect): void {
    this.#ledger.note(id, effect, this.#parts.clock.wall());
    const proven = this.#bySession.get(id);
    if (effect.kind === "established") this.#established(id, effect.peer);
    else if (effect.kind === "closed") this.#closed(id, effect.reason);
    else if (proven !== undefined) this.#follow(proven, effect);
  }

  #established(id: SessionId, peer: Identification): void {
    const entry = this.#byIdentity.get(formatIdentification(peer));
    if (entry === undefined) return;
    this.#bySession.set(id, { entry, fingerprint: entry.fingerprint });
    entry.sessions.add(id);
    const { authLifetime, clock } = this.#parts;
    entry.until = authLifetime === undefined ? undefined : clock.wall() + authLifetime * 1_000;
  }

  #closed(id: SessionId, reason: CloseReason): void {
    const { log } = this.#parts;
    const { entry } = this.#bySession.get(id) ?? {};
    this.#bySession.delete(id);
    entry?.sessions.delete(id);
    // Strangers can cause it: no more than a debugging line.
    log.debug({ home: nameOf(entry), reason }, "IKE SA closed");
  }

  /** All but the beginning and the end, which are not for it. */
  #follow({ entry, fingerprint }: Proven, effect: SessionEffect): void {
    const { keyed, log } = this.#parts;
    const { name } = entry.home.config;
    // A session may outlive its home for a while; another may be called so by then.
    if (this.#homes.get(name) !== entry) return;
    switch (effect.kind) {
      case "child-created": {
        const { inbound, remoteSelectors } = effect.child;
        const multicast = isMulticast(remoteSelectors) ? "outbound" : undefined;
        keyed.addAssociations(name, { ...effect.child, multicast }, entry.home.softLimit);
        if (effect.outbound === "now") keyed.useAssociations(name, inbound.spi);
        this.#spis.add(inbound.spi);
        if (effect.replaces !== undefined) entry.rekeys += 1;
        const isFirst = entry.associations.size === 0;
        const since = this.#parts.clock.wall();
        if (isFirst) entry.since = since;
        entry.associations.set(inbound.spi, {
          inbound: inbound.spi,
          outbound: effect.child.outbound.spi,
          suite: inbound.suite,
          proof: proofOf(keyOctets(effect.child), fingerprint),
          multicast,
          since,
        });
        this.#remember(entry);
        this.#succeedInherited(entry);
        const fields = { home: name, spi: inbound.spi, suite: inbound.suite };
        log[isFirst ? "info" : "debug"](
          { ...fields, replaces: effect.replaces },
          "keys negotiated",
        );
        const { onKeyed } = this.#parts;
        const isOfLink = multicast === undefined;
        if (isOfLink && effect.replaces === undefined && this.#remote !== undefined) {
          onKeyed(name, this.#remote);
        }
        break;
      }
      case "child-outbound":
        keyed.useAssociations(name, effect.spi);
        break;
      case "child-deleted":
        this.#remove(entry, effect.spi);
        this.#remember(entry);
        break;
      case "peer-moved":
        log.debug({ home: name, effect }, "IKE");
        // The port without encapsulation is another than ESP's.
        if (effect.path.local.port === UDP_ENCAPSULATION_PORT) {
          this.#parts.onSource(name, effect.path.remote);
        }
        break;
      case "child-refused":
      case "dropped":
      case "hint":
        log.debug({ home: name, effect }, "IKE");
        break;
      case "send":
      case "keepalive":
      case "listen":
      case "unlisten":
      case "established":
      case "closed":
      case "ike-rekeyed":
      case "reauthenticate":
      case "keys":
        break;
    }
  }

  /** What an earlier process negotiated is not sent with any more, and soon not received with. */
  #succeedInherited(entry: Entry): void {
    const inherited = [...entry.associations.values()].filter(isInherited);
    if (inherited.length === 0) return;
    this.#former.succeeded(() => {
      for (const { inbound } of inherited) this.#remove(entry, inbound);
      this.#remember(entry);
    });
  }

  #removeInherited(): void {
    for (const [home, entry] of this.#homes) {
      const removed = this.#removeAll(entry, isInherited);
      if (removed === 0) continue;
      this.#remember(entry);
      this.#parts.log.warn(
        { home },
        "the keys of an earlier start are given up, nobody came for new",
      );
    }
  }

  #remember(entry: Entry): void {
    const { home, associations, until, link } = entry;
    const { name } = home.config;
    // Sessions of a home that is no more, or another now, end later.
    if (this.#homes.get(name) !== entry) return;
    const pairs = [...associations.values()].map(
      ({ inbound, outbound, suite, proof, multicast, inheritedAt }) => ({
        ...{ inbound, outbound, suite, proof },
        ...(multicast === undefined ? {} : { multicast }),
        ...(inheritedAt === undefined ? {} : { inheritedAt }),
      }),
    );
    this.#parts.memory.remember({ home: name, pairs, until, link });
  }

  /** Returns how many. */
  #removeAll(entry: Entry, which: (pair: Pair) => boolean = () => true): number {
    const removed = [...entry.associations.values()].filter(which);
    for (const { inbound } of removed) this.#remove(entry, inbound);
    return removed.length;
  }

  #remove(entry: Entry, spi: number): void {
    if (!entry.associations.delete(spi)) return;
    this.#spis.delete(spi);
    if (entry.associations.size === 0) entry.since = this.#parts.clock.wall();
    this.#parts.keyed.removeAssociations(entry.home.config.name, spi);
  }
}

function isInherited({ inheritedAt }: Pair): boolean {
  return inheritedAt !== undefined;
}

function nameOf(entry: Entry | undefined): TunnelName | undefined {
  return entry?.home.config.name;
}

function interfaceIdOf(address: HomeConfig["linkLocal"]): Uint8Array {
  return ipv6Octets(address).slice(INTERFACE_ID);
}
