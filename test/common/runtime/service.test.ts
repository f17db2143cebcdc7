import { once } from "node:events";
import { beforeEach, describe, expect, it } from "vitest";
import type { ServiceManager } from "../../../common/adapters/systemd-notify.ts";
import { openLog } from "../../../common/runtime/log.ts";
import { Service } from "../../../common/runtime/service.ts";
import { Failure, type Task } from "../../../common/runtime/tasks.ts";
import { VirtualClock } from "../../support/virtual-clock.ts";

const WATCHDOG_MS = 30_000;

let clock: VirtualClock;
let told: { at: number; assignments: readonly string[] }[];
let deaf: boolean;
let logged: { level: string; msg: string; ailment?: string }[];
let summary: string;
let ailment: string | undefined;
let late: boolean;
let stop: AbortController;
let failure: Failure;
let running: Promise<void>;

const manager: ServiceManager = {
  watchdogMs: WATCHDOG_MS,
  tell(assignments) {
    if (!deaf) told.push({ at: clock.now(), assignments });
    return !deaf;
  },
  close: () => undefined,
};
const task: Task = {
  name: "tunnel",
  run: async (signal, ready) => {
    if (!late) ready();
    await Promise.race([once(signal, "abort"), failure.promise]);
  },
  ailment: () => ailment,
  summary: () => summary,
};

/** A daemon that runs, and is ready unless it is late. */
function start(parts: { manager?: ServiceManager } = { manager }): Service {
  const write = (line: string) => void logged.push(JSON.parse(line));
  const log = openLog({ level: "info", format: "json" }, { stream: { write } });
  const service = new Service({ manager: parts.manager, tasks: [task], clock, log });
  running = service.run(stop.signal, () => undefined);
  return service;
}

/** Everything said from then on. */
function saidSince(instant: number): string[] {
  return told.filter(({ at }) => at >= instant).flatMap(({ assignments }) => assignments);
}

beforeEach(() => {
  clock = new VirtualClock();
  told = [];
  logged = [];
  deaf = false;
  summary = "announcing 192.0.2.7";
  ailment = undefined;
  late = false;
  stop = new AbortController();
  failure = new Failure();
});

describe("Service", () => {
  it("says at once when all is ready, with how it is", () => {
    start();
    expect(told).toEqual([
      { at: 0, assignments: ["READY=1", "STATUS=announcing 192.0.2.7", "WATCHDOG=1"] },
    ]);
  });

  it("says how it is when that changes, and not again while it does not", () => {
    start();
    summary = "confirmed 192.0.2.7";
    clock.advanceTo(10_000);
    expect(saidSince(1).filter((text) => text !== "WATCHDOG=1")).toEqual([
      "STATUS=confirmed 192.0.2.7",
    ]);
  });

  it("keeps the watchdog asleep while every task is well", () => {
    start();
    clock.advanceTo(60_000);
    const fed = told.filter(({ assignments }) => assignments.includes("WATCHDOG=1"));
    const gaps = fed.map(({ at }, index) => at - (fed[index - 1]?.at ?? 0));
    expect(Math.max(...gaps)).toBeLessThanOrEqual(WATCHDOG_MS / 3);
  });

  it("lets the watchdog wake when a task is not well, says what ails it, and tells the log once", () => {
    start();
    ailment = "not looked after for 10 s";
    clock.advanceTo(20_000);
    expect(saidSince(1)).toEqual([
      "STATUS=tunnel: not looked after for 10 s; announcing 192.0.2.7",
    ]);
    expect(logged).toMatchObject([
      { level: "error", ailment: "tunnel: not looked after for 10 s" },
    ]);
    ailment = undefined;
    clock.advanceTo(21_000);
    expect(saidSince(20_500)).toEqual(["STATUS=announcing 192.0.2.7", "WATCHDOG=1"]);
    expect(logged).toHaveLength(2);
  });

  it("does not feed the watchdog before it is ready", () => {
    late = true;
    start();
    clock.advanceTo(5_000);
    expect(saidSince(0)).toEqual(["STATUS=starting"]);
  });

  it("tells a manager that did not hear it again", () => {
    deaf = true;
    start();
    deaf = false;
    clock.advanceTo(1_000);
    expect(saidSince(0)).toEqual(["READY=1", "STATUS=announcing 192.0.2.7", "WATCHDOG=1"]);
  });

  it("says when it begins to take a configuration, by the kernel's clock, and when it has", async () => {
    const service = start();
    clock.advanceTo(500);
    await service.reloading(async () => {
      expect(saidSince(500)).toEqual([
        "RELOADING=1",
        expect.stringMatching(/^MONOTONIC_USEC=\d+$/),
        "WATCHDOG=1",
      ]);
      clock.advanceTo(600);
      return undefined;
    });
    expect(saidSince(600)).toEqual(["READY=1", "WATCHDOG=1"]);
  });

  it("remarks on a configuration that was not taken until the next one", async () => {
    const service = start();
    await service.reloading(async () => "not reloaded");
    expect(saidSince(0)).toContain("STATUS=not reloaded; announcing 192.0.2.7");
    await service.reloading(async () => undefined);
    expect(saidSince(0).at(-2)).toBe("STATUS=announcing 192.0.2.7");
  });

  it("says that it stops, and nothing after", async () => {
    start();
    stop.abort();
    const { length } = told;
    clock.advanceTo(60_000);
    expect(told.at(-1)?.assignments).toEqual(["STOPPING=1", "STATUS=stopping"]);
    expect(told).toHaveLength(length);
    await running;
    expect(clock.armed).toBe(0);
  });

  it("says why it failed, in one line", async () => {
    start();
    failure.fail(new Error("no space\nREADY=1"));
    await expect(running).rejects.toThrow("task tunnel failed");
    expect(told.at(-1)?.assignments).toEqual(["STOPPING=1", "STATUS=failed: no space READY=1"]);
  });

  it("arms no timer where nobody listens", () => {
    start({});
    expect(clock.armed).toBe(0);
  });
});
