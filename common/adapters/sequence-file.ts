/**
 * Sequence numbers and replay windows in a file of the state directory, one record for each SA:
 *
 *     "hometun sequence numbers 2\n" │ zero │ number of records 8 │ zero │ CRC-32 4         (512 octets)
 *     fingerprint 16 │ kind 1 │ zero 7 │ number 8 │ window 264 │ zero │ CRC-32 4        (512 octets each)
 *
 * Outbound: `number` is the first one that is not reserved. Numbers are reserved ahead and made durable before one
 * of them is used; after a crash sending goes on at the reserve's end, so some are skipped and none is repeated.
 * Inbound: the window is written after every batch of packets, which survives the end of this process at any
 * moment; `flush`, called every second, makes it survive a power cut. What may be replayed after one is what came in
 * the last second: an advertisement among it states where the home was a second before.
 *
 * While the file cannot be written nothing is granted: what was reserved may be used up, then nothing is sent. All is
 * kept in memory, tried again, and granted when it is on the disk.
 *
 * A file that is damaged, shorter than it says or of another version is kept aside, with its sound records taken over.
 * As long as it lies there, a key without a record is refused: it may have been used, and going on with a guess could
 * repeat a number. Whoever has made new keys removes it.
 */

import { createHash } from "node:crypto";
import {
  closeSync,
  constants,
  fdatasync,
  fdatasyncSync,
  openSync,
  readdirSync,
  readFileSync,
  writeSync,
} from "node:fs";
import { basename, dirname, join } from "node:path";
import { crc32 } from "node:zlib";
import { ConfigError, SystemError } from "../errors.ts";
import { ReplayWindow } from "../esp/replay-window.ts";
import { MAX_EXTENDED_SEQUENCE, MAX_SEQUENCE } from "../esp/security-association.ts";
import { NO_REPORT, type StateReport } from "../runtime/state-health.ts";
import type { InboundSequence, OutboundSequence, SequenceStore } from "../tunnel/sequence-store.ts";
import type { SaKeys, SecurityAssociationKeys } from "../tunnel/tunnel.ts";
import { keepAside, replaceFile } from "./text-file.ts";

const RECORD = 512; // octets; a sector, so that no power cut tears one
const TITLE = "hometun sequence numbers ";
const VERSION = 2;
/** Version 1 had nothing but its title. */
const HEADER_1 = Buffer.from(`${TITLE}1\n`.padEnd(RECORD, "\n"));
const COUNT = 256; // offset in the header
const FINGERPRINT = 16;
const KIND = 16;
const NUMBER = 24;
const WINDOW = 32;
const CHECKSUM = RECORD - 4;
const Kind = { outbound: 1, inbound: 2, spent: 3 } as const;

const WINDOW_SIZE = 1024; // packets
const WINDOW_LENGTH = ReplayWindow.snapshotLength(WINDOW_SIZE); // octets
/** Numbers reserved at a time: two seconds at 130,000 packets a second. */
const RESERVE = 1 << 18;
/** What cannot be written is tried again in each so-many-th flush, since that takes time. */
const FLUSHES_A_RETRY = 5;

/** More numbers that somebody waits for. */
interface Extension {
  readonly limit: number;
  readonly granted: (limit: number) => void;
}

export class SequenceFile implements SequenceStore {
  readonly #path: string;
  readonly #report: StateReport;
  /** Undefined while the file cannot be opened for writing. */
  #fd: number | undefined;
  /** Where each SA's record is. */
  readonly #records = new Map<string, number>();
  /** The file's content; records have no objects of their own, since there are thousands. */
  #octets = emptyFile();
  /** How much of `#octets` is in use. */
  #length = RECORD;
  /** A damaged file that somebody has to look at. */
  #aside: string | undefined;
  /** The file has to be written anew, whole. */
  #stale = false;
  /** Records, by their places, that could not be written. */
  readonly #unwritten = new Set<number>();
  /** Written to since the last sync. */
  #unsynced = false;
  #syncing = false;
  #waiting: Extension[] = [];
  #problem: SystemError | undefined;
  #flushes = 0;

  #closed = false;

  /** Opens or creates the file. Throws `SystemError` when it is there and cannot be read. */
  constructor(path: string, report: StateReport = NO_REPORT, wall: () => number = Date.now) {
    this.#path = path;
    this.#report = report;
    const content = readWhole(path);
    if (content === undefined) this.#stale = true;
    else if (this.#adopt(content)) {
      this.#aside = keepAside(path, wall());
      report.damaged(this.#aside);
    }
    this.#aside ??= damagedFileOf(path);
    this.#recover();
  }

  get problem(): SystemError | undefined {
    return this.#problem;
  }

  check({ outbound, inbound }: SaKeys): void {
    const offset = this.#find(fingerprintOf(outbound, "outbound"), outbound);
    this.#find(fingerprintOf(inbound, "inbound"), inbound);
    if (offset !== undefined) this.#refuseUsedUp(outbound, offset);
  }

  openOutbound(keys: SecurityAssociationKeys): OutboundSequence {
    const fingerprint = fingerprintOf(keys, "outbound");
    const known = this.#find(fingerprint, keys);
    if (known !== undefined) this.#refuseUsedUp(keys, known);
    const offset = known ?? this.#append(fingerprint, isSingleUse(keys) ? "spent" : "outbound");
    const largest = largestOf(keys);
    const next = Number(this.#octets.readBigUInt64BE(offset + NUMBER)) || 1;
    const reserve = (from: number) => {
      const limit = Math.min(from + RESERVE, largest + 1);
      this.#octets.writeBigUInt64BE(BigInt(limit), offset + NUMBER);
      return { limit, isWritten: this.#put(offset) };
    };
    const { limit, isWritten } = reserve(next);
    return {
      next,
      limit: isWritten ? limit : next,
      extend: (from, granted) => {
        this.#waiting.push({ limit: reserve(from).limit, granted });
        this.#sync();
      },
      release: (from) => {
        this.#octets.writeBigUInt64BE(BigInt(from), offset + NUMBER);
        this.#put(offset);
      },
    };
  }

  openInbound(keys: SecurityAssociationKeys): InboundSequence {
    const fingerprint = fingerprintOf(keys, "inbound");
    const known = this.#find(fingerprint, keys);
    const offset = known ?? this.#append(fingerprint, "inbound");
    const window = new ReplayWindow(WINDOW_SIZE);
    const start = offset + WINDOW;
    // Taken anew each time: the content moves when it grows.
    const place = () => this.#octets.subarray(start, start + WINDOW_LENGTH);
    if (known !== undefined) window.restore(place());
    return {
      window,
      record: () => {
        window.snapshot(place());
        this.#put(offset);
      },
    };
  }

  sync(): void {
    // What the background is at is not there yet.
    const isDurable = !this.#unsynced && !this.#syncing;
    if (isDurable || this.#fd === undefined) return;
    try {
      fdatasyncSync(this.#fd);
      this.#unsynced = false;
      this.#settle();
    } catch (cause) {
      throw this.#distrust(cause);
    }
  }

  flush(): void {
    if (this.#problem !== undefined) {
      this.#flushes += 1;
      if (this.#syncing || this.#flushes % FLUSHES_A_RETRY !== 0) return;
      this.#recover();
    }
    if (this.#unsynced || this.#waiting.length > 0) this.#sync();
  }

  close(): void {
    this.#closed = true;
    if (this.#fd === undefined) return;
    try {
      this.sync();
    } finally {
      closeSync(this.#fd);
    }
  }

  /** Takes over what is sound. Whether it was damaged, cut off, or not ours. */
  #adopt(content: Buffer): boolean {
    const { version, count } = readHeader(content);
    const end = content.length - (content.length % RECORD);
    const whole = Math.max(0, end / RECORD - 1);
    let isDamaged = count > whole;
    this.#stale = isDamaged || version !== VERSION;
    // What a newer version means by its records is not known.
    if (version > VERSION) return true;
    this.#octets = emptyFile(content.length);
    for (let at = RECORD; at < end; at += RECORD) {
      const record = content.subarray(at, at + RECORD);
      if (isSound(record)) {
        this.#records.set(record.toString("hex", 0, FINGERPRINT), this.#length);
        record.copy(this.#octets, this.#length);
        this.#length += RECORD;
      } else {
        // One that the header does not count yet was never used: a power cut came before.
        isDamaged ||= at / RECORD <= count;
        this.#stale = true;
      }
    }
    this.#count();
    return isDamaged;
  }

  /** Where the key's record is. Throws `SystemError` when there may have been one that is lost. */
  #find(fingerprint: string, { spi }: SecurityAssociationKeys): number | undefined {
    const offset = this.#records.get(fingerprint);
    if (offset === undefined && this.#aside !== undefined) {
      const hint = `the file was damaged, and what it said of this key is lost; make new keys for both ends with \`hometun keygen\`, then remove ${this.#aside}`;
      const operation = `tell from ${this.#path} whether the key of SPI ${spi} was used before`;
      throw new SystemError(operation, "EBADMSG", { hint });
    }
    return offset;
  }

  #refuseUsedUp(keys: SecurityAssociationKeys, offset: number): void {
    const next = Number(this.#octets.readBigUInt64BE(offset + NUMBER));
    if (isSingleUse(keys) || next > largestOf(keys)) throw usedUp(keys);
  }

  #append(fingerprint: string, kind: keyof typeof Kind): number {
    const offset = this.#length;
    this.#length += RECORD;
    if (this.#length > this.#octets.length) {
      const larger = Buffer.alloc(Math.max(2 * this.#octets.length, this.#length));
      this.#octets.copy(larger);
      this.#octets = larger;
    }
    this.#octets.write(fingerprint, offset, "hex");
    this.#octets[offset + KIND] = Kind[kind];
    this.#records.set(fingerprint, offset);
    this.#count();
    this.#put(offset);
    this.#put(0);
    return offset;
  }

  #count(): void {
    this.#octets.writeBigUInt64BE(BigInt(this.#length / RECORD - 1), COUNT);
  }

  /** Writes a record, or remembers that it has to be written. Whether it was. */
  #put(offset: number): boolean {
    const isTroubled = this.#fd === undefined || this.#stale || this.#unwritten.size > 0;
    if (isTroubled) {
      this.#unwritten.add(offset);
      return false;
    }
    try {
      this.#write(offset);
      return true;
    } catch (cause) {
      this.#unwritten.add(offset);
      this.#fail(cause);
      return false;
    }
  }

  #write(offset: number): void {
    if (this.#fd === undefined) return;
    seal(this.#octets.subarray(offset, offset + RECORD));
    const length = writeSync(this.#fd, this.#octets, offset, RECORD, offset);
    // A disk that is full takes a part first.
    if (length !== RECORD) throw Object.assign(new Error("short write"), { code: "ENOSPC" });
    this.#unsynced = true;
  }

  /** Brings everything to the disk that is not there yet, if it can. */
  #recover(): void {
    try {
      if (this.#stale) this.#replace();
      this.#fd ??= openSync(this.#path, constants.O_RDWR);
      for (const offset of this.#unwritten) {
        this.#write(offset);
        this.#unwritten.delete(offset);
      }
      this.#unsynced = true;
    } catch (cause) {
      this.#fail(cause);
    }
  }

  #replace(): void {
    if (this.#aside === this.#path) {
      this.#aside = keepAside(this.#path, Date.now());
      if (this.#aside === this.#path)
        throw Object.assign(new Error("in the way"), { code: "EROFS" });
    }
    for (let offset = 0; offset < this.#length; offset += RECORD) {
      seal(this.#octets.subarray(offset, offset + RECORD));
    }
    replaceFile(this.#path, this.#octets.subarray(0, this.#length));
    if (this.#fd !== undefined) closeSync(this.#fd);
    this.#fd = undefined;
    this.#stale = false;
    this.#unwritten.clear();
  }

  /** Makes durable what was written, and grants what waits for that. */
  #sync(): void {
    const isTroubled = this.#fd === undefined || this.#stale || this.#unwritten.size > 0;
    if (isTroubled || this.#syncing || this.#fd === undefined) return;
    const extensions = this.#waiting;
    this.#waiting = [];
    this.#syncing = true;
    this.#unsynced = false;
    fdatasync(this.#fd, (error) => {
      this.#syncing = false;
      if (this.#closed) return;
      if (error !== null) {
        this.#waiting.unshift(...extensions);
        this.#distrust(error);
        return;
      }
      this.#settle();
      for (const { limit, granted } of extensions) granted(limit);
      if (this.#waiting.length > 0) this.#sync();
    });
  }

  /** All that was written is on the disk. */
  #settle(): void {
    if (this.#problem === undefined || this.#stale || this.#unwritten.size > 0) return;
    this.#problem = undefined;
    this.#report.written();
  }

  /** The system does not say what a sync that failed has lost: all is written anew. */
  #distrust(cause: unknown): SystemError {
    this.#stale = true;
    return this.#fail(cause);
  }

  #fail(cause: unknown): SystemError {
    this.#problem = failure(this.#path, "write", cause);
    this.#report.failing(this.#problem);
    return this.#problem;
  }
}

function readWhole(path: string): Buffer | undefined {
  try {
    return readFileSync(path);
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw failure(path, "read", cause);
  }
}

/** What was kept aside earlier, if it still lies there. */
function damagedFileOf(path: string): string | undefined {
  try {
    const names = readdirSync(dirname(path));
    const found = names.find((name) => name.startsWith(`${basename(path)}.damaged-`));
    return found === undefined ? undefined : join(dirname(path), found);
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw failure(path, "look beside", cause);
  }
}

/** Its version, and how many records there must be. A header that is damaged counts more than there can be. */
function readHeader(content: Buffer): { version: number; count: number } {
  const header = content.subarray(0, RECORD);
  if (header.equals(HEADER_1))
    return { version: 1, count: Math.floor(content.length / RECORD) - 1 };
  const title = header.toString("latin1", 0, COUNT);
  const version = Number(new RegExp(`^${TITLE}(\\d+)\n`).exec(title)?.[1] ?? 0);
  const isWhole = version === VERSION && header.length === RECORD && isSound(header);
  return { version, count: isWhole ? Number(header.readBigUInt64BE(COUNT)) : Infinity };
}

function emptyFile(length = RECORD): Buffer {
  const octets = Buffer.alloc(Math.max(length, RECORD));
  octets.write(`${TITLE}${VERSION}\n`, "latin1");
  return octets;
}

function seal(record: Buffer): void {
  record.writeUInt32BE(crc32(record.subarray(0, CHECKSUM)), CHECKSUM);
}

function isSound(record: Buffer): boolean {
  return crc32(record.subarray(0, CHECKSUM)) === record.readUInt32BE(CHECKSUM);
}

function failure(path: string, doing: string, cause: unknown): SystemError {
  if (cause instanceof SystemError) return cause;
  const code = (cause as NodeJS.ErrnoException).code ?? "unknown";
  return new SystemError(`${doing} ${path}`, code, { cause });
}

/** Names a key without telling it. */
function fingerprintOf(keys: SecurityAssociationKeys, direction: string): string {
  const spi = Buffer.alloc(4);
  spi.writeUInt32BE(keys.spi);
  const hash = createHash("sha256").update(`hometun ${direction} ${keys.suite}\n`).update(spi);
  hash.update(keys.encryptionKey).update(keys.companion);
  return hash.digest("hex").slice(0, 2 * FINGERPRINT);
}

function isSingleUse({ suite }: SecurityAssociationKeys): boolean {
  return suite !== "aes-cbc-256-hmac-sha2-256-128";
}

function largestOf({ extendedSequenceNumbers }: SecurityAssociationKeys): number {
  return extendedSequenceNumbers ? MAX_EXTENDED_SEQUENCE : MAX_SEQUENCE;
}

function usedUp(keys: SecurityAssociationKeys): ConfigError {
  const why = keys.suite.startsWith("aes-gcm")
    ? `the ${keys.suite} key of SPI ${keys.spi} was used before, and such keys are single-use`
    : `the sequence numbers of SPI ${keys.spi} are used up`;
  return new ConfigError(`${why}: make new keys for both ends with \`hometun keygen\``);
}
