/** Thousands of deadlines, one of which is first: a binary heap whose entries know their place in it. */

import type { Instant } from "../../common/time.ts";

/** What can wait in a heap. The two fields belong to the heap. */
export interface Waiting {
  wakeAt: Instant;
  /** Place in the heap, or `NOT_WAITING`. */
  place: number;
}

export const NOT_WAITING = -1;

export class DeadlineHeap<Item extends Waiting> {
  readonly #items: Item[] = [];

  /** The item with the earliest deadline. */
  get first(): Item | undefined {
    return this.#items[0];
  }

  /** Puts the item in, moves it, or takes it out when there is no deadline. */
  set(item: Item, deadline: Instant | undefined): void {
    if (deadline === undefined) {
      this.#remove(item);
      return;
    }
    if (item.place === NOT_WAITING) item.place = this.#items.push(item) - 1;
    else if (item.wakeAt === deadline) return;
    item.wakeAt = deadline;
    this.#settle(item);
  }

  #remove(item: Item): void {
    const { place } = item;
    if (place === NOT_WAITING) return;
    item.place = NOT_WAITING;
    const last = this.#items.pop();
    if (last === undefined || last === item) return;
    this.#put(last, place);
    this.#settle(last);
  }

  #settle(item: Item): void {
    this.#rise(item);
    this.#sink(item);
  }

  #rise(item: Item): void {
    for (;;) {
      const parent = this.#items[(item.place - 1) >> 1];
      if (parent === undefined || parent === item || parent.wakeAt <= item.wakeAt) return;
      const { place } = parent;
      this.#put(parent, item.place);
      this.#put(item, place);
    }
  }

  #sink(item: Item): void {
    for (;;) {
      const left = this.#items[2 * item.place + 1];
      const right = this.#items[2 * item.place + 2];
      if (left === undefined) return;
      const child = right !== undefined && right.wakeAt < left.wakeAt ? right : left;
      if (item.wakeAt <= child.wakeAt) return;
      const { place } = child;
      this.#put(child, item.place);
      this.#put(item, place);
    }
  }

  #put(item: Item, place: number): void {
    this.#items[place] = item;
    item.place = place;
  }
}
