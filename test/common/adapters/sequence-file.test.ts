import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { SequenceFile } from "../../../common/adapters/sequence-file.ts";
import { ConfigError, SystemError } from "../../../common/errors.ts";
import type { SecurityAssociationKeys } from "../../../common/tunnel/tunnel.ts";

const RESERVE = 1 << 18;

let directory: string;
let path: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "hometun-test-"));
  path = join(directory, "sequence-numbers");
});
afterEach(() => rmSync(directory, { recursive: true }));

const cbc: SecurityAssociationKeys = {
  spi: 4096,
  suite: "aes-cbc-256-hmac-sha2-256-128",
  encryptionKey: new Uint8Array(32).fill(1),
  companion: new Uint8Array(32).fill(2),
  extendedSequenceNumbers: true,
};
const gcm: SecurityAssociationKeys = {
  ...cbc,
  suite: "aes-gcm-256",
  companion: new Uint8Array(4).fill(3),
};

describe("outbound numbers", () => {
  it("begin at 1 and end at the reserve", () => {
    const { next, limit } = new SequenceFile(path).openOutbound(cbc);
    expect([next, limit]).toEqual([1, 1 + RESERVE]);
  });

  it("go on behind the reserve when the process was killed", () => {
    new SequenceFile(path).openOutbound(cbc);
    expect(new SequenceFile(path).openOutbound(cbc).next).toBe(1 + RESERVE);
  });

  it("go on behind the last extension", async () => {
    const sequence = new SequenceFile(path).openOutbound(cbc);
    const limit = await new Promise((resolve, reject) => sequence.extend(200_000, resolve, reject));
    expect(limit).toBe(200_000 + RESERVE);
    expect(new SequenceFile(path).openOutbound(cbc).next).toBe(limit);
  });

  it("go on where they were when the process ended well", () => {
    new SequenceFile(path).openOutbound(cbc).release(17);
    expect(new SequenceFile(path).openOutbound(cbc).next).toBe(17);
  });

  it("belong to the key, not to the SPI", () => {
    new SequenceFile(path).openOutbound(cbc);
    const other = { ...cbc, companion: new Uint8Array(32).fill(9) };
    expect(new SequenceFile(path).openOutbound(other).next).toBe(1);
  });

  it("end at 2^32 - 1 without extended sequence numbers, for good", () => {
    const short = { ...cbc, extendedSequenceNumbers: false };
    new SequenceFile(path).openOutbound(short).release(2 ** 32 - 10);
    const { next, limit } = new SequenceFile(path).openOutbound(short);
    expect([next, limit]).toEqual([2 ** 32 - 10, 2 ** 32]);
    expect(() => new SequenceFile(path).openOutbound(short)).toThrow(ConfigError);
  });

  it("of an AES-GCM key are given once", () => {
    new SequenceFile(path).openOutbound(gcm).release(1);
    expect(() => new SequenceFile(path).openOutbound(gcm)).toThrow(/single-use.*hometun keygen/);
  });
});

describe("the replay window", () => {
  it("is as it was recorded, packet for packet", () => {
    const { window, record } = new SequenceFile(path).openInbound(cbc);
    for (const number of [1, 5, 900, 1800]) window.record(number);
    record();
    const again = new SequenceFile(path).openInbound(cbc).window;
    expect([1800, 900, 1799, 1801, 700].map((number) => again.check(number))).toEqual([
      "replayed",
      "replayed",
      "fresh",
      "fresh",
      "too-old",
    ]);
  });

  it("is not the other direction's", () => {
    const file = new SequenceFile(path);
    file.openOutbound(cbc);
    expect(file.openInbound(cbc).window.top).toBe(0);
  });
});

describe("the file", () => {
  it("is readable by its owner only and holds no key", () => {
    const file = new SequenceFile(path);
    file.openOutbound(cbc);
    file.close();
    expect(statSync(path).mode & 0o777).toBe(0o600);
    expect(readFileSync(path).includes(Buffer.from(cbc.encryptionKey))).toBe(false);
  });

  it("with a damaged record refuses that key and serves the others", () => {
    const file = new SequenceFile(path);
    file.openOutbound(cbc);
    file.openOutbound({ ...cbc, spi: 4097 });
    const octets = readFileSync(path);
    octets.writeUInt8(0xff, 512 + 30);
    writeFileSync(path, octets);
    const again = new SequenceFile(path);
    expect(() => again.openOutbound(cbc)).toThrow(/damaged.*hometun keygen/);
    expect(again.openOutbound({ ...cbc, spi: 4097 }).next).toBe(1 + RESERVE);
  });

  it("of another kind is not touched", () => {
    writeFileSync(path, "x".repeat(1000));
    expect(() => new SequenceFile(path)).toThrow(SystemError);
    expect(readFileSync(path, "utf8")).toBe("x".repeat(1000));
  });

  it("that cannot be made says where", () => {
    expect(() => new SequenceFile(join(directory, "missing", "file"))).toThrow(/ENOENT/);
  });
});
