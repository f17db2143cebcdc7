import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import {
  monotonicMicroseconds,
  openServiceManager,
} from "../../../common/adapters/systemd-notify.ts";
import { eventually } from "../../support/namespace.ts";
import { NotifySocket } from "../../support/notify-socket.ts";

let directory: string;

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "hometun-notify-"));
});

afterEach(() => rmSync(directory, { recursive: true }));

describe("openServiceManager()", () => {
  it.each([
    { name: "a path", address: () => join(directory, "notify") },
    { name: "an abstract name", address: () => `@hometun-test-${process.pid}` },
  ])("sends each call as one datagram to $name", async ({ address }) => {
    const socket = new NotifySocket(address());
    const manager = openServiceManager({ NOTIFY_SOCKET: address() });
    expect(manager?.tell(["READY=1", "STATUS=confirmed, 192.0.2.7"])).toBe(true);
    expect(manager?.tell(["WATCHDOG=1"])).toBe(true);
    await eventually(async () => (socket.heard.length < 2 ? undefined : true));
    expect(socket.heard).toEqual([["READY=1", "STATUS=confirmed, 192.0.2.7"], ["WATCHDOG=1"]]);
    manager?.close();
    socket.close();
  });

  it("takes its variables out of the environment, so that no command speaks for the daemon", () => {
    const environment = {
      NOTIFY_SOCKET: join(directory, "notify"),
      WATCHDOG_USEC: "1000000",
      WATCHDOG_PID: String(process.pid),
      PATH: "/usr/bin",
    };
    openServiceManager(environment)?.close();
    expect(environment).toEqual({ PATH: "/usr/bin" });
  });

  it.each([
    { name: "no socket", environment: {} },
    { name: "an empty one", environment: { NOTIFY_SOCKET: "" } },
    { name: "one of another kind", environment: { NOTIFY_SOCKET: "vsock:2:1234" } },
  ])("is nobody with $name", ({ environment }) => {
    expect(openServiceManager({ ...environment })).toBeUndefined();
  });

  it.each([
    { name: "asked for", variables: { WATCHDOG_USEC: "30000000" }, expected: 30_000 },
    { name: "not asked for", variables: {}, expected: undefined },
    { name: "switched off", variables: { WATCHDOG_USEC: "0" }, expected: undefined },
    {
      name: "asked of another process",
      variables: { WATCHDOG_USEC: "30000000", WATCHDOG_PID: "1" },
      expected: undefined,
    },
  ])("knows the watchdog: $name", ({ variables, expected }) => {
    const manager = openServiceManager({ NOTIFY_SOCKET: join(directory, "notify"), ...variables });
    expect(manager?.watchdogMs).toBe(expected);
    manager?.close();
  });

  it("says so and goes on when nobody is at the socket, or its queue is full", () => {
    const address = join(directory, "notify");
    const manager = openServiceManager({ NOTIFY_SOCKET: address });
    expect(manager?.tell(["READY=1"])).toBe(false);
    const socket = new NotifySocket(address);
    const told = Array.from({ length: 1_000 }, () => manager?.tell(["WATCHDOG=1"]));
    expect(told[0]).toBe(true);
    expect(told.at(-1)).toBe(false);
    manager?.close();
    socket.close();
  });

  it("refuses an address that no socket can have", () => {
    expect(() => openServiceManager({ NOTIFY_SOCKET: `/${"x".repeat(108)}` })).toThrow(RangeError);
  });
});

it("monotonicMicroseconds() is the kernel's monotonic clock", () => {
  const before = BigInt(Math.floor(performance.timeOrigin)) * 1_000n;
  const now = monotonicMicroseconds();
  expect(now).toBeGreaterThan(0n);
  expect(now).toBeLessThan(before);
  expect(monotonicMicroseconds()).toBeGreaterThanOrEqual(now);
});
