/**
 * The home's LANs: each has a /64 of the home's prefix, an address of it on its interface, and a router advertiser that
 * tells its hosts. Interfaces may be missing at first, vanish and come back; whatever the kernel says of them is a hint
 * to look again.
 */

import type { LanLinks } from "../../common/adapters/lan-link.ts";
import type {
  RouterChannel,
  RouterInterface,
  RouterListeners,
} from "../../common/adapters/router-socket.ts";
import type { Clock } from "../../common/adapters/system-clock.ts";
import { formatIpv6Prefix, type Ipv6Address, type Ipv6Prefix } from "../../common/ip/address.ts";
import { acceptRouterSolicitation } from "../../common/nd/accept-solicitation.ts";
import { encodeRouterAdvertisement } from "../../common/nd/router-advertisement.ts";
import { Driver } from "../../common/runtime/drive.ts";
import type { Logger } from "../../common/runtime/log.ts";
import { later } from "../../common/time.ts";
import type { HomeView } from "../home-view.ts";
import { formatToldPrefixes, parseToldPrefixes, type ToldPrefix } from "./former-prefixes.ts";
import { dnsFor, type LanConfig } from "./lan-config.ts";
import type { LanInterfaceState, LanInterfaceStatus, LanStatus } from "./lan-status.ts";
import { PrefixGuard } from "./prefix-guard.ts";
import {
  RouterAdvertiser,
  type RouterAdvertiserEffect,
  type RouterAdvertiserInput,
  VALID_LIFETIME,
} from "./router-advertiser.ts";
import { LAN_PREFIX_LENGTH, lanAddress, lanSubnets } from "./subnets.ts";

const VALID_LIFETIME_MS = VALID_LIFETIME * 1_000;

/** Those who live behind the tunnel, however they are told. */
export interface LanSide {
  /** Rejects with `SystemError`. */
  open(view: HomeView): Promise<void>;
  /** Something of the tunnel may be different. */
  follow(view: HomeView): void;
  status(): LanStatus;
  close(): Promise<void>;
}

/** What the LANs need of the world. */
export interface LanParts {
  readonly config: LanConfig;
  /** Our address on the tunnel's interface. */
  readonly tunnelAddress: Ipv6Address | undefined;
  readonly clock: Clock;
  readonly links: LanLinks;
  readonly openRouter: (where: RouterInterface, listeners: RouterListeners) => RouterChannel;
  /** Calls back when a link or an address may have changed. */
  readonly subscribe: (onHint: () => void) => { close(): void };
  /** Makes this machine a router; whether it was none. */
  readonly enableForwarding: () => boolean;
  /** From 0 to less than 1. */
  readonly random: () => number;
  /** What was told to hosts, kept over restarts. */
  readonly memory: {
    read(): string | undefined;
    /** Whether it could be. */
    write(text: string): boolean;
    /** What was read means nothing. */
    damaged(): void;
  };
  readonly log: Logger;
}

export class BuiltInLan implements LanSide {
  readonly #parts: LanParts;
  #interfaces: readonly LanInterface[] = [];
  readonly #guard: PrefixGuard;
  #told: readonly ToldPrefix[] = [];
  #written: string | undefined;
  #subscription: { close(): void } | undefined;
  #looking: Promise<void> | undefined;
  #lookAgain = false;
  #closed = false;

  constructor(parts: LanParts) {
    this.#parts = parts;
    this.#guard = new PrefixGuard(parts.links, parts.log);
  }

  async open(view: HomeView): Promise<void> {
    const { config, enableForwarding, subscribe, log } = this.#parts;
    if (enableForwarding()) {
      log.info(
        "IPv6 forwarding enabled (net.ipv6.conf.all.forwarding=1): this machine is a router",
      );
    }
    await this.#guard.open(view.prefixes);
    this.#recall();
    const subnets = this.#subnets(view);
    this.#interfaces = config.interfaces.map((name, index) => {
      const prefix = subnets[index];
      const former = this.#told.filter((each) => each.interfaceName === name);
      return new LanInterface(this.#parts, { name, prefix, former, mtu: view.mtu }, () => {
        this.#remember();
        this.#hint();
      });
    });
    // First listen, then look: what changes in between is heard.
    this.#subscription = subscribe(() => this.#hint());
    for (const each of this.#interfaces) await each.look();
    this.follow(view);
  }

  follow(view: HomeView): void {
    if (this.#closed) return;
    if (this.#guard.follow(view.prefixes)) this.#renumber(view);
    for (const each of this.#interfaces) each.follow(view);
    this.#remember();
  }

  status(): LanStatus {
    const isAssigned = this.#guard.prefixes.length > 0;
    const interfaces = this.#interfaces.map((each) => each.status(isAssigned));
    return { mode: "built-in", interfaces };
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#subscription?.close();
    await this.#looking;
    for (const each of this.#interfaces) await each.close();
    this.#remember();
    await this.#guard.close();
  }

  #subnets(view: HomeView): readonly Ipv6Prefix[] {
    const { config, tunnelAddress } = this.#parts;
    return lanSubnets(view.prefixes, tunnelAddress, config.interfaces.length);
  }

  /** The home has other prefixes than before. */
  #renumber(view: HomeView): void {
    const subnets = this.#subnets(view);
    this.#interfaces.forEach((each, index) => {
      each.renumber(subnets[index]);
    });
    this.#hint();
  }

  /** Looks at all interfaces, once for many hints. */
  #hint(): void {
    this.#lookAgain = true;
    this.#looking ??= this.#look().finally(() => {
      this.#looking = undefined;
    });
  }

  async #look(): Promise<void> {
    while (this.#lookAgain && !this.#closed) {
      this.#lookAgain = false;
      for (const each of this.#interfaces) await each.tryLook();
    }
  }

  #recall(): void {
    const { memory, clock, log } = this.#parts;
    const text = memory.read();
    if (text === undefined) return;
    const told = parseToldPrefixes(text);
    if (told === undefined) {
      memory.damaged();
      log.warn("whether a former prefix has to be withdrawn is not known");
      return;
    }
    const wall = clock.wall();
    // Of what was told to the end, nobody knows when that was.
    this.#told = told
      .map((each) => ({ ...each, until: each.until ?? wall + VALID_LIFETIME_MS }))
      .filter(({ until }) => until > wall);
    this.#written = text;
  }

  #remember(): void {
    const { memory, clock } = this.#parts;
    const wall = clock.wall();
    const all = new Map<string, ToldPrefix>();
    const now = this.#interfaces.flatMap((each) => each.told());
    const key = ({ interfaceName, prefix }: ToldPrefix) =>
      `${interfaceName} ${formatIpv6Prefix(prefix)}`;
    const ongoing = new Set(now.map(key));
    for (const each of this.#told) {
      // It was told until now.
      const until = each.until ?? (ongoing.has(key(each)) ? undefined : wall + VALID_LIFETIME_MS);
      if (until === undefined || until > wall) all.set(key(each), { ...each, until });
    }
    for (const each of now) all.set(key(each), each);
    this.#told = [...all.values()];
    const text = formatToldPrefixes(this.#told);
    if (text === this.#written || (this.#told.length === 0 && this.#written === undefined)) return;
    if (memory.write(text)) this.#written = text;
  }
}

/** One LAN. */
class LanInterface {
  readonly #parts: LanParts;
  readonly #name: string;
  readonly #core: RouterAdvertiser;
  readonly #driver: Driver<RouterAdvertiserInput, RouterAdvertiserEffect>;
  /** The socket failed, or is another now. */
  readonly #lookAgain: () => void;
  #prefix: Ipv6Prefix | undefined;
  #channel: RouterChannel | undefined;
  #interfaceIndex: number | undefined;
  #linkLayerAddress = "";
  #condition: "new" | "uplink" | "missing" | "unusable" | "usable" | "failing" = "new";
  /** What failed last. */
  #trouble: string | undefined;
  #confirmed = false;
  /** It leads to the ISP: we must be no router there. */
  #isUplink = false;

  constructor(
    parts: LanParts,
    lan: {
      name: string;
      prefix: Ipv6Prefix | undefined;
      former: readonly ToldPrefix[];
      mtu: number;
    },
    lookAgain: () => void,
  ) {
    const { config, clock, random } = parts;
    this.#parts = parts;
    this.#name = lan.name;
    this.#prefix = lan.prefix;
    this.#lookAgain = lookAgain;
    const wall = clock.wall();
    this.#core = new RouterAdvertiser({
      random,
      prefixes: lan.prefix === undefined ? [] : [lan.prefix],
      former: lan.former.map(({ prefix, until = wall }) => ({
        prefix,
        until: later(clock.now(), until - wall),
      })),
      dns: config.dns,
      mtu: lan.mtu,
      deadAfterMs: config.deadAfterMs,
    });
    const perform = (effect: RouterAdvertiserEffect) => this.#perform(effect);
    this.#driver = new Driver({ core: this.#core, clock, perform });
  }

  /** What its hosts are being told. */
  told(): ToldPrefix[] {
    if (this.#core.state !== "advertising" || this.#prefix === undefined) return [];
    return [{ interfaceName: this.#name, prefix: this.#prefix }];
  }

  /** `isAssigned`: the home has prefixes. */
  status(isAssigned: boolean): LanInterfaceStatus {
    const prefix = this.#prefix === undefined ? undefined : formatIpv6Prefix(this.#prefix);
    const trouble = this.#condition === "failing" ? this.#trouble : undefined;
    const isKnown = isAssigned || this.#isUplink;
    const state = isKnown ? this.#stateNow() : "unassigned";
    return { interface: this.#name, prefix, state, trouble };
  }

  #stateNow(): LanInterfaceState {
    if (this.#isUplink) return "uplink";
    if (this.#prefix === undefined) return "no-prefix";
    switch (this.#condition) {
      case "new":
      case "unusable":
        return "waiting";
      case "uplink":
      case "missing":
      case "failing":
        return this.#condition;
      case "usable":
        return this.#core.state;
    }
  }

  follow(view: HomeView): void {
    const { confirmed, mtu, ispInterface } = view;
    this.#leaveUplink(ispInterface === this.#name);
    // What the system refused may have been a moment's: no hint need follow.
    if (this.#condition === "failing") this.#lookAgain();
    this.#driver.feed({ kind: "mtu", mtu });
    this.#driver.feed({ kind: "dns", servers: dnsFor(this.#parts.config, view) });
    if (confirmed === this.#confirmed) return;
    this.#confirmed = confirmed;
    this.#driver.feed({ kind: "tunnel", up: confirmed });
  }

  #leaveUplink(isUplink: boolean): void {
    if (isUplink === this.#isUplink) return;
    this.#isUplink = isUplink;
    if (isUplink && this.#become("uplink")) {
      const fields = { interface: this.#name };
      this.#parts.log.warn(
        fields,
        "LAN interface is the uplink, the ISP's network is told nothing",
      );
    }
    // Our address goes from there, or comes back.
    this.#lookAgain();
  }

  renumber(prefix: Ipv6Prefix | undefined): void {
    this.#prefix = prefix;
    this.#driver.feed({ kind: "prefixes", prefixes: prefix === undefined ? [] : [prefix] });
  }

  /** As `look`; what fails is logged when it begins. */
  async tryLook(): Promise<void> {
    try {
      await this.look();
    } catch (err) {
      this.#trouble = err instanceof Error ? err.message : String(err);
      if (this.#condition === "failing") return;
      this.#become("failing");
      this.#parts.log.warn({ interface: this.#name, err }, "cannot use the LAN interface");
    }
  }

  /** Makes the interface as it should be, and sees whether it can be used. Rejects with `SystemError`. */
  async look(): Promise<void> {
    const { links, openRouter, log } = this.#parts;
    const name = this.#name;
    if (this.#isUplink || this.#prefix === undefined) {
      // The hosts are still to be told that they have none.
      await links.release(name);
      return;
    }
    const address = lanAddress(this.#prefix);
    const link = await links.configure(name, { address, prefixLength: LAN_PREFIX_LENGTH });
    if (link === undefined) {
      if (this.#become("missing")) log.warn({ interface: name }, "LAN interface missing, waiting");
      return;
    }
    if (!link.usable) {
      const reason = "no carrier, or no link-local address yet";
      if (this.#become("unusable")) log.debug({ interface: name, reason }, "LAN interface waiting");
      return;
    }
    const { interfaceIndex, linkLayerAddress } = link;
    const hardware = linkLayerAddress.join();
    const same = interfaceIndex === this.#interfaceIndex && hardware === this.#linkLayerAddress;
    if (this.#channel !== undefined && same) return;
    this.#closeChannel();
    this.#channel = openRouter({ interfaceName: name, interfaceIndex }, this.#listeners());
    this.#interfaceIndex = interfaceIndex;
    this.#linkLayerAddress = hardware;
    this.#condition = "usable";
    const prefix = formatIpv6Prefix(this.#prefix);
    log.info({ interface: name, prefix, address }, "LAN interface ready");
    this.#driver.feed({ kind: "link", usable: true, linkLayerAddress });
  }

  async close(): Promise<void> {
    this.#driver.feed({ kind: "stop" });
    this.#driver.close();
    await this.#channel?.flushed();
    this.#closeChannel();
    await this.#parts.links.release(this.#name);
  }

  #listeners(): RouterListeners {
    const { log } = this.#parts;
    return {
      onSolicitation: (received) => {
        const verdict = acceptRouterSolicitation(received);
        if (verdict.kind === "answer") {
          this.#driver.feed({ kind: "solicited", source: received.source });
        } else {
          log.debug({ interface: this.#name, reason: verdict.reason }, "solicitation ignored");
        }
      },
      onError: () => {
        this.#become("unusable");
        this.#lookAgain();
      },
    };
  }

  /** Not to be used any more. Whether that is news. */
  #become(condition: "uplink" | "missing" | "unusable" | "failing"): boolean {
    const news = this.#condition !== condition;
    const wasUsable = this.#condition === "usable";
    this.#condition = condition;
    this.#closeChannel();
    if (wasUsable) this.#driver.feed({ kind: "link", usable: false });
    return news;
  }

  #closeChannel(): void {
    this.#channel?.close();
    this.#channel = undefined;
  }

  #perform(effect: RouterAdvertiserEffect): void {
    const { log } = this.#parts;
    const facts = {
      interface: this.#name,
      prefix: this.#prefix === undefined ? undefined : formatIpv6Prefix(this.#prefix),
    };
    switch (effect.kind) {
      case "send": {
        const { destination, advertisement } = effect;
        this.#channel?.send(destination, encodeRouterAdvertisement(advertisement));
        const { routerLifetime } = advertisement;
        log.debug({ ...facts, destination, routerLifetime }, "router advertisement sent");
        break;
      }
      case "advertising":
        log.info(facts, "LAN is told of its prefix");
        break;
      case "withdrawn":
        log.warn({ ...facts, downForMs: effect.downForMs }, "LAN is told that the tunnel is dead");
        break;
    }
  }
}
