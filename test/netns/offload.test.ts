/**
 * Segmenter and coalescer between two real kernels' stacks:
 *
 *      namespace left                 this process                     namespace right
 *     TCP, UDP ── TUN ──> segments, 1,500 octets each ──> super-packets ── TUN ── TCP, UDP
 *              <──────────────────────── and back ─────────────────────────
 *
 * What a stack leaves to the interface (checksums, segmentation) is not written down as precisely as one would
 * wish, so the stacks themselves are asked: they refuse, and count, every checksum that is wrong.
 */

import { execFileSync, spawnSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { onReadable, type Readiness } from "../../common/adapters/linux/libc.ts";
import { Slab } from "../../common/adapters/linux/slab.ts";
import { openTun, readTun, removeTun, TunWriter } from "../../common/adapters/linux/tun-device.ts";
import { completeChecksum } from "../../common/offload/checksum-words.ts";
import { Coalescer, MAX_PIECES } from "../../common/offload/coalescer.ts";
import { Segmenter } from "../../common/offload/segmenter.ts";
import {
  checksumOffset,
  checksumStart,
  GsoType,
  gsoType,
  needsChecksum,
} from "../../common/offload/virtio-net-header.ts";
import { canUseNamespaces, Lab, type Namespace } from "../support/namespace.ts";

const READ_AT = 64;
const READ_LENGTH = 65_536;
const FIRST = 66_048;
const STRIDE = 2048;
const SLOTS = 64;

/** Carries packets from one TUN interface to another, as a tunnel would without the tunnel. */
class Relay {
  superPackets = 0;
  segments = 0;
  mergedPackets = 0;
  refused = 0;
  readonly #memory = new Slab(FIRST + SLOTS * STRIDE);
  readonly #segmenter = new Segmenter(this.#memory);
  readonly #lengths = new Int32Array(SLOTS);
  readonly #coalescer: Coalescer;
  readonly #readiness: Readiness;
  readonly #from: number;

  constructor(from: number, to: number) {
    const writer = new TunWriter(this.#memory, MAX_PIECES);
    const written = (result: boolean) => {
      if (!result) this.refused += 1;
    };
    this.#from = from;
    this.#coalescer = new Coalescer(this.#memory, {
      packet: (offset, length) => written(writer.write(to, offset, length)),
      merged: (count, offsets, lengths) => {
        this.mergedPackets += 1;
        written(writer.writeMerged(to, count, offsets, lengths));
      },
    });
    this.#readiness = onReadable(from, () => this.#carry());
  }

  close(): void {
    this.#readiness.close();
  }

  #carry(): void {
    const memory = this.#memory;
    for (;;) {
      const length = readTun(this.#from, memory, READ_AT, READ_LENGTH);
      if (length < 0) return;
      if (gsoType(memory, READ_AT) === GsoType.none) this.#carryOne(length);
      else this.#carrySuperPacket(length);
    }
  }

  #carryOne(length: number): void {
    const memory = this.#memory;
    const start = checksumStart(memory, READ_AT);
    const field = checksumOffset(memory, READ_AT);
    if (needsChecksum(memory, READ_AT)) {
      if (!completeChecksum(memory, READ_AT, length, start, field)) this.refused += 1;
    }
    this.#coalescer.add(READ_AT, length);
    this.#coalescer.flush();
  }

  #carrySuperPacket(length: number): void {
    this.superPackets += 1;
    if (!this.#segmenter.begin(READ_AT, length)) this.refused += 1;
    for (;;) {
      const count = this.#segmenter.fill(FIRST, STRIDE, SLOTS, this.#lengths);
      if (count === 0) return;
      this.segments += count;
      for (let i = 0; i < count; i += 1) {
        this.#coalescer.add(FIRST + i * STRIDE, this.#lengths[i] ?? 0);
      }
      this.#coalescer.flush();
    }
  }
}

/** A counter of /proc/net/snmp6 or of `nstat`. */
async function counter(namespace: Namespace, name: string): Promise<number> {
  const text = await namespace.run("cat /proc/net/snmp6; nstat -asz");
  return Number(new RegExp(`^${name}\\s+(\\d+)`, "m").exec(text)?.[1] ?? Number.NaN);
}

const RECEIVE = `
const digest = require("node:crypto").createHash("sha256");
const server = require("node:net").createServer({ allowHalfOpen: true }, (socket) => {
  socket.on("data", (octets) => digest.update(octets));
  socket.on("end", () => socket.end(digest.digest("hex")));
  server.close();
});
server.listen(5001, "2001:db8::2", () => console.log("ready"));
`;
const SEND = `
const { createHash, randomBytes } = require("node:crypto");
const octets = randomBytes(20_000_003);
const socket = require("node:net").connect({ port: 5001, host: "2001:db8::2", allowHalfOpen: true });
let answer = "";
socket.on("data", (text) => { answer += text; });
socket.on("end", () => {
  console.log(answer === createHash("sha256").update(octets).digest("hex") ? "same" : "different");
});
socket.end(octets);
`;
// UDP_SEGMENT is 103 at level SOL_UDP, 17: linux/udp.h.
const RECEIVE_DATAGRAMS = `
import hashlib, socket
receiver = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
receiver.bind(("2001:db8::2", 5002))
receiver.settimeout(10)
print("ready", flush=True)
print([len(receiver.recv(2000)) for _ in range(5)])
`;
const SEND_DATAGRAMS = `
import socket
sender = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
sender.setsockopt(17, 103, 1201)
sender.sendto(bytes(4 * 1201 + 7), ("2001:db8::2", 5002))
`;

/** Node.js cannot set UDP_SEGMENT. */
function hasPython(): boolean {
  const has = spawnSync("python3", ["--version"]).status === 0;
  if (!has) process.stderr.write("skipped: sending datagrams as one needs python3\n");
  return has;
}

describe.skipIf(!canUseNamespaces())("offloads and the kernel", () => {
  const lab = new Lab();
  const opened: number[] = [];
  const relays: Relay[] = [];
  let left: Namespace;
  let right: Namespace;

  beforeAll(async () => {
    [left, right] = await Promise.all([lab.namespace("left"), lab.namespace("right")]);
    const suffix = randomBytes(3).toString("hex");
    const ends = [
      { namespace: left, address: "2001:db8::1/64", name: `htl${suffix}` },
      { namespace: right, address: "2001:db8::2/64", name: `htr${suffix}` },
    ];
    for (const { namespace, address, name } of ends) {
      opened.push(openTun(name));
      execFileSync("ip", ["link", "set", name, "netns", namespace.name]);
      await namespace.run(
        `ip addr add ${address} dev ${name} nodad && ip link set ${name} mtu 1500 up`,
      );
    }
    const [a = -1, b = -1] = opened;
    relays.push(new Relay(a, b), new Relay(b, a));
  });

  afterAll(async () => {
    for (const relay of relays) relay.close();
    for (const fd of opened) removeTun(fd);
    await lab.dispose();
  });

  it("carry a TCP transfer unharmed, most of it in super-packets on both sides", async () => {
    const receiver = right.spawn([process.execPath, "-e", RECEIVE]);
    await receiver.line((line) => line === "ready");
    expect(await left.run([process.execPath, "-e", SEND])).toBe("same\n");

    const [there, back] = relays;
    expect(there?.refused).toBe(0);
    expect(back?.refused).toBe(0);
    expect(there?.superPackets).toBeGreaterThan(0);
    expect(there?.segments).toBeGreaterThan(10_000);
    expect(there?.mergedPackets).toBeLessThan((there?.segments ?? 0) / 4);
    expect(await counter(right, "TcpInCsumErrors")).toBe(0);
    expect(await counter(left, "TcpInCsumErrors")).toBe(0);
    expect(await counter(right, "Ip6InHdrErrors")).toBe(0);
  });

  it.skipIf(!hasPython())("carry datagrams that were sent as one", async () => {
    const receiver = right.spawn(["python3", "-c", RECEIVE_DATAGRAMS]);
    await receiver.line((line) => line === "ready");
    await left.run(["python3", "-c", SEND_DATAGRAMS]);
    expect(await receiver.line()).toBe("[1201, 1201, 1201, 1201, 7]");
    expect(await counter(right, "Udp6InCsumErrors")).toBe(0);
  });
});
