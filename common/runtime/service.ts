/**
 * What a daemon tells its service manager while it lives: that it is ready, how it is in one line for
 * `systemctl status`, and, as long as every task says that it is well, that the watchdog may sleep. The watchdog
 * thus hears of a hanging event loop by silence, and of a task that does not do its work by the same silence.
 */

import type { Clock, Timer } from "../adapters/system-clock.ts";
import { monotonicMicroseconds, type ServiceManager } from "../adapters/systemd-notify.ts";
import { type Instant, later } from "../time.ts";
import type { Logger } from "./log.ts";
import { runTasks, type Task } from "./tasks.ts";

/** How often it is looked whether something is to be told, in milliseconds. */
const BEAT_MS = 1_000;
/** Two beats may be late before the watchdog loses patience. */
const BEATS_A_WATCHDOG = 3;

export interface ServiceParts {
  /** Undefined: nobody is told anything. */
  readonly manager: ServiceManager | undefined;
  readonly tasks: readonly Task[];
  readonly clock: Clock;
  readonly log: Logger;
}

export class Service {
  readonly #parts: ServiceParts;
  readonly #beatMs: number;
  #state: "starting" | "ready" | "stopping" = "starting";
  /** What the manager has not been told yet. */
  #news: string[] = [];
  #summary: string | undefined;
  /** Something that stays true until the next attempt, such as a configuration that was not taken. */
  #remark: string | undefined;
  #ailment: string | undefined;
  #timer: Timer | undefined;

  constructor(parts: ServiceParts) {
    this.#parts = parts;
    const { watchdogMs } = parts.manager ?? {};
    this.#beatMs = Math.min(BEAT_MS, (watchdogMs ?? Infinity) / BEATS_A_WATCHDOG);
    if (parts.manager !== undefined) this.#schedule();
  }

  /** Runs the tasks until `stop` aborts; `ready` is called once, when all of them are. Throws what one of them did. */
  async run(stop: AbortSignal, ready: () => void): Promise<void> {
    const { tasks, manager } = this.#parts;
    stop.addEventListener("abort", () => this.#end("stopping"));
    try {
      await runTasks(tasks, stop, {
        onReady: () => {
          ready();
          this.#ready();
        },
      });
    } catch (error) {
      this.#end(`failed: ${describeFailure(error)}`);
      throw error;
    } finally {
      this.#timer?.cancel();
      manager?.close();
    }
  }

  /** Says that a new configuration is being taken, and when that is over. What it returns is a remark on it. */
  async reloading(work: () => Promise<string | undefined>): Promise<void> {
    if (this.#state === "ready") {
      this.#news.push("RELOADING=1", `MONOTONIC_USEC=${monotonicMicroseconds()}`);
      this.#tell();
    }
    try {
      this.#remark = await work();
    } finally {
      if (this.#state === "ready") {
        this.#news.push("READY=1");
        this.#tell();
      }
    }
  }

  #ready(): void {
    if (this.#state !== "starting") return;
    this.#state = "ready";
    this.#news.push("READY=1");
    this.#tell();
  }

  #end(status: string): void {
    if (this.#state === "stopping") return;
    this.#state = "stopping";
    this.#timer?.cancel();
    this.#parts.manager?.tell(["STOPPING=1", `STATUS=${oneLine(status)}`]);
  }

  #schedule(): void {
    const { clock } = this.#parts;
    this.#timer = clock.at(later(clock.now(), this.#beatMs), () => {
      this.#tell();
      this.#schedule();
    });
  }

  #tell(): void {
    const { manager, clock } = this.#parts;
    if (manager === undefined || this.#state === "stopping") return;
    const well = this.#examine(clock.now());
    const summary = this.#summarize();
    const assignments = [...this.#news];
    if (summary !== this.#summary) assignments.push(`STATUS=${oneLine(summary)}`);
    if (well && this.#state === "ready" && manager.watchdogMs !== undefined) {
      assignments.push("WATCHDOG=1");
    }
    if (assignments.length === 0 || !manager.tell(assignments)) return;
    this.#news = [];
    this.#summary = summary;
  }

  /** Whether all tasks are well. What ails one is logged when it begins and when it ends. */
  #examine(now: Instant): boolean {
    const { tasks, log } = this.#parts;
    const ailments = tasks.flatMap(({ name, ailment }) => {
      const found = ailment?.(now);
      return found === undefined ? [] : [`${name}: ${found}`];
    });
    const [first] = ailments;
    if (first !== this.#ailment) {
      if (first === undefined) log.warn("all is well again");
      else log.error({ ailment: first }, "not well, the watchdog is not told otherwise");
    }
    this.#ailment = first;
    return first === undefined;
  }

  /** One line: what is wrong first. */
  #summarize(): string {
    if (this.#state === "starting") return "starting";
    const { tasks } = this.#parts;
    const facts = tasks.flatMap(({ summary }) => summary?.() ?? []);
    return [this.#ailment, this.#remark, ...facts].filter((part) => part !== undefined).join("; ");
  }
}

/** What the task that failed said. */
function describeFailure(error: unknown): string {
  const cause = error instanceof Error ? (error.cause ?? error) : error;
  return cause instanceof Error ? cause.message : String(cause);
}

/** A line break would begin another assignment. */
function oneLine(text: string): string {
  return text.replace(/\s+/g, " ");
}
