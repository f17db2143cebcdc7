import {
  closeSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { SequenceFile } from "../../../common/adapters/sequence-file.ts";
import { ConfigError, SystemError } from "../../../common/errors.ts";
import { NO_REPORT, type StateReport } from "../../../common/runtime/state-health.ts";
import type { SecurityAssociationKeys } from "../../../common/tunnel/tunnel.ts";

const RESERVE = 1 << 18;
const RECORD = 512; // octets

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
    const limit = await new Promise((resolve) => sequence.extend(200_000, resolve));
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

  it("that was made by the first version is taken over", () => {
    new SequenceFile(path).openOutbound(cbc);
    const octets = readFileSync(path);
    octets.write("hometun sequence numbers 1\n".padEnd(RECORD, "\n"));
    writeFileSync(path, octets);
    expect(new SequenceFile(path).openOutbound(cbc).next).toBe(1 + RESERVE);
    expect(readdirSync(directory)).toEqual(["sequence-numbers"]);
    expect(readFileSync(path, "latin1")).toMatch(/^hometun sequence numbers 2\n/);
  });

  it("may have a record half written when the power fails: it was never used", () => {
    new SequenceFile(path).openOutbound(cbc);
    writeFileSync(path, Buffer.concat([readFileSync(path), Buffer.alloc(RECORD, 7)]));
    expect(new SequenceFile(path).openOutbound({ ...cbc, spi: 4097 }).next).toBe(1);
    expect(new SequenceFile(path).openOutbound(cbc).next).toBe(1 + RESERVE);
  });

  it("that cannot be read says where", () => {
    expect(() => new SequenceFile(directory)).toThrow(/cannot read .*: EISDIR/);
  });
});

describe("a file that is not what it should be", () => {
  const other = { ...cbc, spi: 4097 };
  const aside = () => readdirSync(directory).filter((name) => name.includes("damaged"));
  beforeEach(() => {
    const file = new SequenceFile(path);
    file.openOutbound(cbc);
    file.openOutbound(other);
    file.openOutbound(gcm);
    file.close();
  });

  const damages: readonly { name: string; damage: (octets: Buffer) => Buffer; lost: boolean }[] = [
    { name: "a number", damage: (octets) => flipped(octets, RECORD + 30), lost: false },
    { name: "a fingerprint", damage: (octets) => flipped(octets, RECORD + 3), lost: false },
    { name: "the header", damage: (octets) => flipped(octets, 300), lost: false },
    {
      name: "the last record is missing",
      damage: (octets) => octets.subarray(0, -RECORD),
      lost: true,
    },
    { name: "it is cut in a record", damage: (octets) => octets.subarray(0, -10), lost: true },
    { name: "it is empty", damage: () => Buffer.alloc(0), lost: true },
    { name: "zeros", damage: (octets) => Buffer.alloc(octets.length), lost: true },
    { name: "another file", damage: () => Buffer.from("x".repeat(1000)), lost: true },
    { name: "of a newer version", damage: (octets) => retitled(octets, 3), lost: true },
  ];

  it.each(damages)("is kept aside as it was: $name", ({ damage }) => {
    const damaged = damage(readFileSync(path));
    writeFileSync(path, damaged);
    const told: string[] = [];
    new SequenceFile(path, report({ damaged: (name) => told.push(name) }), () => 0).close();
    expect(aside()).toEqual(["sequence-numbers.damaged-19700101T000000.000Z"]);
    expect(told).toEqual([join(directory, ...aside())]);
    expect(readFileSync(join(directory, ...aside()))).toEqual(damaged);
  });

  it.each(damages)("never lets a key begin anew, today or later: $name", ({ damage }) => {
    writeFileSync(path, damage(readFileSync(path)));
    for (let start = 0; start < 2; start++) {
      const file = new SequenceFile(path);
      for (const keys of [cbc, other]) {
        const next = attempt(() => file.openOutbound(keys).next);
        expect(next === "EBADMSG" || Number(next) > RESERVE).toBe(true);
      }
      expect(attempt(() => file.openOutbound(gcm))).toMatch(/EBADMSG|single-use/);
      file.close();
    }
  });

  it.each(damages.filter(({ lost }) => !lost))(
    "serves the keys whose records are sound: $name",
    ({ damage }) => {
      writeFileSync(path, damage(readFileSync(path)));
      expect(new SequenceFile(path).openOutbound(other).next).toBe(1 + RESERVE);
    },
  );

  it("says what to do, and trusts new keys when that was done", () => {
    writeFileSync(path, "");
    const fresh = { ...cbc, spi: 5000 };
    expect(() => new SequenceFile(path).check({ outbound: fresh, inbound: fresh })).toThrow(
      /new keys for both ends with `hometun keygen`, then remove .*damaged-/,
    );
    expect(() => new SequenceFile(path).openInbound(fresh)).toThrow(SystemError);
    rmSync(join(directory, ...aside()));
    expect(new SequenceFile(path).openOutbound(fresh).next).toBe(1);
  });
});

describe("a file that cannot be written", () => {
  const elsewhere = () => join(directory, "missing", "sequence-numbers");
  const appear = () => mkdirSync(join(directory, "missing"));
  const flushes = (file: SequenceFile) => {
    for (let second = 0; second < 5; second++) file.flush();
  };

  it("grants no number until it can, and then those that were asked for", async () => {
    const file = new SequenceFile(elsewhere());
    const sequence = file.openOutbound(cbc);
    expect(file.problem?.code).toBe("ENOENT");
    expect(sequence.limit).toBe(sequence.next);
    let limit = 0;
    const granted = new Promise<void>((resolve) => {
      sequence.extend(sequence.next, (given) => {
        limit = given;
        resolve();
      });
    });
    flushes(file);
    expect(limit).toBe(0);
    appear();
    flushes(file);
    await granted;
    expect(limit).toBe(1 + RESERVE);
    expect(file.problem).toBeUndefined();
    expect(new SequenceFile(elsewhere()).openOutbound(cbc).next).toBe(limit);
  });

  it("uses up no single-use key: none of its numbers was given", () => {
    new SequenceFile(elsewhere()).openOutbound(gcm);
    appear();
    expect(new SequenceFile(elsewhere()).openOutbound(gcm).next).toBe(1);
  });

  it("is told of when it begins to fail, and when it is written again", async () => {
    const told: string[] = [];
    const listener = report({
      failing: ({ code }) => told.push(code),
      written: () => told.push("written"),
    });
    const file = new SequenceFile(elsewhere(), listener);
    const { window, record } = file.openInbound(cbc);
    window.record(9);
    record();
    appear();
    flushes(file);
    await expect.poll(() => told.at(-1)).toBe("written");
    expect(told.at(0)).toBe("ENOENT");
    file.close();
    expect(new SequenceFile(elsewhere()).openInbound(cbc).window.top).toBe(9);
  });

  it("is not taken for durable while that is only under way in the background", () => {
    const file = new SequenceFile(path);
    file.openOutbound(cbc).extend(1, () => undefined);
    closeSync(descriptorOf(path));
    expect(() => file.sync()).toThrow(SystemError);
  });

  it("goes on with a file that was moved away and is none of its business", () => {
    const file = new SequenceFile(path);
    file.openOutbound(cbc);
    renameSync(path, `${path}.old`);
    file.close();
    expect(new SequenceFile(`${path}.old`).openOutbound(cbc).next).toBe(1 + RESERVE);
  });
});

/** Of ours, the one that has the file open. */
function descriptorOf(file: string): number {
  const open = readdirSync("/proc/self/fd").filter((fd) => existsSync(`/proc/self/fd/${fd}`));
  return Number(open.find((fd) => readlinkSync(`/proc/self/fd/${fd}`) === file));
}

function flipped(octets: Buffer, at: number): Buffer {
  octets.writeUInt8(octets.readUInt8(at) ^ 0x10, at);
  return octets;
}

function retitled(octets: Buffer, version: number): Buffer {
  octets.write(`hometun sequence numbers ${version}\n`);
  return octets;
}

function attempt(work: () => unknown): unknown {
  try {
    return work();
  } catch (error) {
    return error instanceof SystemError ? error.code : String(error);
  }
}

function report(told: Partial<StateReport>): StateReport {
  return { ...NO_REPORT, ...told };
}
