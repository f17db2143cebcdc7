/** The earliest of many deadlines that change often: a binary heap in which outdated entries are left to be skipped. */

import type { Instant } from "../time.ts";

interface Entry<Key> {
  readonly at: Instant;
  readonly key: Key;
}

/** Entries that may be outdated for each one that is not, before they are swept out. */
const SLACK = 4;
const SMALLEST_SWEEP = 64;

export class DeadlineQueue<Key> {
  readonly #deadlines = new Map<Key, Instant>();
  #heap: Entry<Key>[] = [];

  /** The earliest of all. */
  get earliest(): Instant | undefined {
    this.#skipOutdated();
    return this.#heap[0]?.at;
  }

  /** Replaces the key's deadline; undefined takes it away. */
  set(key: Key, at: Instant | undefined): void {
    if (this.#deadlines.get(key) === at) return;
    if (at === undefined) {
      this.#deadlines.delete(key);
      return;
    }
    this.#deadlines.set(key, at);
    this.#push({ at, key });
    if (this.#heap.length > SMALLEST_SWEEP && this.#heap.length > SLACK * this.#deadlines.size) {
      this.#sweep();
    }
  }

  /** Takes the keys whose deadline is `now` or before. */
  takeDue(now: Instant): Key[] {
    const due: Key[] = [];
    for (;;) {
      const { earliest } = this;
      if (earliest === undefined || earliest > now) return due;
      const entry = this.#pop();
      if (entry === undefined) return due;
      this.#deadlines.delete(entry.key);
      due.push(entry.key);
    }
  }

  #skipOutdated(): void {
    for (;;) {
      const [first] = this.#heap;
      if (first === undefined || this.#deadlines.get(first.key) === first.at) return;
      this.#pop();
    }
  }

  #sweep(): void {
    this.#heap = [];
    for (const [key, at] of this.#deadlines) this.#push({ at, key });
  }

  #push(entry: Entry<Key>): void {
    const heap = this.#heap;
    let index = heap.length;
    heap.push(entry);
    while (index > 0) {
      const parent = (index - 1) >> 1;
      const above = heap[parent];
      if (above === undefined || above.at <= entry.at) break;
      heap[index] = above;
      index = parent;
    }
    heap[index] = entry;
  }

  #pop(): Entry<Key> | undefined {
    const heap = this.#heap;
    const [first] = heap;
    const last = heap.pop();
    if (last === undefined || heap.length === 0) return first;
    let index = 0;
    for (;;) {
      const left = 2 * index + 1;
      const [a, b] = [heap[left], heap[left + 1]];
      if (a === undefined) break;
      const isRight = b !== undefined && b.at < a.at;
      const child = isRight ? b : a;
      if (child.at >= last.at) break;
      heap[index] = child;
      index = isRight ? left + 1 : left;
    }
    heap[index] = last;
    return first;
  }
}
