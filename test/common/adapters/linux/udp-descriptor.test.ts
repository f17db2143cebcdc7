import { createSocket } from "node:dgram";
import { once } from "node:events";
import { expect, it } from "vitest";
import { openUdpDescriptor } from "../../../../common/adapters/linux/udp-descriptor.ts";
import type { SystemError } from "../../../../common/errors.ts";
import { parseIpv4 } from "../../../../common/ip/address.ts";

const LOOPBACK = parseIpv4("127.0.0.1");
const SENDING = { address: LOOPBACK, port: 0, operation: "open a test's port", hints: {} };

it("has more room than the system gives by itself, and Node reads from it", async () => {
  const usual = createSocket("udp4");
  usual.bind(0, LOOPBACK);
  await once(usual, "listening");
  const socket = createSocket("udp4");
  const fd = openUdpDescriptor({ ...SENDING, waiting: 2 << 20 });
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
    expect(() => openUdpDescriptor({ ...taken, waiting: 4096 })).toThrow(refused);
  } finally {
    holder.close();
  }
});
