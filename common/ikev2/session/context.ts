/**
 * What the exchanges of one session share: who we are, the way to the peer, the SAs, what is still to be asked, and
 * the effects that have come together. The exchanges, each a state machine in a file of its own, act on it.
 */

import { type Instant, later } from "../../time.ts";
import type { ChildMaker, ChildSelectors } from "../child-sa.ts";
import type { Assignment } from "../link.ts";
import type { NatVerdict, Path } from "../nat-detection.ts";
import { compareOctets, MULTICAST } from "../selectors.ts";
import type {
  ChildSa,
  CloseReason,
  PeerPolicy,
  SessionEffect,
  SessionPorts,
  SessionSettings,
} from "../session-types.ts";
import { ExchangeType } from "../wire/header.ts";
import type { Payload } from "../wire/message.ts";
import { ChildSas } from "./child-sas.ts";
import { IkeSas } from "./ike-sas.ts";
import { PeerPath } from "./peer-path.ts";
import type { ChildRecord, PendingExchange, Phase, SaRecord, SessionRole } from "./state.ts";
import { TaskQueue } from "./task-queue.ts";

/** Octets; at least half the PRF's key and 128 bits, RFC 7296 section 2.10. */
export const NONCE_LENGTH = 32;
/** Of a lifetime, by which either end may come earlier. */
const LIFETIME_JITTER = 0.1;

export class SessionContext {
  readonly role: SessionRole;
  readonly settings: SessionSettings;
  readonly ports: SessionPorts;
  readonly peer: PeerPath;
  readonly ikeSas: IkeSas;
  readonly children: ChildSas;
  readonly tasks: TaskQueue;
  phase: Phase = { kind: "idle" };
  nat: NatVerdict;
  /** A gateway's, of the home it has authenticated. */
  policy: PeerPolicy | undefined;
  assignment: Assignment | undefined;
  /** What a further Child SA may have. */
  allowed: ChildSelectors = { local: [], remote: [] };
  /** A gateway's: when it stops believing a home that has not authenticated again (RFC 4478). */
  endsAt: Instant | undefined;
  heardAt: Instant | undefined;
  /** What has to wait until the answer is on its way: the end of the session, or of a replaced IKE SA. */
  closing: CloseReason | undefined;
  gone: SaRecord | undefined;
  #effects: SessionEffect[] = [];

  constructor(
    role: SessionRole,
    at: { readonly path: Path; readonly encapsulated: boolean },
    has: { readonly settings: SessionSettings; readonly ports: SessionPorts },
  ) {
    const { settings, ports } = has;
    const emit = (effect: SessionEffect) => this.emit(effect);
    this.role = role;
    this.settings = settings;
    this.ports = ports;
    this.peer = new PeerPath(at, emit);
    this.ikeSas = new IkeSas(settings, ports, emit);
    this.children = new ChildSas(emit);
    this.tasks = new TaskQueue(ports.random);
  }

  emit(effect: SessionEffect): void {
    this.#effects.push(effect);
  }

  /** Milliseconds; undefined: they may grow as old as they like. */
  get childLifetimeMs(): number | undefined {
    const { role } = this;
    return role.kind === "home" ? role.options.childLifetimeMs : this.policy?.childLifetimeMs;
  }

  addChild(
    sa: ChildSa,
    how: { readonly replaces?: number | undefined; readonly outbound: "now" | "deferred" },
    now: Instant,
  ): ChildRecord {
    const lifetimeMs = this.childLifetimeMs;
    const [jitter = 0] = lifetimeMs === undefined ? [] : this.ports.random(1);
    // Not both ends at the same time.
    const rekeyAt =
      lifetimeMs === undefined
        ? undefined
        : later(now, lifetimeMs * (1 - LIFETIME_JITTER * (jitter / 256)));
    return this.children.add(sa, { ...how, rekeyAt });
  }

  takeEffects(): SessionEffect[] {
    const effects = this.#effects;
    this.#effects = [];
    return effects;
  }

  /** Asks the peer. `exchange` is what the answer will need; there must be no other on this IKE SA. */
  request(
    record: SaRecord,
    exchange: PendingExchange,
    payloads: readonly Payload[],
    now: Instant,
  ): void {
    record.exchange = exchange;
    this.peer.send(record.sa.request(EXCHANGE_TYPES[exchange.kind], payloads, now));
  }

  close(reason: CloseReason): void {
    const { phase } = this;
    if (phase.kind === "closed") return;
    this.phase = { kind: "closed" };
    this.children.removeAll(reason.kind === "lost-by-peer" ? { unagreed: true } : {});
    this.ikeSas.forgetAll();
    if (phase.kind === "init") this.emit({ kind: "unlisten", spi: phase.start.spi });
    this.tasks.clear();
    this.emit({ kind: "closed", reason });
  }

  get linkId(): Uint8Array | undefined {
    return this.assignment?.kind === "link" ? this.assignment.linkId : undefined;
  }

  /** Without the Link ID it is about the real interface, for which nobody may ask anything (RFC 5739 section 4.3). */
  isOfLink(linkId: Uint8Array | undefined): boolean {
    const ours = this.linkId;
    return ours === undefined || (linkId !== undefined && compareOctets(ours, linkId) === 0);
  }

  get allowedFurther(): ChildSelectors {
    const { local, remote } = this.allowed;
    if (this.policy?.multicast !== true) return this.allowed;
    return { local, remote: [...remote, MULTICAST] };
  }

  /** What a Child SA is made with. */
  childMaker({ sa }: SaRecord): ChildMaker {
    const isTranslated = this.nat?.local === true || this.nat?.remote === true;
    return {
      suites: this.settings.childSuites,
      random: this.ports.random,
      allocateSpi: this.ports.allocateSpi,
      prf: sa.suite.prf,
      d: sa.keys.d,
      encapsulation: isTranslated || this.settings.forceEncapsulation ? "udp" : "esp",
    };
  }
}

const EXCHANGE_TYPES: Readonly<Record<PendingExchange["kind"], number>> = {
  auth: ExchangeType.ikeAuth,
  child: ExchangeType.createChildSa,
  ike: ExchangeType.createChildSa,
  "delete-children": ExchangeType.informational,
  "delete-ike": ExchangeType.informational,
  information: ExchangeType.informational,
};
