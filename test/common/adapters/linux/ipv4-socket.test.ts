import { createSocket } from "node:dgram";
import { once } from "node:events";
import { readdirSync } from "node:fs";
import { expect, it } from "vitest";
import { openIpv4Socket } from "../../../../common/adapters/linux/ipv4-socket.ts";
import type { SystemError } from "../../../../common/errors.ts";
import { parseIpv4 } from "../../../../common/ip/address.ts";

const LOOPBACK = parseIpv4("127.0.0.1");
const SENDING = {
  kind: "udp",
  address: LOOPBACK,
  port: 0,
  operation: "open a test's port",
  hints: {},
} as const;

it("has more room than the system gives by itself, and Node reads from it", async () => {
  const usual = createSocket("udp4");
  usual.bind(0, LOOPBACK);
  await once(usual, "listening");
  const socket = createSocket("udp4");
  const fd = openIpv4Socket({ ...SENDING, receiveBuffer: 2 << 20 });
  await new Promise<void>((resolve) => socket.bind({ fd }, resolve));
  try {
    // Where the limit may not be exceeded it is the limit, which is no less than the usual.
    expect(socket.getRecvBufferSize()).toBeGreaterThan(usual.getRecvBufferSize());
    const heard = once(socket, "message");
    usual.send("hello", socket.address().port, LOOPBACK);
    expect(String((await heard)[0])).toBe("hello");
  } finally {
    usual.close();
    socket.close();
  }
});

it("says why a port cannot be had", async () => {
  const holder = createSocket("udp4");
  holder.bind(0, LOOPBACK);
  await once(holder, "listening");
  try {
    const taken = { ...SENDING, port: holder.address().port, hints: { EADDRINUSE: "end it" } };
    const refused = expect.objectContaining<Partial<SystemError>>({
      code: "EADDRINUSE",
      operation: "open a test's port",
      hint: "end it",
    });
    expect(() => openIpv4Socket(taken)).toThrow(refused);
  } finally {
    holder.close();
  }
});

it("leaves nothing open where it cannot be prepared", () => {
  const before = readdirSync("/proc/self/fd").length;
  const prepare = () => {
    throw new Error("no such option");
  };
  expect(() => openIpv4Socket({ ...SENDING, prepare })).toThrow("no such option");
  expect(readdirSync("/proc/self/fd")).toHaveLength(before);
});
