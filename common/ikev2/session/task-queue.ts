/** What a session wants to ask, in order: there is one request at a time on an IKE SA (RFC 7296 section 2.3). */

import { earliest, type Instant, later } from "../../time.ts";
import type { RandomSource } from "../key-agreement.ts";
import type { Task } from "./state.ts";

/** TEMPORARY_FAILURE: again after this, and up to as much more, so that the ends do not keep step. */
const TEMPORARY_RETRY_MS = 1_000;

interface QueuedTask {
  readonly task: Task;
  readonly notBefore: Instant | undefined;
}

export class TaskQueue {
  readonly #random: RandomSource;
  #queue: QueuedTask[] = [];

  constructor(random: RandomSource) {
    this.#random = random;
  }

  /** When the first of those that wait for a time may begin. */
  get deadline(): Instant | undefined {
    let deadline: Instant | undefined;
    for (const { notBefore } of this.#queue) deadline = earliest(deadline, notBefore);
    return deadline;
  }

  has(kind: Task["kind"]): boolean {
    return this.#queue.some(({ task }) => task.kind === kind);
  }

  add(task: Task): void {
    this.#queue.push({ task, notBefore: undefined });
  }

  addFirst(task: Task): void {
    this.#queue.unshift({ task, notBefore: undefined });
  }

  /** The peer was busy with something that excludes it (section 2.25). */
  addLater(task: Task, now: Instant): void {
    const [jitter = 0] = this.#random(1);
    const waitMs = TEMPORARY_RETRY_MS * (1 + jitter / 256);
    this.#queue.push({ task, notBefore: later(now, waitMs) });
  }

  /** The next that may begin. */
  take(now: Instant): Task | undefined {
    const index = this.#queue.findIndex(
      ({ notBefore }) => notBefore === undefined || notBefore <= now,
    );
    return index < 0 ? undefined : this.#queue.splice(index, 1)[0]?.task;
  }

  clear(): void {
    this.#queue = [];
  }
}
