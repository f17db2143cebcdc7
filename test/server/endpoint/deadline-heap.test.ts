import fc from "fast-check";
import { expect, it } from "vitest";
import { DeadlineHeap, NOT_WAITING, type Waiting } from "../../../server/endpoint/deadline-heap.ts";
import { at } from "../../support/timeline.ts";

const operations = fc.array(
  fc.record({
    item: fc.nat({ max: 15 }),
    deadline: fc.option(fc.integer({ min: 0, max: 20 }), { nil: undefined }),
  }),
  { maxLength: 200 },
);

it("always has the earliest deadline first, however deadlines are set, moved and taken out", () => {
  fc.assert(
    fc.property(operations, (operations) => {
      const heap = new DeadlineHeap<Waiting>();
      const items = Array.from(
        { length: 16 },
        (): Waiting => ({ wakeAt: at(0), place: NOT_WAITING }),
      );
      const model = new Map<Waiting, number>();
      for (const { item: index, deadline } of operations) {
        const item = items[index] as Waiting;
        heap.set(item, deadline === undefined ? undefined : at(deadline));
        if (deadline === undefined) model.delete(item);
        else model.set(item, deadline);
        const earliest = model.size === 0 ? undefined : Math.min(...model.values());
        expect(heap.first?.wakeAt).toBe(earliest);
        if (heap.first !== undefined) expect(model.get(heap.first)).toBe(earliest);
      }
      for (const item of items) expect(item.place === NOT_WAITING).toBe(!model.has(item));
    }),
  );
});
