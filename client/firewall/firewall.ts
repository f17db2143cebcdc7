/**
 * Puts the firewall up before the tunnel. It stands when the daemon is killed, so that what was shut stays shut, and also
 * when it ends well: the connection tracking that it causes would begin anew with the next start, and refuse what belongs
 * to connections that live on. It judges nothing but what comes out of the tunnel's interface, which is gone by then.
 */

import { isInterfaceName } from "../../common/config/schema.ts";
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
  /** Remembers over restarts that our table may stand: the name of the tunnel's interface, or nothing in old ones. */
  readonly marker: {
    read(): string | undefined;
    write(interfaceName: string): void;
    remove(): void;
    /** What was read is no name. */
    damaged(): void;
  };
  readonly log: Logger;
}

export class HomeFirewall {
  readonly #parts: FirewallParts;

  constructor(parts: FirewallParts) {
    this.#parts = parts;
  }

  /** Rejects with `SystemError`: without the firewall that was asked for there is no tunnel. */
  async open(): Promise<void> {
    const { config, interfaceName, marker, log } = this.#parts;
    // One may stand from a time when it was wanted, or the tunnel's interface was called otherwise.
    const standing = marker.read();
    if (standing !== undefined) {
      const former = this.#formerName(standing);
      if (!config.enabled || former !== interfaceName) {
        await this.#load(firewallRemoval(former), "remove the firewall");
        marker.remove();
      }
    }
    if (!config.enabled) return;
    marker.write(interfaceName);
    await this.#load(firewallRuleset({ interfaceName, open: config.open }), "install the firewall");
    const facts = { table: `inet ${firewallTable(interfaceName)}`, openPorts: config.open.length };
    log.info(facts, "firewall stands: what comes unasked is dropped");
  }

  #formerName(standing: string): string {
    const { interfaceName, marker } = this.#parts;
    if (isInterfaceName(standing)) return standing;
    if (standing !== "") marker.damaged();
    return interfaceName;
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
