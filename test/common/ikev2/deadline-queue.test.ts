import fc from "fast-check";
import { expect, it } from "vitest";
import { DeadlineQueue } from "../../../common/ikev2/deadline-queue.ts";
import { at } from "../../support/timeline.ts";

it("gives the earliest of deadlines that change, as a plain search does", () => {
  const changes = fc.array(fc.tuple(fc.nat(9), fc.option(fc.nat(50), { nil: undefined })), {
    maxLength: 400,
  });
  fc.assert(
    fc.property(changes, (all) => {
      const queue = new DeadlineQueue<number>();
      const plain = new Map<number, number>();
      for (const [key, time] of all) {
        queue.set(key, time === undefined ? undefined : at(time));
        if (time === undefined) plain.delete(key);
        else plain.set(key, time);
        const earliest = plain.size === 0 ? undefined : Math.min(...plain.values());
        expect(queue.earliest).toBe(earliest);
      }
      const due = [...plain].filter(([, time]) => time <= 25).map(([key]) => key);
      expect(queue.takeDue(at(25)).sort()).toEqual(due.sort());
      expect(queue.takeDue(at(25))).toEqual([]);
    }),
  );
});
