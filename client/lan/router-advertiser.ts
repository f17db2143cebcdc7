/**
 * Tells the hosts of one LAN what they may use, and stops telling it when it is no longer true. RFC 4861 section 6.2.
 *
 * In the order things happen:
 *
 * Before the tunnel is up for the first time nothing is said: hosts that get addresses which lead nowhere try them
 * first and wait. When the server has confirmed the home, Router Advertisements begin: three at short distances, then
 * one every 200 to 600 s at random, and answers to those who ask.
 *
 * The tunnel may be away for a while, since homes change their address and lines fail. That is not told: addresses that
 * come and go do more harm than packets that wait. But when it has been away for long (`deadAfterMs`), the hosts are
 * told to look elsewhere: router lifetime, prefix lifetimes and DNS lifetime 0. They are told again and again, since who
 * slept has not heard it. When the tunnel is back, so is everything.
 *
 * A prefix that the home has no longer is withdrawn by lifetime 0 for as long as a host may still believe in it
 * (RFC 9096 section 3.5). Hosts do not shorten what is left of a valid lifetime at a stranger's word (RFC 4862 section
 * 5.5.3), but they stop making new connections from the prefix at once.
 *
 * On a clean stop one last advertisement says that we are no router any more; the addresses stay valid, deprecated.
 * It does not wait for its turn, as RFC 4861 would have it, for nobody would be there to send it then.
 *
 * Who solicits gets an answer of its own, as RFC 7772 section 5 wants it for the sake of sleeping neighbours; who
 * has no address yet, and more hosts at a time than a home has, get one to all.
 */

import {
  ALL_NODES,
  formatIpv6Prefix,
  type Ipv6Address,
  type Ipv6Prefix,
  isLinkLocal,
} from "../../common/ip/address.ts";
import type { NdOption } from "../../common/nd/option.ts";
import type { RouterAdvertisement } from "../../common/nd/router-advertisement.ts";
import {
  mtuOption,
  prefixInformationOption,
  recursiveDnsServersOption,
  sourceLinkLayerOption,
} from "../../common/nd/router-option.ts";
import { earliest, type Instant, later } from "../../common/time.ts";

/** MaxRtrAdvInterval and MinRtrAdvInterval, defaults of RFC 4861 section 6.2.1. */
const LONGEST_INTERVAL_MS = 600_000;
const SHORTEST_INTERVAL_MS = 200_000;
/** RFC 4861 section 10. */
const MAX_INITIAL_RTR_ADVERT_INTERVAL_MS = 16_000;
const MAX_INITIAL_RTR_ADVERTISEMENTS = 3;
const MIN_DELAY_BETWEEN_RAS_MS = 3_000;
const MAX_RA_DELAY_TIME_MS = 500;
/** Seconds; three of the longest intervals, AdvDefaultLifetime in RFC 4861 section 6.2.1. RDNSS: RFC 8106 section 5.1. */
export const ROUTER_LIFETIME = 1_800;
/** Seconds, RFC 9096 section 3.4: a host that missed a withdrawal is wrong for no longer than this. */
export const PREFERRED_LIFETIME = 2_700;
export const VALID_LIFETIME = 5_400;

/** What a host puts into its packets, as everywhere. */
const CURRENT_HOP_LIMIT = 64;
/** Ours: bounds what strangers on the LAN can make us remember. */
const MOST_WAITING = 32;

export type RouterAdvertiserInput =
  /** The LAN's interface can send, or it can not. `linkLayerAddress` is its own. */
  | { readonly kind: "link"; readonly usable: true; readonly linkLayerAddress: Uint8Array }
  | { readonly kind: "link"; readonly usable: false }
  /** Whether the server confirms us. */
  | { readonly kind: "tunnel"; readonly up: boolean }
  /** The LAN's prefixes from now on. */
  | { readonly kind: "prefixes"; readonly prefixes: readonly Ipv6Prefix[] }
  /** DNS servers that hosts may ask; may be empty. */
  | { readonly kind: "dns"; readonly servers: readonly Ipv6Address[] }
  /** The tunnel's, in octets. */
  | { readonly kind: "mtu"; readonly mtu: number }
  /** A Router Solicitation that may be answered. */
  | { readonly kind: "solicited"; readonly source: Ipv6Address }
  /** The daemon ends. */
  | { readonly kind: "stop" };

export type RouterAdvertiserEffect =
  | {
      readonly kind: "send";
      readonly destination: Ipv6Address;
      readonly advertisement: RouterAdvertisement;
    }
  /** For the log: hosts are told to use the tunnel. */
  | { readonly kind: "advertising" }
  /** For the log: hosts are told not to use it any more. */
  | { readonly kind: "withdrawn"; readonly downForMs: number };

export interface RouterAdvertiserOptions {
  /** From 0 to less than 1. */
  readonly random: () => number;
  readonly prefixes: readonly Ipv6Prefix[];
  /** What hosts may still have from before. */
  readonly former?: readonly FormerPrefix[];
  /** DNS servers that hosts may ask; may be empty. */
  readonly dns: readonly Ipv6Address[];
  /** The tunnel's, in octets. */
  readonly mtu: number;
  /** After how long without tunnel hosts are told to look elsewhere; 0: never. */
  readonly deadAfterMs: number;
}

/** A prefix that hosts may believe in until then. */
export interface FormerPrefix {
  readonly prefix: Ipv6Prefix;
  readonly until: Instant;
}

type Phase =
  | { readonly kind: "silent" }
  | { readonly kind: "advertising"; readonly downSince: Instant | undefined }
  | { readonly kind: "withdrawn" };

export class RouterAdvertiser {
  readonly #options: RouterAdvertiserOptions;
  #phase: Phase = { kind: "silent" };
  /** Of the interface, while it can send. */
  #linkLayerAddress: Uint8Array | undefined;
  #prefixes: readonly Ipv6Prefix[];
  readonly #former = new Map<string, FormerPrefix>();
  #dns: readonly Ipv6Address[];
  #mtu: number;
  #nextToAll: Instant | undefined;
  #lastToAll: Instant | undefined;
  /** Of the three that go at short distances. */
  #initialLeft = 0;
  /** Who gets an answer when. At most `MOST_WAITING`. */
  readonly #waiting = new Map<Ipv6Address, Instant>();

  constructor(options: RouterAdvertiserOptions) {
    this.#options = options;
    this.#prefixes = options.prefixes;
    this.#dns = options.dns;
    this.#mtu = options.mtu;
    for (const former of options.former ?? []) {
      this.#former.set(formatIpv6Prefix(former.prefix), former);
    }
    for (const prefix of options.prefixes) this.#former.delete(formatIpv6Prefix(prefix));
  }

  get state(): Phase["kind"] {
    return this.#phase.kind;
  }

  /** When to call `handleDeadline`, if nothing else happens first. */
  get deadline(): Instant | undefined {
    let deadline = earliest(this.#deadAt, this.#nextToAll);
    for (const due of this.#waiting.values()) deadline = earliest(deadline, due);
    return deadline;
  }

  handle(input: RouterAdvertiserInput, now: Instant): RouterAdvertiserEffect[] {
    switch (input.kind) {
      case "link":
        this.#linkLayerAddress = input.usable ? input.linkLayerAddress : undefined;
        this.#announce(now);
        return [];
      case "tunnel":
        return input.up ? this.#tunnelUp(now) : this.#tunnelDown(now);
      case "prefixes":
        this.#replacePrefixes(input.prefixes, now);
        return [];
      case "dns":
        if (String(input.servers) === String(this.#dns)) return [];
        this.#dns = input.servers;
        this.#announce(now);
        return [];
      case "mtu":
        if (input.mtu === this.#mtu) return [];
        this.#mtu = input.mtu;
        this.#announce(now);
        return [];
      case "solicited":
        this.#answer(input.source, now);
        return [];
      case "stop":
        return this.#stop(now);
    }
  }

  handleDeadline(now: Instant): RouterAdvertiserEffect[] {
    const effects: RouterAdvertiserEffect[] = [];
    const { downSince } = this.#phase.kind === "advertising" ? this.#phase : {};
    const deadAt = this.#deadAt;
    if (downSince !== undefined && deadAt !== undefined && deadAt <= now) {
      this.#phase = { kind: "withdrawn" };
      this.#announce(now);
      effects.push({ kind: "withdrawn", downForMs: now - downSince });
    }
    if (this.#nextToAll !== undefined && this.#nextToAll <= now) {
      effects.push(...this.#sendToAll(now));
    }
    for (const [destination, due] of this.#waiting) {
      if (due > now) continue;
      this.#waiting.delete(destination);
      effects.push({ kind: "send", destination, advertisement: this.#advertisement(now) });
    }
    return effects;
  }

  get #deadAt(): Instant | undefined {
    const { deadAfterMs } = this.#options;
    if (this.#phase.kind !== "advertising" || deadAfterMs === 0) return undefined;
    const { downSince } = this.#phase;
    return downSince === undefined ? undefined : later(downSince, deadAfterMs);
  }

  #tunnelUp(now: Instant): RouterAdvertiserEffect[] {
    const known = this.#phase.kind === "advertising";
    this.#phase = { kind: "advertising", downSince: undefined };
    if (known) return [];
    this.#announce(now);
    return [{ kind: "advertising" }];
  }

  #tunnelDown(now: Instant): RouterAdvertiserEffect[] {
    if (this.#phase.kind === "advertising" && this.#phase.downSince === undefined) {
      this.#phase = { kind: "advertising", downSince: now };
    }
    return [];
  }

  #replacePrefixes(prefixes: readonly Ipv6Prefix[], now: Instant): void {
    const before = new Map(this.#prefixes.map((prefix) => [formatIpv6Prefix(prefix), prefix]));
    const after = new Set(prefixes.map(formatIpv6Prefix));
    const gone = [...before].filter(([key]) => !after.has(key));
    const come = [...after].filter((key) => !before.has(key));
    this.#prefixes = prefixes;
    if (gone.length === 0 && come.length === 0) return;
    for (const key of come) this.#former.delete(key);
    // Nobody has a prefix of which nothing was said.
    if (this.#phase.kind !== "silent") {
      const until = later(now, VALID_LIFETIME * 1_000);
      for (const [key, prefix] of gone) this.#former.set(key, { prefix, until });
    }
    this.#announce(now);
  }

  /** Something is new: the next three go at short distances. Or nothing is to be said, and nothing will be. */
  #announce(now: Instant): void {
    this.#waiting.clear();
    if (!this.#speaks(now)) {
      this.#nextToAll = undefined;
      return;
    }
    this.#initialLeft = MAX_INITIAL_RTR_ADVERTISEMENTS;
    this.#nextToAll = this.#notBeforeTurn(now);
  }

  #speaks(now: Instant): boolean {
    if (this.#linkLayerAddress === undefined) return false;
    return this.#phase.kind !== "silent" || this.#formerAt(now).length > 0;
  }

  #notBeforeTurn(wanted: Instant): Instant {
    if (this.#lastToAll === undefined) return wanted;
    return Math.max(wanted, later(this.#lastToAll, MIN_DELAY_BETWEEN_RAS_MS)) as Instant;
  }

  /** RFC 4861 section 6.2.6. */
  #answer(source: Ipv6Address, now: Instant): void {
    if (!this.#speaks(now)) return;
    const due = later(now, this.#options.random() * MAX_RA_DELAY_TIME_MS);
    if (isLinkLocal(source)) {
      if (this.#waiting.has(source)) return;
      if (this.#waiting.size < MOST_WAITING) {
        this.#waiting.set(source, due);
        return;
      }
    }
    this.#nextToAll = earliest(this.#nextToAll, this.#notBeforeTurn(due));
  }

  #sendToAll(now: Instant): RouterAdvertiserEffect[] {
    this.#nextToAll = undefined;
    if (!this.#speaks(now)) return [];
    const span = LONGEST_INTERVAL_MS - SHORTEST_INTERVAL_MS;
    const interval = SHORTEST_INTERVAL_MS + this.#options.random() * span;
    this.#initialLeft = Math.max(0, this.#initialLeft - 1);
    const wait =
      this.#initialLeft > 0 ? Math.min(interval, MAX_INITIAL_RTR_ADVERT_INTERVAL_MS) : interval;
    this.#lastToAll = now;
    this.#nextToAll = later(now, wait);
    this.#waiting.clear();
    return [{ kind: "send", destination: ALL_NODES, advertisement: this.#advertisement(now) }];
  }

  #stop(now: Instant): RouterAdvertiserEffect[] {
    const last = this.#speaks(now) && this.#phase.kind === "advertising";
    const advertisement = this.#compose(this.#prefixes, DEPRECATED, now);
    this.#phase = { kind: "silent" };
    this.#linkLayerAddress = undefined;
    this.#announce(now);
    return last ? [{ kind: "send", destination: ALL_NODES, advertisement }] : [];
  }

  #advertisement(now: Instant): RouterAdvertisement {
    const lifetimes = this.#phase.kind === "advertising" ? ALIVE : WITHDRAWN;
    // Of prefixes that were never told nothing is to be taken back.
    const prefixes = this.#phase.kind === "silent" ? [] : this.#prefixes;
    return this.#compose(prefixes, lifetimes, now);
  }

  #compose(
    prefixes: readonly Ipv6Prefix[],
    lifetimes: Lifetimes,
    now: Instant,
  ): RouterAdvertisement {
    const dns = this.#dns;
    const hardware = sourceLinkLayerOption(this.#linkLayerAddress ?? new Uint8Array());
    return {
      currentHopLimit: CURRENT_HOP_LIMIT,
      managed: false,
      otherConfiguration: false,
      routerLifetime: lifetimes.router,
      reachableTime: 0,
      retransTimer: 0,
      options: [
        ...(hardware === undefined ? [] : [hardware]),
        mtuOption(this.#mtu),
        ...prefixes.map((prefix) => prefixOption(prefix, lifetimes)),
        ...this.#formerAt(now).map(({ prefix }) => prefixOption(prefix, WITHDRAWN)),
        ...(dns.length === 0 || this.#phase.kind === "silent"
          ? []
          : [recursiveDnsServersOption({ lifetime: lifetimes.router, servers: dns })]),
      ],
    };
  }

  #formerAt(now: Instant): FormerPrefix[] {
    return [...this.#former.values()].filter(({ until }) => until > now);
  }
}

/** Seconds. */
interface Lifetimes {
  readonly router: number;
  readonly preferred: number;
  readonly valid: number;
}

const ALIVE: Lifetimes = {
  router: ROUTER_LIFETIME,
  preferred: PREFERRED_LIFETIME,
  valid: VALID_LIFETIME,
};
const DEPRECATED: Lifetimes = { router: 0, preferred: 0, valid: VALID_LIFETIME };
const WITHDRAWN: Lifetimes = { router: 0, preferred: 0, valid: 0 };

function prefixOption(prefix: Ipv6Prefix, { preferred, valid }: Lifetimes): NdOption {
  return prefixInformationOption({
    prefix,
    onLink: true,
    autonomous: true,
    validLifetime: valid,
    preferredLifetime: preferred,
  });
}
