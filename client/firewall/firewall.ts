/**
 * Puts the firewall up before the tunnel, and takes it down after it. When the daemon is killed it stands: what was
 * shut stays shut until the daemon is back.
 */

import { SystemError } from "../../common/errors.ts";
import type { Logger } from "../../common/runtime/log.ts";
import type { FirewallConfig } from "./firewall-config.ts";
import { firewallRemoval, firewallRuleset, firewallTable } from "./ruleset.ts";

/** What a program said. */
export interface NftOutcome {
  readonly status: number | undefined;
  readonly stderr: string;
}

export interface FirewallParts {
  readonly config: FirewallConfig;
  /** The tunnel's. */
  readonly interfaceName: string;
  /** Runs nft(8) on a text. Rejects with `SystemError` `ENOENT` when there is no nft. */
  readonly nft: (ruleset: string) => Promise<NftOutcome>;
  /** Remembers over restarts whether our table may stand. */
  readonly marker: { exists(): boolean; set(): void; remove(): void };
  readonly log: Logger;
}

export class HomeFirewall {
  readonly #parts: FirewallParts;
  #stands = false;

  constructor(parts: FirewallParts) {
    this.#parts = parts;
  }

  /** Rejects with `SystemError`: without the firewall that was asked for there is no tunnel. */
  async open(): Promise<void> {
    const { config, interfaceName, marker, log } = this.#parts;
    if (!config.enabled) {
      // One may stand from a time when it was wanted, of a daemon that was killed.
      if (marker.exists()) await this.#remove();
      return;
    }
    marker.set();
    await this.#load(firewallRuleset({ interfaceName, open: config.open }), "install the firewall");
    this.#stands = true;
    const facts = { table: `inet ${firewallTable(interfaceName)}`, openPorts: config.open.length };
    log.info(facts, "firewall stands: what comes unasked is dropped");
  }

  async close(): Promise<void> {
    if (this.#stands) await this.#remove();
  }

  async #remove(): Promise<void> {
    const { interfaceName, marker } = this.#parts;
    await this.#load(firewallRemoval(interfaceName), "remove the firewall");
    this.#stands = false;
    marker.remove();
  }

  async #load(ruleset: string, operation: string): Promise<void> {
    let outcome: NftOutcome;
    try {
      outcome = await this.#parts.nft(ruleset);
    } catch (cause) {
      if (!(cause instanceof SystemError) || cause.code !== "ENOENT") throw cause;
      const hint = "nft is missing: install the package nftables, or set firewall = false";
      throw new SystemError(operation, cause.code, { cause, hint });
    }
    const { status, stderr } = outcome;
    if (status === 0) return;
    const [reason = ""] = stderr.trim().split("\n");
    const code = status === undefined ? "ETIMEDOUT" : "nft";
    const hint = `${reason === "" ? "nft failed" : reason}; or set firewall = false`;
    throw new SystemError(operation, code, { hint });
  }
}
