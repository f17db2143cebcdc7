/**
 * Runs the user's hooks, one at a time, in the order in which things happened. Nothing waits for them but the end of the
 * daemon: the announcement of an address is long done when its hook begins.
 */

import type { ProgramOutcome, ProgramRun } from "../../common/adapters/program.ts";
import type { Clock, Timer } from "../../common/adapters/system-clock.ts";
import { formatIpv6Prefix, type Ipv4Address } from "../../common/ip/address.ts";
import type { Logger } from "../../common/runtime/log.ts";
import { later } from "../../common/time.ts";
import type { HomeView } from "../home-view.ts";
import { type HomeEvent, HomeEvents } from "./home-events.ts";
import type { HookCommand, HooksConfig } from "./hook-config.ts";

/** Events that wait for a hook to end; of more the oldest are forgotten. */
const MOST_WAITING = 16;
/** Whoever stops the daemon gives it some ten seconds, in which the tunnel is to be taken down too. */
const LONGEST_FAREWELL_MS = 5_000;

export interface HooksParts {
  readonly config: HooksConfig;
  /** The tunnel's. */
  readonly interfaceName: string;
  readonly server: Ipv4Address;
  readonly clock: Clock;
  /** Rejects with `SystemError` when the program cannot be started. */
  readonly run: (run: ProgramRun) => Promise<ProgramOutcome>;
  readonly log: Logger;
}

export class Hooks {
  readonly #parts: HooksParts;
  readonly #events = new HomeEvents();
  readonly #waiting: HomeEvent[] = [];
  #running: Promise<void> | undefined;
  #view: HomeView | undefined;
  #closed = false;

  constructor(parts: HooksParts) {
    this.#parts = parts;
  }

  /** Something of the tunnel may be different, or another second has passed. */
  follow(view: HomeView): void {
    // The tunnel stands until the last hook has ended.
    if (this.#closed) return;
    this.#view = view;
    this.#enqueue(this.#events.see(view, this.#parts.clock.now()));
  }

  /** Says that the tunnel is down, if it was up, and waits for the hook to end, but not for long. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#waiting.length = 0;
    if (this.#view !== undefined) this.#enqueue(this.#events.end(this.#view));
    const { clock, log } = this.#parts;
    let impatience: Timer | undefined;
    const tooLong = new Promise<void>((resolve) => {
      impatience = clock.at(later(clock.now(), LONGEST_FAREWELL_MS), () => {
        log.warn("hooks are still running, not waiting any longer");
        resolve();
      });
    });
    await Promise.race([this.#running, tooLong]);
    impatience?.cancel();
  }

  #enqueue(events: readonly HomeEvent[]): void {
    const { config, log } = this.#parts;
    for (const event of events) {
      if (config.commands[event.kind] === undefined) continue;
      this.#waiting.push(event);
      if (this.#waiting.length <= MOST_WAITING) continue;
      const forgotten = this.#waiting.shift();
      log.warn({ event: forgotten?.kind }, "hooks are slower than what happens, one was left out");
    }
    if (this.#waiting.length === 0) return;
    this.#running ??= this.#runAll().finally(() => {
      this.#running = undefined;
    });
  }

  async #runAll(): Promise<void> {
    for (let event = this.#waiting.shift(); event !== undefined; event = this.#waiting.shift()) {
      const command = this.#parts.config.commands[event.kind];
      if (command !== undefined) await this.#run(event, command);
    }
  }

  async #run(event: HomeEvent, command: HookCommand): Promise<void> {
    const { config, run, log } = this.#parts;
    const { timeoutMs } = config;
    const facts = { event: event.kind, program: command[0] };
    try {
      const environment = this.#environment(event);
      const { status, timedOut, stdout, stderr } = await run({ command, environment, timeoutMs });
      log.debug({ ...facts, status, stdout, stderr }, "hook ended");
      if (timedOut) log.warn({ ...facts, timeoutMs }, "hook took too long and was ended");
      else if (status !== 0)
        log.warn({ ...facts, status, stderr: firstLine(stderr) }, "hook failed");
    } catch (err) {
      log.warn({ ...facts, err }, "hook cannot be run");
    }
  }

  /** docs/lan.md tells users of each. */
  #environment({ kind, address, previous, view }: HomeEvent): Record<string, string> {
    const { interfaceName, server } = this.#parts;
    return {
      HOMETUN_EVENT: kind,
      HOMETUN_INTERFACE: interfaceName,
      HOMETUN_SERVER: server,
      HOMETUN_ADDRESS: address ?? "",
      HOMETUN_PREVIOUS: previous ?? "",
      HOMETUN_PREFIXES: view.prefixes.map(formatIpv6Prefix).join(" "),
      HOMETUN_DNS: (view.dns ?? []).join(" "),
      HOMETUN_MTU: String(view.mtu),
      HOMETUN_CONFIRMED_MS: kind === "down" ? "" : String(view.confirmedInMs ?? ""),
    };
  }
}

function firstLine(text: string): string {
  return text.trim().split("\n")[0] ?? "";
}
