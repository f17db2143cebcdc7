import { describe, expect, it } from "vitest";
import { type Core, Driver } from "../../../common/runtime/drive.ts";
import { type Instant, later } from "../../../common/time.ts";
import { VirtualClock } from "../../support/virtual-clock.ts";

/** Answers `n` with the effects "n a" and "n b", and rings at every deadline it is given. */
class Bell implements Core<number | { ring: number }, string> {
  deadline: Instant | undefined;

  handle(input: number | { ring: number }, now: Instant): string[] {
    if (typeof input === "number") return [`${input} a`, `${input} b`];
    this.deadline = input.ring < 0 ? undefined : later(now, input.ring);
    return [];
  }

  handleDeadline(now: Instant): string[] {
    this.deadline = undefined;
    return [`ring at ${now}`];
  }
}

function driven(
  react: (effect: string, driver: Driver<number | { ring: number }, string>) => void,
) {
  const clock = new VirtualClock();
  const performed: string[] = [];
  const driver: Driver<number | { ring: number }, string> = new Driver({
    core: new Bell(),
    clock,
    perform: (effect) => {
      performed.push(effect);
      react(effect, driver);
    },
  });
  return { clock, driver, performed };
}

const ignore = () => {};

describe("Driver", () => {
  it("performs an input's effects at once and in order", () => {
    const { driver, performed } = driven(ignore);
    driver.feed(1);
    expect(performed).toEqual(["1 a", "1 b"]);
  });

  it("lets what a handler feeds wait until the present effects are performed", () => {
    const { driver, performed } = driven((effect, driver) => {
      if (effect === "1 a") driver.feed(2);
    });
    driver.feed(1);
    expect(performed).toEqual(["1 a", "1 b", "2 a", "2 b"]);
  });

  it("calls the core at its deadline", () => {
    const { clock, driver, performed } = driven(ignore);
    driver.feed({ ring: 100 });
    clock.advanceTo(99);
    expect(performed).toEqual([]);
    clock.advanceTo(100);
    expect(performed).toEqual(["ring at 100"]);
  });

  it("calls the core earlier when its deadline moves nearer", () => {
    const { clock, driver, performed } = driven(ignore);
    driver.feed({ ring: 100 });
    driver.feed({ ring: 50 });
    clock.advanceTo(200);
    expect(performed).toEqual(["ring at 50"]);
  });

  it("waits on when the deadline moves away", () => {
    const { clock, driver, performed } = driven(ignore);
    driver.feed({ ring: 50 });
    driver.feed({ ring: 100 });
    clock.advanceTo(200);
    expect(performed).toEqual(["ring at 100"]);
  });

  it("keeps one timer, and none without a deadline", () => {
    const { clock, driver } = driven(ignore);
    for (const ring of [300, 200, 250, 100]) driver.feed({ ring });
    expect(clock.armed).toBe(1);
    driver.feed({ ring: -1 });
    expect(clock.armed).toBe(0);
  });

  it("arms its timer for a deadline that a handler causes from within", () => {
    const { clock, driver, performed } = driven((effect, driver) => {
      if (effect === "ring at 10") driver.feed({ ring: 10 });
    });
    driver.feed({ ring: 10 });
    clock.advanceTo(100);
    expect(performed).toEqual(["ring at 10", "ring at 20"]);
  });

  it("does nothing more once closed, even from within a handler", () => {
    const { clock, driver, performed } = driven((effect, driver) => {
      if (effect === "1 a") driver.close();
    });
    driver.feed({ ring: 10 });
    driver.feed(1);
    driver.feed(2);
    clock.advanceTo(100);
    expect(performed).toEqual(["1 a"]);
    expect(clock.armed).toBe(0);
  });

  it("lets a handler's error escape and goes on with the next input", () => {
    const { driver, performed } = driven((effect) => {
      if (effect === "1 a") throw new Error("our own mistake");
    });
    expect(() => driver.feed(1)).toThrow("our own mistake");
    driver.feed(2);
    expect(performed).toEqual(["1 a", "2 a", "2 b"]);
  });
});
