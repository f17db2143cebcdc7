import { expect, it } from "vitest";
import { systemClock } from "../../../common/adapters/system-clock.ts";
import { later } from "../../../common/time.ts";

it("never calls back before the deadline, to the fraction of a millisecond", async () => {
  const clock = systemClock();
  const late = await Promise.all(
    Array.from({ length: 50 }, (_, i) => {
      const deadline = later(clock.now(), i / 7);
      return new Promise<number>((resolve) => {
        clock.at(deadline, () => resolve(clock.now() - deadline));
      });
    }),
  );
  expect(Math.min(...late)).toBeGreaterThanOrEqual(0);
});

it("calls back later even when the deadline has passed", async () => {
  const clock = systemClock();
  const order: string[] = [];
  await new Promise<void>((resolve) => {
    clock.at(later(clock.now(), -5), () => {
      order.push("callback");
      resolve();
    });
    order.push("armed");
  });
  expect(order).toEqual(["armed", "callback"]);
});

it("does not call back after cancel", async () => {
  const clock = systemClock();
  let called = false;
  clock
    .at(later(clock.now(), 1), () => {
      called = true;
    })
    .cancel();
  await new Promise<void>((resolve) => {
    clock.at(later(clock.now(), 5), resolve);
  });
  expect(called).toBe(false);
});

it("waits for deadlines beyond what a Node timer can hold", async () => {
  const clock = systemClock();
  let called = false;
  const timer = clock.at(later(clock.now(), 2 ** 33), () => {
    called = true;
  });
  await new Promise<void>((resolve) => {
    clock.at(later(clock.now(), 5), resolve);
  });
  timer.cancel();
  expect(called).toBe(false);
});
