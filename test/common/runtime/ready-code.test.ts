/** That what must be quick is rehearsed, and that a rehearsal harms nobody. */

import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { expect, it } from "vitest";
import { openLog } from "../../../common/runtime/log.ts";
import { type Rehearsal, rehearse } from "../../../common/runtime/ready-code.ts";
import type { LogLine } from "../../support/simulated-server.ts";

const logInto = (lines: LogLine[]) =>
  openLog(
    { level: "debug", format: "json" },
    { stream: { write: (line) => lines.push(JSON.parse(line)) } },
  );

class Counted implements Rehearsal {
  completed = 0;
  isClosed = false;
  readonly #after: (completed: number) => void;

  constructor(after: (completed: number) => void = () => undefined) {
    this.#after = after;
  }

  once(): void {
    this.completed += 1;
    this.#after(this.completed);
  }

  async close(): Promise<void> {
    this.isClosed = true;
  }
}

const never = new AbortController().signal;

it("is done hundreds of times, with turns of the event loop in between, and closed", async () => {
  const lines: LogLine[] = [];
  let turns = 0;
  const counting = setInterval(() => {
    turns += 1;
  });
  const counted = new Counted(() => {
    for (const until = performance.now() + 0.1; performance.now() < until; );
  });
  await rehearse(async () => counted, { stop: never, log: logInto(lines) });
  clearInterval(counting);
  expect(counted).toMatchObject({ completed: 500, isClosed: true });
  expect(turns).toBeGreaterThan(10);
  expect(lines).toMatchObject([{ completed: 500, msg: "address changes rehearsed" }]);
});

it("ends when the daemon ends", async () => {
  const stop = new AbortController();
  const counted = new Counted((completed) => {
    if (completed === 3) stop.abort();
  });
  await rehearse(async () => counted, { stop: stop.signal, log: logInto([]) });
  expect(counted).toMatchObject({ completed: 3, isClosed: true });
});

it("is no reason to fail", async () => {
  const lines: LogLine[] = [];
  const counted = new Counted(() => {
    throw new Error("no route socket");
  });
  await rehearse(async () => counted, { stop: never, log: logInto(lines) });
  expect(counted.isClosed).toBe(true);
  expect(lines).toMatchObject([{ msg: "address changes cannot be rehearsed" }]);
  await rehearse(() => Promise.reject(new Error("no")), { stop: never, log: logInto(lines) });
  expect(lines).toHaveLength(2);
});

it("says to the engine of this Node what it understands", () => {
  const module = join(import.meta.dirname, "../../../common/runtime/ready-code.ts");
  const code = `import("${module}").then((ready) => { ready.keepCodeReady(); ready.optimizeLate(); });`;
  const { status, stdout, stderr } = spawnSync(process.execPath, ["--import", "tsx", "-e", code], {
    encoding: "utf8",
  });
  // V8 writes there what it does not know, and goes on.
  expect({ status, stdout, stderr }).toEqual({ status: 0, stdout: "", stderr: "" });
});
