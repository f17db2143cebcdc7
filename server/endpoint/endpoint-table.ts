/**
 * Who is where: the IPv4 endpoints of all homes of a server. One core, one deadline, whatever the number of homes.
 *
 * In the order things happen:
 *
 * A home's advertisement was accepted: ESP has authenticated it and named the tunnel, RFC 4861 and the address
 * policy have been applied. What is left to decide needs to know all homes, and the past.
 *
 * Too many advertisements of one home are refused, by a token bucket for each: the others do not notice.
 *
 * The address that the home has already is a refresh. Nothing is rewritten, but a probe is sent: a client that
 * announces again doubts that it can be reached, and a home that is held needs only to answer.
 *
 * The confirmed address of another home is refused, or the one could take the other's traffic (it could not read it,
 * but it could stop it). Homes behind one NAT have different ports, and may have one address. An ISP does give one customer's old
 * address to the next, though: so the present holder is probed at once, and if it does not answer, it is
 * held and owns the address no more. The newcomer's client repeats its advertisement, and then succeeds.
 *
 * Any other address is taken: the data plane is told, the journal is told, and a probe is sent. `reachability.ts` has
 * what follows. An address is *owned* from the first answer until the home moves or is held. Two homes that both
 * claim an unowned address are both probed there; the first to answer owns it, the other is held.
 *
 * Restored endpoints, read from the journal after a restart, may be hours old: they are held, and probed at a pace
 * that neither floods the uplink nor brings all answers at once.
 *
 * Cost: an advertisement touches its own home, one entry of the address map and one path of the deadline heap.
 * The tables grow with configured homes only, never by what strangers send.
 */

import type { Ipv4Address } from "../../common/ip/address.ts";
import { type RateLimit, TokenBucket } from "../../common/rate-limit.ts";
import { type Instant, later } from "../../common/time.ts";
import {
  type Endpoint,
  type TunnelName,
  UDP_ENCAPSULATION_PORT,
} from "../../common/tunnel/tunnel.ts";
import { DeadlineHeap, NOT_WAITING, type Waiting } from "./deadline-heap.ts";
import { Reachability, type ReachabilityState, type ReachabilityStep } from "./reachability.ts";

const DEFAULT_ADVERTISEMENT_LIMIT: RateLimit = { rate: 10, burst: 20 };
/** Between the first probes to restored endpoints: 10,000 homes are asked in 10 s. */
const RESTORE_SPACING_MS = 1;
/**
 * Of all homes' probes those that are repeated within a second. When thousands of homes come at once their answers are
 * late, not lost, and asking again would make them later.
 */
const REPEAT_LIMIT: RateLimit = { rate: 100, burst: 100 };
/** Probes of our own that may still be missing from the data plane's count of sent packets. */
const MOST_UNCOUNTED_PROBES = 3;

/** Why an accepted advertisement moved nothing; the counters' names. */
export type EndpointRefusal =
  /** The home advertises faster than its rate limit. */
  | "advertisement-rate"
  /** The address is the confirmed endpoint of another home. */
  | "endpoint-in-use";

export type EndpointInput =
  /** A home is configured. Its data plane sends everything until told to hold. */
  { readonly kind: "add"; readonly tunnel: TunnelName } | HomeInput;

/** What happens to a home that is in the table. */
type HomeInput =
  /** A home is no more; all that was known of it is forgotten. */
  | { readonly kind: "remove"; readonly tunnel: TunnelName }
  /** Where the journal says the home was. Ignored if the home has been heard of since. */
  | { readonly kind: "restored"; readonly tunnel: TunnelName; readonly endpoint: Endpoint }
  /** An accepted advertisement states this address. Without a port: the one of RFC 3948. */
  | {
      readonly kind: "moved";
      readonly tunnel: TunnelName;
      readonly address: Ipv4Address;
      readonly port?: number;
    }
  /**
   * The home answered a probe. With `move` (the probe effect's) a late answer to a probe that went to an earlier
   * endpoint is told apart and ignored; without, any answer is believed.
   */
  | { readonly kind: "answered"; readonly tunnel: TunnelName; readonly move?: number }
  /** An authentic packet came through the tunnel. */
  | { readonly kind: "heard"; readonly tunnel: TunnelName }
  /**
   * The data plane's count of packets sent through the tunnel, as often as is convenient (10 s is). Its growth beyond our
   * own probes is traffic.
   */
  | { readonly kind: "traffic"; readonly tunnel: TunnelName; readonly sentPackets: number };

export type EndpointEffect =
  | { readonly kind: "set-remote"; readonly tunnel: TunnelName; readonly remote: Endpoint }
  | { readonly kind: "persist"; readonly tunnel: TunnelName; readonly endpoint: Endpoint }
  /** Ask through the tunnel. `move` is different after each move; put it into the probe if it has room. */
  | { readonly kind: "probe"; readonly tunnel: TunnelName; readonly move: number }
  /** Send nothing but probes. */
  | { readonly kind: "hold"; readonly tunnel: TunnelName }
  /** Send everything. */
  | { readonly kind: "release"; readonly tunnel: TunnelName }
  /** The home answered from where it said. Once per move; `elapsedMs` since its advertisement. */
  | {
      readonly kind: "confirmed";
      readonly tunnel: TunnelName;
      readonly endpoint: Endpoint;
      readonly elapsedMs: number;
    }
  | {
      readonly kind: "refused";
      readonly tunnel: TunnelName;
      readonly reason: EndpointRefusal;
      readonly address: Ipv4Address;
    };

export interface EndpointStatus {
  /** `none`: the home was never heard of. */
  readonly state: "none" | ReachabilityState;
  readonly endpoint: Endpoint | undefined;
  /** When the state was entered. */
  readonly since: Instant;
  /** From the latest confirmed move's advertisement to the answer. */
  readonly lastMoveMs: number | undefined;
  /** Accepted moves, since the home was added. */
  readonly moves: number;
  readonly refused: Readonly<Record<EndpointRefusal, number>>;
}

export interface EndpointTableOptions {
  /** Each home's; default 10 a second, 20 at once. */
  readonly advertisementLimit?: RateLimit;
  /** Several homes may be confirmed at one address. Default false. */
  readonly sharedEndpoints?: boolean;
}

/** One home. Flat and small: there are thousands. */
interface Home extends Waiting {
  readonly tunnel: TunnelName;
  readonly addedAt: Instant;
  readonly bucket: TokenBucket;
  endpoint: Endpoint | undefined;
  reachability: Reachability | undefined;
  moves: number;
  /** Of the move that is not confirmed yet. */
  movedAt: Instant | undefined;
  lastMoveMs: number | undefined;
  refusedForRate: number;
  refusedForUse: number;
  sentPackets: number;
  uncountedProbes: number;
}

export class EndpointTable {
  readonly #advertisementLimit: RateLimit;
  readonly #sharedEndpoints: boolean;
  readonly #homes = new Map<TunnelName, Home>();
  /** Confirmed homes by address and port. Empty when those may be shared. At most one entry a home. */
  readonly #owners = new Map<string, Home>();
  readonly #waiting = new DeadlineHeap<Home>();
  readonly #repeats = new TokenBucket(REPEAT_LIMIT);
  /** When the next restored home may be probed. */
  #restoreSlot: Instant | undefined;

  constructor(options: EndpointTableOptions = {}) {
    this.#advertisementLimit = options.advertisementLimit ?? DEFAULT_ADVERTISEMENT_LIMIT;
    this.#sharedEndpoints = options.sharedEndpoints ?? false;
  }

  /** When to call `handleDeadline`, if nothing else happens first. */
  get deadline(): Instant | undefined {
    return this.#waiting.first?.wakeAt;
  }

  /** Undefined for a home that is not in the table. */
  statusOf(tunnel: TunnelName): EndpointStatus | undefined {
    const home = this.#homes.get(tunnel);
    if (home === undefined) return undefined;
    const { endpoint, reachability, lastMoveMs, moves } = home;
    return {
      state: reachability?.state ?? "none",
      endpoint,
      since: reachability?.since ?? home.addedAt,
      lastMoveMs,
      moves,
      refused: {
        "advertisement-rate": home.refusedForRate,
        "endpoint-in-use": home.refusedForUse,
      },
    };
  }

  /** Inputs for homes that are not in the table do nothing: after a reload some are still on their way. */
  handle(input: EndpointInput, now: Instant): EndpointEffect[] {
    const effects: EndpointEffect[] = [];
    const home = this.#homes.get(input.tunnel);
    if (input.kind === "add") {
      if (home === undefined) this.#homes.set(input.tunnel, this.#newHome(input.tunnel, now));
    } else if (home !== undefined) {
      this.#handleFor(home, input, now, effects);
    }
    return effects;
  }

  handleDeadline(now: Instant): EndpointEffect[] {
    const effects: EndpointEffect[] = [];
    for (;;) {
      const home = this.#waiting.first;
      if (home === undefined || home.wakeAt > now) return effects;
      const steps = home.reachability?.handleDeadline(now);
      const isTooMuch = steps?.includes("repeat") === true && !this.#repeats.take(now);
      this.#follow(home, isTooMuch ? undefined : steps, effects);
    }
  }

  #handleFor(home: Home, input: HomeInput, now: Instant, effects: EndpointEffect[]): void {
    switch (input.kind) {
      case "remove":
        this.#disown(home);
        this.#waiting.set(home, undefined);
        this.#homes.delete(home.tunnel);
        return;
      case "restored":
        this.#restore(home, input.endpoint, now, effects);
        return;
      case "moved":
        this.#advertised(home, input.address, input.port ?? UDP_ENCAPSULATION_PORT, now, effects);
        return;
      case "answered":
        if (input.move === undefined || input.move === home.moves) {
          this.#answered(home, now, effects);
        }
        return;
      case "heard":
        this.#follow(home, home.reachability?.heard(now), effects);
        return;
      case "traffic":
        countTraffic(home, input.sentPackets, now);
        this.#follow(home, undefined, effects);
        return;
    }
  }

  #restore(home: Home, endpoint: Endpoint, now: Instant, effects: EndpointEffect[]): void {
    if (home.endpoint !== undefined) return;
    const slot = later(this.#restoreSlot ?? now, RESTORE_SPACING_MS);
    this.#restoreSlot = slot > now ? slot : now;
    home.endpoint = endpoint;
    home.reachability = Reachability.held(now, this.#restoreSlot);
    const { tunnel } = home;
    // Held before there is anywhere to send to: not one packet goes to a stranger.
    effects.push({ kind: "hold", tunnel }, { kind: "set-remote", tunnel, remote: endpoint });
    this.#follow(home, undefined, effects);
  }

  #advertised(
    home: Home,
    address: Ipv4Address,
    port: number,
    now: Instant,
    effects: EndpointEffect[],
  ): void {
    if (!home.bucket.take(now)) {
      home.refusedForRate += 1;
      effects.push(refused(home, "advertisement-rate", address));
      return;
    }
    if (home.endpoint?.address === address && home.endpoint.port === port) {
      this.#follow(home, home.reachability?.refreshed(now), effects);
      return;
    }
    const owner = this.#owners.get(placeOf({ address, port }));
    if (owner !== undefined && owner !== home) {
      this.#refuseForUse(home, owner, address, now, effects);
      return;
    }
    this.#move(home, { address, port }, now, effects);
  }

  #move(home: Home, endpoint: Endpoint, now: Instant, effects: EndpointEffect[]): void {
    const { tunnel } = home;
    this.#disown(home);
    home.endpoint = endpoint;
    home.moves += 1;
    home.movedAt = now;
    home.reachability ??= Reachability.unproven(now);
    effects.push({ kind: "set-remote", tunnel, remote: endpoint });
    this.#follow(home, home.reachability.moved(now), effects);
    // Last: the home's connections wait for the others.
    effects.push({ kind: "persist", tunnel, endpoint });
  }

  /** The claim is not granted now; it is when the owner does not answer. */
  #refuseForUse(
    home: Home,
    owner: Home,
    address: Ipv4Address,
    now: Instant,
    effects: EndpointEffect[],
  ): void {
    home.refusedForUse += 1;
    effects.push(refused(home, "endpoint-in-use", address));
    this.#follow(owner, owner.reachability?.challenged(now), effects);
  }

  #answered(home: Home, now: Instant, effects: EndpointEffect[]): void {
    const { tunnel, endpoint, reachability, movedAt } = home;
    if (endpoint === undefined || reachability === undefined) return;
    const owner = this.#owners.get(placeOf(endpoint));
    if (owner !== undefined && owner !== home) {
      this.#refuseForUse(home, owner, endpoint.address, now, effects);
      return;
    }
    if (!this.#sharedEndpoints) this.#owners.set(placeOf(endpoint), home);
    this.#follow(home, reachability.answered(now), effects);
    if (movedAt === undefined) return;
    home.movedAt = undefined;
    home.lastMoveMs = now - movedAt;
    effects.push({ kind: "confirmed", tunnel, endpoint, elapsedMs: home.lastMoveMs });
  }

  /** Turns a home's steps into effects and puts it where its new deadline belongs. */
  #follow(
    home: Home,
    steps: readonly ReachabilityStep[] | undefined,
    effects: EndpointEffect[],
  ): void {
    const { tunnel } = home;
    for (const step of steps ?? []) {
      switch (step) {
        case "probe":
        case "repeat":
          home.uncountedProbes = Math.min(home.uncountedProbes + 1, MOST_UNCOUNTED_PROBES);
          effects.push({ kind: "probe", tunnel, move: home.moves });
          break;
        case "hold":
          this.#disown(home);
          effects.push({ kind: "hold", tunnel });
          break;
        case "release":
          effects.push({ kind: "release", tunnel });
          break;
      }
    }
    this.#waiting.set(home, home.reachability?.deadline);
  }

  #disown(home: Home): void {
    if (home.endpoint === undefined) return;
    const place = placeOf(home.endpoint);
    if (this.#owners.get(place) === home) this.#owners.delete(place);
  }

  #newHome(tunnel: TunnelName, now: Instant): Home {
    return {
      tunnel,
      addedAt: now,
      bucket: new TokenBucket(this.#advertisementLimit),
      endpoint: undefined,
      reachability: undefined,
      moves: 0,
      movedAt: undefined,
      lastMoveMs: undefined,
      refusedForRate: 0,
      refusedForUse: 0,
      sentPackets: 0,
      uncountedProbes: 0,
      wakeAt: now,
      place: NOT_WAITING,
    };
  }
}

/**
 * Our own probes are in the data plane's count too. Were they taken for traffic, each would cause the next, and a
 * home that sleeps would be woken for ever.
 */
function countTraffic(home: Home, sentPackets: number, now: Instant): void {
  const grown = Math.max(0, sentPackets - home.sentPackets);
  const probes = Math.min(home.uncountedProbes, grown);
  home.sentPackets = sentPackets;
  home.uncountedProbes -= probes;
  if (grown > probes) home.reachability?.traffic(now);
}

/** Homes behind one NAT have one address, and a port each; all others have the port of RFC 3948. */
function placeOf({ address, port }: Endpoint): string {
  return `${address}:${port}`;
}

function refused(home: Home, reason: EndpointRefusal, address: Ipv4Address): EndpointEffect {
  return { kind: "refused", tunnel: home.tunnel, reason, address };
}
