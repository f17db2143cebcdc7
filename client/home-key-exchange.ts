/**
 * The home's keys and addresses by IKEv2 and RFC 5739: drives the initiator over the transport, hands pairs of SAs to
 * the data plane, and tells the tunnel what the server assigned.
 */

import type { IkeMessage } from "../common/adapters/ike-transport.ts";
import type { KeyLogFile } from "../common/adapters/key-log-file.ts";
import type { Clock, Timer } from "../common/adapters/system-clock.ts";
import { IkeLedger, type IkeTotals } from "../common/control/ike-ledger.ts";
import {
  associationStatuses,
  type KeyStatus,
  type NegotiatedPair,
} from "../common/control/key-status.ts";
import { SUCCESSION_MS } from "../common/ikev2/default-settings.ts";
import { formatIdentification } from "../common/ikev2/identity.ts";
import {
  type AttemptId,
  IkeInitiator,
  type InitiatorEffect,
  type InitiatorInput,
} from "../common/ikev2/ike-initiator.ts";
import type { Assignment } from "../common/ikev2/link.ts";
import { isMulticast } from "../common/ikev2/selectors.ts";
import type {
  CloseReason,
  HomeOptions,
  SessionEffect,
  SessionPorts,
  SessionSettings,
} from "../common/ikev2/session-types.ts";
import type { Ipv4Address } from "../common/ip/address.ts";
import { Driver } from "../common/runtime/drive.ts";
import type { Logger } from "../common/runtime/log.ts";
import { type Instant, later } from "../common/time.ts";
import type { KeyedDataPlane, SoftLimit } from "../common/tunnel/data-plane.ts";
import {
  type Endpoint,
  IKE_PORT,
  type TunnelName,
  UDP_ENCAPSULATION_PORT,
} from "../common/tunnel/tunnel.ts";
import { describeChildRefusal, describeClose } from "./key-problem.ts";

/** The server is not asked more often whether it is there. */
const PROBE_SPACING_MS = 5_000;

/** How long we receive with what a server that has begun anew may still send with: it began to count before us. */
const REMOVAL_MS = SUCCESSION_MS + 5_000;

export interface HomeKeyExchangeParts {
  readonly tunnel: TunnelName;
  readonly server: Ipv4Address;
  /** Our port of IKE without encapsulation. */
  readonly port: number;
  readonly options: HomeOptions;
  readonly settings: SessionSettings;
  readonly ports: SessionPorts;
  readonly softLimit: SoftLimit;
  readonly clock: Clock;
  readonly keyed: KeyedDataPlane;
  readonly send: (message: IkeMessage) => void;
  readonly sendKeepalive: (remote: Endpoint) => void;
  /** Where keys are told to who debugs; absent: nowhere. */
  readonly keyLog?: KeyLogFile | undefined;
  readonly log: Logger;
}

export interface KeyExchangeListeners {
  /** The server gave a link, or a single address if that is all it can. */
  readonly onAssigned: (assignment: Assignment) => void;
  /** There are keys where there were none, or others of a new IKE SA. */
  readonly onKeyed: () => void;
  /** The last keys are gone. */
  readonly onUnkeyed: () => void;
}

export class HomeKeyExchange {
  readonly #parts: HomeKeyExchangeParts;
  readonly #driver: Driver<InitiatorInput, InitiatorEffect>;
  /** By inbound SPI; as many as there are Child SAs. */
  readonly #associations = new Map<number, NegotiatedPair>();
  readonly #ledger = new IkeLedger<AttemptId>();
  readonly #established = new Set<AttemptId>();
  /** Each removes a pair that the server may still send with. */
  readonly #removals = new Set<Timer>();
  #listeners: KeyExchangeListeners | undefined;
  #local: Ipv4Address | undefined;
  #since: number;
  #rekeys = 0;
  #problem: string | undefined;
  #probedAt: Instant | undefined;
  /** Since the latest IKE SA was made. */
  #hasMoved = false;
  /** The latest that has keys for the link; what it is refused beyond them is an SA for multicast. */
  #keyedBy: AttemptId | undefined;
  /** And that was told. */
  #multicastRefused = false;

  constructor(parts: HomeKeyExchangeParts) {
    const { options, settings, ports, clock } = parts;
    this.#parts = parts;
    this.#since = clock.wall();
    const core = new IkeInitiator(options, settings, ports);
    this.#driver = new Driver({ core, clock, perform: (effect) => this.#perform(effect) });
  }

  listen(listeners: KeyExchangeListeners): void {
    this.#listeners = listeners;
  }

  /** Our address towards the server is this now. The first time, the exchange begins. */
  follow(address: Ipv4Address): void {
    if (address === this.#local) return;
    const isFirst = this.#local === undefined;
    this.#local = address;
    if (!isFirst) {
      this.#hasMoved = true;
      this.#driver.feed({ kind: "moved", path: { local: { address, port: this.#parts.port } } });
      return;
    }
    const remote = { address: this.#parts.server, port: IKE_PORT };
    const local = { address, port: this.#parts.port };
    this.#driver.feed({ kind: "start", path: { local, remote } });
  }

  /** The user asks for an announcement: what waits for an answer, or for its next try, does not wait on. */
  hurry(): void {
    this.#driver.feed({ kind: "hurry" });
  }

  receive({ message, remote, encapsulated }: IkeMessage): void {
    const address = this.#local;
    if (address === undefined) return;
    const port = encapsulated ? UDP_ENCAPSULATION_PORT : this.#parts.port;
    const path = { local: { address, port }, remote };
    const wallTime = this.#parts.clock.wall();
    this.#driver.feed({ kind: "message", message, path, encapsulated, wallTime });
  }

  /** Nothing is heard through the tunnel: if the server has begun anew, it will say that it knows no such SA. */
  probe(): void {
    const now = this.#parts.clock.now();
    if (this.#probedAt !== undefined && now < later(this.#probedAt, PROBE_SPACING_MS)) return;
    this.#probedAt = now;
    // Where we are now a NAT may be before us, and ESP has to go in UDP: that is negotiated anew.
    const isLost = this.#hasMoved && !this.#parts.settings.forceEncapsulation;
    this.#driver.feed({ kind: isLost ? "reauthenticate" : "probe" });
  }

  /** The soft limit of a pair of SAs is reached. */
  rekey(spi: number): void {
    this.#driver.feed({ kind: "rekey-child", spi });
  }

  /** Why there are no keys, in words. */
  get problem(): string | undefined {
    return this.#problem;
  }

  status(): KeyStatus {
    const { keyed, tunnel } = this.#parts;
    return {
      state: this.#associations.size === 0 ? "none" : "established",
      since: this.#since,
      ikeSas: this.#established.size,
      ike: this.#ledger.statuses(this.#established),
      associations: associationStatuses(keyed.associations(tunnel), this.#associations),
      rekeys: this.#rekeys,
    };
  }

  ikeTotals(): IkeTotals {
    return this.#ledger.totals();
  }

  /** Tells the server that the home leaves. */
  close(): void {
    this.#listeners = undefined;
    this.#driver.feed({ kind: "close" });
    this.#driver.close();
    for (const timer of this.#removals) timer.cancel();
  }

  #perform(effect: InitiatorEffect): void {
    const { send, sendKeepalive, log } = this.#parts;
    if (effect.kind === "send") send({ ...effect, remote: effect.path.remote });
    else if (effect.kind === "keepalive") sendKeepalive(effect.path.remote);
    else if (effect.kind === "session") {
      this.#parts.keyLog?.note(effect.effect);
      this.#note(effect.id, effect.effect);
    } else log.debug({ retryInMs: Math.round(effect.pauseMs) }, "no IKE SA, trying again");
  }

  #note(id: AttemptId, effect: SessionEffect): void {
    this.#ledger.note(id, effect, this.#parts.clock.wall());
    const { tunnel, keyed, softLimit, log } = this.#parts;
    switch (effect.kind) {
      case "established":
        this.#established.add(id);
        this.#hasMoved = false;
        if (effect.assignment !== undefined) this.#listeners?.onAssigned(effect.assignment);
        break;
      case "child-created": {
        const { inbound, localSelectors } = effect.child;
        const multicast = isMulticast(localSelectors) ? "inbound" : undefined;
        keyed.addAssociations(tunnel, { ...effect.child, multicast }, softLimit);
        if (effect.outbound === "now") keyed.useAssociations(tunnel, inbound.spi);
        if (effect.replaces !== undefined) this.#rekeys += 1;
        const isFirst = this.#associations.size === 0;
        const since = this.#parts.clock.wall();
        this.#associations.set(inbound.spi, { suite: inbound.suite, since });
        const fields = { suite: inbound.suite, replaces: effect.replaces };
        log[isFirst ? "info" : "debug"]({ spi: inbound.spi, ...fields }, "keys negotiated");
        if (multicast !== undefined) {
          this.#multicastRefused = false;
          break;
        }
        this.#keyedBy = id;
        // From a server that has begun anew too: it has not heard yet where we are.
        if (isFirst || effect.replaces === undefined) this.#keyed();
        break;
      }
      case "child-outbound":
        keyed.useAssociations(tunnel, effect.spi);
        break;
      case "child-deleted":
        if (effect.unagreed === true) this.#removeLater(effect.spi);
        else this.#remove(effect.spi);
        break;
      case "child-refused":
        if (effect.rekeyed === undefined && id === this.#keyedBy)
          this.#multicastWasRefused(effect.notifyType);
        else this.#tellProblem(describeChildRefusal(effect.notifyType, this.#identity));
        break;
      case "closed":
        this.#established.delete(id);
        if (!isWanted(effect.reason))
          this.#tellProblem(describeClose(effect.reason, this.#identity));
        break;
      case "hint":
      case "dropped":
      case "reauthenticate":
        log.debug({ effect }, "IKE");
        break;
      case "send":
      case "keepalive":
      case "listen":
      case "unlisten":
      case "ike-rekeyed":
      case "peer-moved":
      case "keys":
        break;
    }
  }

  /** The link is none the worse for it. */
  #multicastWasRefused(notifyType: number): void {
    const { server, log } = this.#parts;
    log[this.#multicastRefused ? "debug" : "info"](
      { server, notifyType },
      "the server gives no SA for multicast",
    );
    this.#multicastRefused = true;
  }

  get #identity(): string {
    return formatIdentification(this.#parts.options.identity);
  }

  #removeLater(spi: number): void {
    const { clock } = this.#parts;
    const timer = clock.at(later(clock.now(), REMOVAL_MS), () => {
      this.#removals.delete(timer);
      this.#remove(spi);
    });
    this.#removals.add(timer);
  }

  #remove(spi: number): void {
    this.#parts.keyed.removeAssociations(this.#parts.tunnel, spi);
    const wasKnown = this.#associations.delete(spi);
    if (!wasKnown || this.#associations.size > 0) return;
    this.#since = this.#parts.clock.wall();
    this.#listeners?.onUnkeyed();
  }

  #keyed(): void {
    this.#since = this.#parts.clock.wall();
    this.#problem = undefined;
    this.#listeners?.onKeyed();
  }

  /** Once, until there are keys. */
  #tellProblem(problem: string): void {
    if (this.#problem === problem || this.#associations.size > 0) return;
    this.#problem = problem;
    this.#parts.log.warn({ server: this.#parts.server, problem }, "no keys negotiated");
  }
}

function isWanted({ kind }: CloseReason): boolean {
  return kind === "asked" || kind === "lost-by-peer";
}
