import { beforeEach, describe, expect, it } from "vitest";
import type { UplinkSnapshot } from "../../../client/address-watch/snapshot.ts";
import {
  AddressWatch,
  type AddressWatchEffect,
  BURST_QUERIES,
  CLOCK_CHECK_MS,
  COALESCE_MS,
  REASK_MS,
  RETRY_MS,
} from "../../../client/address-watch/watch.ts";
import { parseIpv4 } from "../../../common/ip/address.ts";
import { at } from "../../support/timeline.ts";

const HOUR = 3_600_000;
const uplink = (address: string): UplinkSnapshot => ({
  address: parseIpv4(address),
  interfaceIndex: 4,
  interfaceName: "eth0",
  mtu: 1500,
});
const OLD = uplink("192.0.2.7");
const NEW = uplink("192.0.2.8");

/** A machine: its present uplink, its clocks, and how long it takes to answer a query. */
class Machine {
  readonly watch = new AddressWatch();
  readonly queries: number[] = [];
  readonly told: [number, string | undefined][] = [];
  uplink: UplinkSnapshot | undefined = OLD;
  /** Wall clock minus monotonic clock. */
  wallAhead = 1_000_000;
  answerAfter = 0.25;
  failing = false;
  resumed = 0;
  #answerAt: number | undefined;
  #found: UplinkSnapshot | undefined;
  #now = 0;

  hint(time: number): void {
    this.advance(time);
    this.#perform(this.watch.handle({ kind: "hint" }, at(this.#now)));
  }

  advance(until: number): void {
    for (;;) {
      const deadline = this.watch.deadline ?? Number.POSITIVE_INFINITY;
      const answer = this.#answerAt ?? Number.POSITIVE_INFINITY;
      if (Math.min(deadline, answer) > until) break;
      this.#now = Math.max(this.#now, Math.min(deadline, answer));
      if (answer <= deadline) this.#answer();
      else this.#perform(this.watch.handleDeadline(at(this.#now)));
    }
    this.#now = until;
  }

  #answer(): void {
    this.#answerAt = undefined;
    const snapshot = this.#found;
    this.#perform(
      this.watch.handle(
        this.failing ? { kind: "failed" } : { kind: "answer", snapshot },
        at(this.#now),
      ),
    );
  }

  #perform(effects: AddressWatchEffect[]): void {
    for (const effect of effects) {
      switch (effect.kind) {
        case "query":
          expect(this.#answerAt, "one query at a time").toBeUndefined();
          this.queries.push(this.#now);
          this.#found = this.uplink;
          this.#answerAt = this.#now + this.answerAfter;
          break;
        case "read-wall-clock": {
          const milliseconds = this.#now + this.wallAhead;
          this.#perform(this.watch.handle({ kind: "wall-clock", milliseconds }, at(this.#now)));
          break;
        }
        case "resumed":
          this.resumed += 1;
          break;
        case "changed":
          this.told.push([this.#now, effect.current?.address]);
          break;
      }
    }
  }
}

let machine: Machine;
beforeEach(() => {
  machine = new Machine();
});

/** Started a while ago, quiet since, and not about to ask of itself. */
function settled(): number {
  machine.hint(0);
  machine.advance(32_000);
  machine.queries.length = 0;
  machine.told.length = 0;
  return 32_100;
}

describe("AddressWatch", () => {
  it("asks at the first hint and tells the first answer", () => {
    machine.hint(0);
    machine.advance(1);
    expect(machine.queries).toEqual([0]);
    expect(machine.told).toEqual([[0.25, "192.0.2.7"]]);
  });

  it("tells once that there is no address, and when there is one", () => {
    machine.uplink = undefined;
    machine.hint(0);
    for (let time = 100; time < 10_000; time += 100) machine.hint(time);
    expect(machine.told).toEqual([[0.25, undefined]]);
    machine.uplink = OLD;
    machine.hint(10_000);
    machine.advance(10_001);
    expect(machine.told.slice(1)).toEqual([[10_000.25, "192.0.2.7"]]);
  });

  it("asks at once when a hint comes", () => {
    const start = settled();
    machine.uplink = NEW;
    machine.hint(start);
    machine.advance(start + 1);
    expect(machine.queries).toEqual([start]);
    expect(machine.told).toEqual([[start + 0.25, "192.0.2.8"]]);
  });

  it("tells nothing when the answer is the same", () => {
    const start = settled();
    machine.hint(start);
    machine.advance(start + 1_000);
    expect(machine.told).toEqual([]);
  });

  it("asks exactly once more for any number of hints during a query", () => {
    const start = settled();
    for (let i = 0; i < 100; i++) machine.hint(start);
    machine.advance(start + 10_000);
    expect(machine.queries).toHaveLength(2);
    expect(machine.queries[1]).toBeCloseTo(start + 0.25);
  });

  it("finds what changed after a query was made and before it was answered", () => {
    const start = settled();
    machine.hint(start);
    machine.uplink = NEW;
    machine.hint(start + 0.1);
    machine.advance(start + 1);
    expect(machine.told.map(([, address]) => address)).toEqual(["192.0.2.8"]);
  });

  it("follows a change that takes several messages without delay", () => {
    const start = settled();
    machine.uplink = undefined;
    machine.hint(start); // address deleted
    machine.hint(start + 1); // address added, no route yet
    machine.advance(start + 2);
    machine.uplink = NEW;
    machine.hint(start + 2); // route added
    machine.advance(start + 3);
    expect(machine.told).toEqual([
      [start + 0.25, undefined],
      [start + 2.25, "192.0.2.8"],
    ]);
  });

  it("coalesces hints that go on for long", () => {
    const start = settled();
    for (let time = start; time < start + 10_000; time += 1) machine.hint(time);
    expect(machine.queries.length).toBeLessThanOrEqual(BURST_QUERIES + 10_000 / COALESCE_MS);
    machine.uplink = NEW;
    machine.hint(start + 10_000);
    machine.advance(start + 10_000 + COALESCE_MS + 1);
    expect(machine.told.at(-1)?.[1]).toBe("192.0.2.8");
  });

  it("reacts at once again after the hints have ended", () => {
    const start = settled();
    for (let time = start; time < start + 1_000; time += 1) machine.hint(time);
    machine.advance(start + 5_000);
    machine.queries.length = 0;
    machine.hint(start + 5_000);
    expect(machine.queries).toEqual([start + 5_000]);
  });

  it("asks again without any hint", () => {
    const start = settled();
    machine.uplink = NEW;
    machine.advance(start + REASK_MS);
    expect(machine.told.map(([, address]) => address)).toEqual(["192.0.2.8"]);
  });

  it("asks when the wall clock ran on during sleep", () => {
    const start = settled();
    machine.uplink = NEW;
    machine.wallAhead += 8 * HOUR;
    machine.advance(start + CLOCK_CHECK_MS);
    expect(machine.told.map(([, address]) => address)).toEqual(["192.0.2.8"]);
  });

  it("says that the machine slept, once, though it has the same address", () => {
    const start = settled();
    machine.wallAhead += 8 * HOUR;
    machine.advance(start + 3 * CLOCK_CHECK_MS);
    expect([machine.resumed, machine.told]).toEqual([1, []]);
  });

  it("asks once for one jump of the clock, backwards too", () => {
    const start = settled();
    machine.wallAhead -= HOUR;
    machine.advance(start + CLOCK_CHECK_MS);
    expect(machine.queries).toHaveLength(1);
    machine.advance(start + 3 * CLOCK_CHECK_MS);
    expect(machine.queries).toHaveLength(1);
  });

  it("does not take a clock that is slewed for sleep", () => {
    const start = settled();
    for (let i = 1; i <= 4; i++) {
      machine.wallAhead += 2; // 500 ppm
      machine.advance(start + i * CLOCK_CHECK_MS);
    }
    expect(machine.queries).toEqual([]);
  });

  it("keeps what it knew when a query fails, and tries again", () => {
    const start = settled();
    machine.failing = true;
    machine.hint(start);
    machine.advance(start + 10 * RETRY_MS);
    expect(machine.told).toEqual([]);
    expect(machine.queries.length).toBeGreaterThanOrEqual(9);
    machine.failing = false;
    machine.uplink = NEW;
    machine.advance(start + 11 * RETRY_MS + 1);
    expect(machine.told.map(([, address]) => address)).toEqual(["192.0.2.8"]);
  });

  it("waits for an answer however long it takes", () => {
    machine.answerAfter = 100_000;
    machine.hint(0);
    machine.advance(99_000);
    expect(machine.queries).toEqual([0]);
  });
});
