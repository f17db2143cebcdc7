/** Runs the address watch on the kernel's answers and hints. */

import { RouteGroup, type RouteSocket } from "../../common/adapters/netlink-socket.ts";
import { queryRoute } from "../../common/adapters/route-query.ts";
import type { Clock } from "../../common/adapters/system-clock.ts";
import type { Ipv4Address } from "../../common/ip/address.ts";
import { Driver } from "../../common/runtime/drive.ts";
import type { UplinkSnapshot } from "./snapshot.ts";
import { AddressWatch, type AddressWatchEffect, type AddressWatchInput } from "./watch.ts";

/** What of a log the watcher uses; pino's is one. */
export interface WatchLog {
  info(facts: object, message: string): void;
  warn(facts: object, message: string): void;
}

export interface AddressWatcherOptions {
  readonly socket: RouteSocket;
  /** The address to be reached. */
  readonly server: Ipv4Address;
  /** The tunnel's own interface, which can never be the way to the server. */
  readonly excludeInterface: string;
  readonly clock: Clock;
  readonly log: WatchLog;
  /** The machine slept, or its clock was set. */
  readonly onResume?: () => void;
}

const GROUPS = [
  RouteGroup.link,
  RouteGroup.ipv4Address,
  RouteGroup.ipv4Route,
  RouteGroup.ipv4Rule,
] as const;

export class AddressWatcher {
  readonly #options: AddressWatcherOptions;
  #driver: Driver<AddressWatchInput, AddressWatchEffect> | undefined;
  #subscription: { close(): void } | undefined;
  #failures = 0;
  #hints = 0;
  #closed = false;

  constructor(options: AddressWatcherOptions) {
    this.#options = options;
  }

  /**
   * Watches until `close`; `onChange` hears the first answer and each that differs, undefined while no address
   * reaches the server. Resolves after the first answer. Rejects with `SystemError` when netlink cannot be had; a
   * network that is missing is no failure.
   */
  async start(onChange: (snapshot: UplinkSnapshot | undefined) => void): Promise<void> {
    const { socket, clock } = this.#options;
    await new Promise<void>((resolve) => {
      const driver = new Driver<AddressWatchInput, AddressWatchEffect>({
        core: new AddressWatch(),
        clock,
        perform: (effect) => {
          switch (effect.kind) {
            case "query":
              this.#query(driver);
              return;
            case "read-wall-clock":
              driver.feed({ kind: "wall-clock", milliseconds: clock.wall() });
              return;
            case "resumed":
              this.#options.onResume?.();
              return;
            case "changed":
              this.#tell(effect.previous, effect.current);
              onChange(effect.current);
              resolve();
              return;
          }
        },
      });
      this.#driver = driver;
      // First listen, then ask: what changes in between is heard.
      this.#subscription = socket.subscribe(GROUPS, () => this.hint());
      this.hint();
    });
  }

  /** How often the system, or somebody else, said that something may have changed. */
  get hints(): number {
    return this.#hints;
  }

  /** Something may have changed: look. */
  hint(): void {
    this.#hints += 1;
    this.#driver?.feed({ kind: "hint" });
  }

  close(): void {
    this.#closed = true;
    this.#subscription?.close();
    this.#driver?.close();
  }

  #query(driver: Driver<AddressWatchInput, AddressWatchEffect>): void {
    const { socket, server, excludeInterface, log } = this.#options;
    let snapshot: UplinkSnapshot | undefined;
    try {
      snapshot = queryRoute(socket, server, { excludeInterface });
    } catch (err) {
      if (this.#closed) return;
      this.#failures += 1;
      // Said when it begins; the end says how often.
      if (this.#failures === 1) log.warn({ err, server }, "cannot ask for the route to the server");
      driver.feed({ kind: "failed" });
      return;
    }
    if (this.#failures > 0) {
      log.info({ server, failures: this.#failures }, "route to the server can be asked for again");
      this.#failures = 0;
    }
    driver.feed({ kind: "answer", snapshot });
  }

  #tell(previous: UplinkSnapshot | undefined, current: UplinkSnapshot | undefined): void {
    const { server, log } = this.#options;
    // What was found instead is told by who gives the change its name.
    if (current !== undefined) return;
    log.warn({ server, previous: previous?.address }, "no address reaches the server");
  }
}
