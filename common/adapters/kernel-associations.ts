/**
 * The negotiated pairs of SAs of one tunnel of the kernel data plane: which there are, which is sent with, and what
 * went through those that are gone. The states themselves are made and removed by the plane.
 */

import { IPV4_HEADER_LENGTH } from "../ip/ipv4.ts";
import type { AssociationUse, SoftLimit } from "../tunnel/data-plane.ts";
import type { Encapsulation, MulticastDirection, SaKeys } from "../tunnel/tunnel.ts";
import { successorOf } from "../xfrm/plan.ts";
import type { PresentState, StateFailures, XfrmState } from "../xfrm/state-message.ts";
import { type NegotiatedXfrm, type StateKeys, stateKeys } from "../xfrm/tunnel-xfrm.ts";

interface Passed {
  readonly packets: number;
  readonly octets: number;
}

const NOTHING: Passed = { packets: 0, octets: 0 };
const NO_FAILURES: StateFailures = { tooOld: 0, replayed: 0, notAuthentic: 0 };

/** Of a pair that an earlier process negotiated: lower than any other's. */
const INHERITED = 0;

/** A pair whose states stand already. */
export interface StandingPair {
  readonly inbound: PresentState;
  readonly outbound: PresentState;
  readonly multicast: MulticastDirection | undefined;
  readonly limit: SoftLimit;
}

interface PairKeys {
  readonly inbound: StateKeys;
  readonly outbound: StateKeys;
  readonly encapsulation: Encapsulation;
  /** Undefined: the link's. */
  readonly multicast: MulticastDirection | undefined;
}

export class KernelPair {
  /** Higher than those of the pairs before it. */
  readonly generation: number;
  readonly inbound: StateKeys;
  readonly outbound: StateKeys;
  readonly encapsulation: Encapsulation;
  readonly multicast: MulticastDirection | undefined;
  readonly softLimit: SoftLimit;
  softLimitTold = false;
  /** The outbound state when it was last taken out: it goes on from there, or a number would be used twice. */
  left: PresentState | undefined;
  /** As last read. */
  sent = NOTHING;
  received = NOTHING;
  failures = NO_FAILURES;
  lastNumber = 0;

  constructor(generation: number, keys: PairKeys, softLimit: SoftLimit) {
    this.generation = generation;
    this.encapsulation = keys.encapsulation;
    this.multicast = keys.multicast;
    this.inbound = keys.inbound;
    this.outbound = keys.outbound;
    this.softLimit = softLimit;
  }

  get isUsedUp(): boolean {
    const { packets, octets } = this.softLimit;
    return this.lastNumber >= packets || this.sent.octets >= octets;
  }

  /** `state`, or what follows it when the pair has been sent with before. */
  resumed(state: XfrmState): XfrmState {
    return this.left === undefined ? state : successorOf(this.left, state);
  }

  countSent({ current, replay }: PresentState): void {
    this.sent = passedThrough(current);
    this.lastNumber = replay?.sent ?? 0;
  }

  countReceived({ current, failures }: PresentState): void {
    this.received = { packets: current.packets, octets: current.octets };
    this.failures = failures;
  }
}

export class KernelAssociations {
  readonly #pairs = new Map<number, KernelPair>();
  #current: KernelPair | undefined;
  #currentMulticast: KernelPair | undefined;
  #generations = 0;
  /** Of pairs that are gone. */
  #sent = NOTHING;
  #received = NOTHING;
  #failures = NO_FAILURES;

  /** What is sent with: at most one pair of the link's, and one for multicast. */
  get sending(): readonly KernelPair[] {
    return [this.#current, this.#currentMulticast].filter((pair) => pair !== undefined);
  }

  /** The pair of an SPI of either direction. */
  find(spi: number): KernelPair | undefined {
    const pairs = [...this.#pairs.values()];
    return this.#pairs.get(spi) ?? pairs.find(({ outbound }) => outbound.spi === spi);
  }

  add(keys: SaKeys & { encapsulation: Encapsulation }, softLimit: SoftLimit): void {
    this.#generations += 1;
    const { encapsulation, multicast } = keys;
    const states = { inbound: stateKeys(keys.inbound), outbound: stateKeys(keys.outbound) };
    const pair = { ...states, encapsulation, multicast };
    this.#take(new KernelPair(this.#generations, pair, softLimit));
  }

  inherit({ inbound, outbound, multicast, limit }: StandingPair): void {
    const keys: PairKeys = {
      inbound: keysOf(inbound),
      outbound: keysOf(outbound),
      encapsulation: outbound.encapsulation === undefined ? "esp" : "udp",
      multicast,
    };
    this.#take(new KernelPair(INHERITED, keys, limit));
  }

  #take(pair: KernelPair): void {
    this.#pairs.set(pair.inbound.spi, pair);
    if (this.#sentWith(pair) === undefined) this.use(pair);
  }

  /** Never back to an older one, and never with one that receives multicast. */
  use(pair: KernelPair): void {
    if (!this.isNewer(pair)) return;
    if (pair.multicast === undefined) this.#current = pair;
    else this.#currentMulticast = pair;
  }

  /** Whether it can be used instead of what is sent with. */
  isNewer(pair: KernelPair): boolean {
    const current = this.#sentWith(pair);
    const isSent = pair.multicast !== "inbound";
    return isSent && (current === undefined || pair.generation > current.generation);
  }

  /** The one of its kind. */
  #sentWith({ multicast }: KernelPair): KernelPair | undefined {
    return multicast === undefined ? this.#current : this.#currentMulticast;
  }

  remove(pair: KernelPair): void {
    this.#pairs.delete(pair.inbound.spi);
    this.#sent = sum(this.#sent, pair.sent);
    this.#received = sum(this.#received, pair.received);
    this.#failures = sumOfFailures(this.#failures, pair.failures);
    const next = [...this.#pairs.values()].findLast(
      ({ multicast }) => multicast === pair.multicast,
    );
    if (this.#current === pair) this.#current = next;
    if (this.#currentMulticast === pair) this.#currentMulticast = next;
  }

  /** What is to stand. */
  get wanted(): NegotiatedXfrm {
    const sending = ({ outbound, encapsulation, multicast, softLimit }: KernelPair) => ({
      ...outbound,
      encapsulation,
      multicast,
      lifetime: lifetimeOf(softLimit),
    });
    return {
      outbound: this.#current && sending(this.#current),
      multicast: this.#currentMulticast && sending(this.#currentMulticast),
      inbound: [...this.#pairs.values()].map(({ inbound, encapsulation, multicast }) => ({
        ...inbound,
        encapsulation,
        multicast,
      })),
    };
  }

  get uses(): AssociationUse[] {
    return [...this.#pairs.values()].map((pair) => ({
      spi: pair.inbound.spi,
      isSentWith: pair === this.#sentWith(pair),
      packetsLeft: Math.max(0, pair.softLimit.packets - pair.lastNumber),
      octetsLeft: Math.max(0, pair.softLimit.octets - pair.sent.octets),
      multicast: pair.multicast,
    }));
  }

  /** All that passed, through pairs that are gone too. */
  get totals(): { sent: Passed; received: Passed; failures: StateFailures } {
    let totals = { sent: this.#sent, received: this.#received, failures: this.#failures };
    for (const { sent, received, failures } of this.#pairs.values()) {
      totals = {
        sent: sum(totals.sent, sent),
        received: sum(totals.received, received),
        failures: sumOfFailures(totals.failures, failures),
      };
    }
    return totals;
  }
}

/** The kernel counts what it sends with the outer IPv4 header. */
export function passedThrough({ packets, octets }: Passed): Passed {
  return { packets, octets: Math.max(0, octets - packets * IPV4_HEADER_LENGTH) };
}

function keysOf({ spi, flags, algorithms }: XfrmState): StateKeys {
  return { spi, flags, algorithms };
}

function lifetimeOf({ packets, octets }: SoftLimit) {
  return { softPackets: packets, softOctets: octets };
}

function sum(one: Passed, other: Passed): Passed {
  return { packets: one.packets + other.packets, octets: one.octets + other.octets };
}

function sumOfFailures(one: StateFailures, other: StateFailures): StateFailures {
  return {
    tooOld: one.tooOld + other.tooOld,
    replayed: one.replayed + other.replayed,
    notAuthentic: one.notAuthentic + other.notAuthentic,
  };
}
