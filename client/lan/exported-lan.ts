/**
 * The LANs as a file, for a router advertisement daemon of the user's own: what to tell the hosts, and whether to.
 * docs/lan.md has examples for radvd, dnsmasq and systemd-networkd.
 */

import { formatIpv6Prefix } from "../../common/ip/address.ts";
import { Driver } from "../../common/runtime/drive.ts";
import type { HomeView } from "../home-view.ts";
import type { LanParts, LanSide } from "./lan.ts";
import { dnsFor } from "./lan-config.ts";
import type { LanStatus } from "./lan-status.ts";
import { PrefixGuard } from "./prefix-guard.ts";
import {
  PREFERRED_LIFETIME,
  ROUTER_LIFETIME,
  RouterAdvertiser,
  type RouterAdvertiserEffect,
  type RouterAdvertiserInput,
  VALID_LIFETIME,
} from "./router-advertiser.ts";
import { lanAddress, lanSubnets } from "./subnets.ts";

/** What the file holds. Lifetimes are in seconds. */
export interface LanExport {
  readonly version: 1;
  /** `starting`: say nothing yet; `up`: tell; `dead`, `stopped`: the lifetimes are 0, take it back. */
  readonly state: "starting" | "up" | "dead" | "stopped";
  /** Octets; the tunnel's, and so what the hosts should have. */
  readonly mtu: number;
  readonly routerLifetime: number;
  readonly preferredLifetime: number;
  readonly validLifetime: number;
  readonly dns: readonly string[];
  readonly lans: readonly {
    readonly interface: string;
    readonly prefix: string;
    /** Of this machine, on the interface. */
    readonly address: string;
  }[];
}

export interface ExportedLanParts
  extends Pick<LanParts, "config" | "tunnelAddress" | "clock" | "links" | "log"> {
  readonly enableForwarding: () => boolean;
  /** Replaces the file. Throws `SystemError`. */
  readonly write: (text: string) => void;
}

export class ExportedLan implements LanSide {
  readonly #parts: ExportedLanParts;
  /** It decides when the tunnel is dead; without an interface it sends nothing. */
  readonly #core: RouterAdvertiser;
  readonly #driver: Driver<RouterAdvertiserInput, RouterAdvertiserEffect>;
  #view: HomeView | undefined;
  readonly #guard: PrefixGuard;
  #stopped = false;
  #written: string | undefined;
  /** That it cannot be written was said. */
  #isFailing = false;

  constructor(parts: ExportedLanParts) {
    const { config, clock } = parts;
    this.#parts = parts;
    this.#guard = new PrefixGuard(parts.links, parts.log);
    this.#core = new RouterAdvertiser({
      random: () => 0,
      prefixes: [],
      dns: [],
      mtu: 0,
      deadAfterMs: config.deadAfterMs,
    });
    this.#driver = new Driver({ core: this.#core, clock, perform: () => this.#write() });
  }

  async open(view: HomeView): Promise<void> {
    const { enableForwarding, log } = this.#parts;
    if (enableForwarding()) {
      log.info(
        "IPv6 forwarding enabled (net.ipv6.conf.all.forwarding=1): this machine is a router",
      );
    }
    await this.#guard.open(view.prefixes);
    this.follow(view);
  }

  follow(view: HomeView): void {
    if (this.#stopped) return;
    this.#view = view;
    this.#guard.follow(view.prefixes);
    this.#driver.feed({ kind: "tunnel", up: view.confirmed });
    this.#write();
  }

  status(): LanStatus {
    const { config } = this.#parts;
    const lans = this.#view === undefined ? [] : this.#export(this.#view).lans;
    const isp = this.#view?.ispInterface;
    const without = this.#guard.prefixes.length === 0 ? "unassigned" : "no-prefix";
    return {
      mode: "export",
      exportFile: config.exportFile,
      interfaces: config.interfaces.map((name) => {
        const prefix = lans.find((lan) => lan.interface === name)?.prefix;
        const missing = name === isp ? "uplink" : without;
        return { interface: name, prefix, state: prefix === undefined ? missing : "exported" };
      }),
    };
  }

  async close(): Promise<void> {
    this.#driver.close();
    this.#stopped = true;
    this.#write();
    await this.#guard.close();
  }

  #write(): void {
    if (this.#view === undefined) return;
    const { write, config, log } = this.#parts;
    const text = `${JSON.stringify(this.#export(this.#view), null, 2)}\n`;
    if (text === this.#written) return;
    try {
      write(text);
      this.#written = text;
      this.#isFailing = false;
    } catch (err) {
      // Each second it is tried again.
      if (!this.#isFailing) log.warn({ err, file: config.exportFile }, "cannot export the LAN");
      this.#isFailing = true;
    }
  }

  #export(view: HomeView): LanExport {
    const { config, tunnelAddress } = this.#parts;
    const { interfaces } = config;
    const dns = dnsFor(config, view);
    const subnets = lanSubnets(view.prefixes, tunnelAddress, interfaces.length);
    const state = this.#stopped ? "stopped" : STATES[this.#core.state];
    const alive = state === "up";
    const lans = subnets.map((prefix, index) => ({
      interface: interfaces[index] ?? "",
      prefix: formatIpv6Prefix(prefix),
      address: lanAddress(prefix),
    }));
    return {
      version: 1,
      state,
      mtu: view.mtu,
      routerLifetime: alive ? ROUTER_LIFETIME : 0,
      preferredLifetime: alive ? PREFERRED_LIFETIME : 0,
      validLifetime: alive ? VALID_LIFETIME : 0,
      dns,
      // To be a router on the ISP's network is not ours.
      lans: lans.filter((each) => each.interface !== view.ispInterface),
    };
  }
}

const STATES = { silent: "starting", advertising: "up", withdrawn: "dead" } as const;
