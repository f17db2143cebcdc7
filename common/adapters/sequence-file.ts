/**
 * Sequence numbers and replay windows in a file of the state directory, one record for each SA:
 *
 *     fingerprint 16 │ kind 1 │ zero 7 │ number 8 │ window 264 │ zero │ CRC-32 4        (512 octets)
 *
 * Outbound: `number` is the first one that is not reserved. Numbers are reserved ahead and made durable before one
 * of them is used; after a crash sending goes on at the reserve's end, so some are skipped and none is repeated.
 * Inbound: the window is written after every batch of packets, which survives the end of this process at any
 * moment; `flush`, called every second, makes it survive a power cut. What may be replayed after one is what came in
 * the last second: an advertisement among it states where the home was a second before.
 *
 * A record that is damaged refuses its key: going on with a guess could repeat a number.
 */

import { createHash } from "node:crypto";
import {
  closeSync,
  constants,
  fdatasync,
  fdatasyncSync,
  fstatSync,
  fsyncSync,
  openSync,
  readSync,
  writeSync,
} from "node:fs";
import { dirname } from "node:path";
import { crc32 } from "node:zlib";
import { ConfigError, SystemError } from "../errors.ts";
import { ReplayWindow } from "../esp/replay-window.ts";
import { MAX_EXTENDED_SEQUENCE, MAX_SEQUENCE } from "../esp/security-association.ts";
import type { InboundSequence, OutboundSequence, SequenceStore } from "../tunnel/sequence-store.ts";
import type { SecurityAssociationKeys } from "../tunnel/tunnel.ts";

const HEADER = Buffer.from("hometun sequence numbers 1\n".padEnd(512, "\n"));
const RECORD = 512; // octets; a sector, so that no power cut tears one
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

/** Where a record stands in the file, and whether its checksum was right. */
interface StoredRecord {
  readonly offset: number;
  readonly sound: boolean;
}

export class SequenceFile implements SequenceStore {
  readonly #path: string;
  readonly #fd: number;
  readonly #records = new Map<string, StoredRecord>();
  /** The file's content; records have no objects of their own, since there are thousands. */
  #octets = Buffer.from(HEADER);
  /** How much of `#octets` is in use. */
  #length = RECORD;
  /** Written to since the last sync. */
  #unsynced = false;
  #flushing = false;

  /** Opens or creates the file. Throws `SystemError`. */
  constructor(path: string) {
    this.#path = path;
    try {
      this.#fd = openSync(path, constants.O_RDWR | constants.O_CREAT, 0o600);
      this.#load();
    } catch (cause) {
      if (cause instanceof SystemError) throw cause;
      throw this.#failure("open", cause);
    }
  }

  checkOutbound(keys: SecurityAssociationKeys): void {
    const stored = this.#stored(fingerprintOf(keys, "outbound"));
    if (stored === undefined) return;
    const next = Number(this.#octets.readBigUInt64BE(stored.offset + NUMBER));
    if (isSingleUse(keys) || next > largestOf(keys)) throw usedUp(keys);
  }

  openOutbound(keys: SecurityAssociationKeys): OutboundSequence {
    this.checkOutbound(keys);
    const fingerprint = fingerprintOf(keys, "outbound");
    const record = this.#open(fingerprint, isSingleUse(keys) ? Kind.spent : Kind.outbound);
    const largest = largestOf(keys);
    const next = Number(this.#octets.readBigUInt64BE(record.offset + NUMBER)) || 1;
    const reserve = (from: number) => {
      const limit = Math.min(from + RESERVE, largest + 1);
      this.#octets.writeBigUInt64BE(BigInt(limit), record.offset + NUMBER);
      this.#write(record);
      return limit;
    };
    return {
      next,
      limit: reserve(next),
      extend: (from, granted, failed) => {
        const limit = reserve(from);
        fdatasync(this.#fd, (error) => {
          if (error === null) granted(limit);
          else failed(this.#failure("write", error));
        });
      },
      release: (from) => {
        this.#octets.writeBigUInt64BE(BigInt(from), record.offset + NUMBER);
        this.#write(record);
      },
    };
  }

  openInbound(keys: SecurityAssociationKeys): InboundSequence {
    const fingerprint = fingerprintOf(keys, "inbound");
    const known = this.#stored(fingerprint) !== undefined;
    const record = this.#open(fingerprint, Kind.inbound);
    const window = new ReplayWindow(WINDOW_SIZE);
    const start = record.offset + WINDOW;
    // Taken anew each time: the content moves when it grows.
    const place = () => this.#octets.subarray(start, start + WINDOW_LENGTH);
    if (known) window.restore(place());
    return {
      window,
      record: () => {
        window.snapshot(place());
        this.#write(record);
      },
    };
  }

  sync(): void {
    if (!this.#unsynced) return;
    try {
      fdatasyncSync(this.#fd);
      this.#unsynced = false;
    } catch (cause) {
      throw this.#failure("write", cause);
    }
  }

  flush(failed: (error: Error) => void): void {
    if (!this.#unsynced || this.#flushing) return;
    this.#flushing = true;
    this.#unsynced = false;
    fdatasync(this.#fd, (error) => {
      this.#flushing = false;
      if (error !== null) failed(this.#failure("write", error));
    });
  }

  close(): void {
    this.sync();
    closeSync(this.#fd);
  }

  #load(): void {
    const { size } = fstatSync(this.#fd);
    if (size < RECORD) {
      writeSync(this.#fd, HEADER, 0, RECORD, 0);
      fsyncSync(this.#fd);
      syncDirectory(dirname(this.#path));
      return;
    }
    const octets = Buffer.alloc(size);
    for (let at = 0; at < size; ) {
      const length = readSync(this.#fd, octets, at, size - at, at);
      if (length === 0) break;
      at += length;
    }
    if (!octets.subarray(0, RECORD).equals(HEADER)) {
      const hint = `it is not a file of sequence numbers; with new keys (hometun keygen) it may be removed`;
      throw new SystemError(`read ${this.#path}`, "EINVAL", { hint });
    }
    this.#octets = octets;
    // A record that a power cut left half appended was never used.
    this.#length = size - (size % RECORD);
    for (let offset = RECORD; offset < this.#length; offset += RECORD) {
      const sound = this.#checksumOf(offset) === octets.readUInt32BE(offset + CHECKSUM);
      this.#records.set(octets.toString("hex", offset, offset + FINGERPRINT), { offset, sound });
    }
  }

  /** Throws `SystemError` when the record is there and damaged. */
  #stored(fingerprint: string): StoredRecord | undefined {
    const record = this.#records.get(fingerprint);
    if (record !== undefined && !record.sound) {
      const hint = "a record is damaged; make new keys with `hometun keygen`";
      throw new SystemError(`trust the sequence numbers in ${this.#path}`, "EBADMSG", { hint });
    }
    return record;
  }

  #open(fingerprint: string, kind: number): StoredRecord {
    const standing = this.#records.get(fingerprint);
    if (standing !== undefined) return standing;
    const record = { offset: this.#length, sound: true };
    this.#length += RECORD;
    if (this.#length > this.#octets.length) {
      const larger = Buffer.alloc(Math.max(2 * this.#octets.length, this.#length));
      this.#octets.copy(larger);
      this.#octets = larger;
    }
    this.#octets.fill(0, record.offset, this.#length);
    this.#octets.write(fingerprint, record.offset, "hex");
    this.#octets[record.offset + KIND] = kind;
    this.#records.set(fingerprint, record);
    this.#write(record);
    return record;
  }

  #write({ offset }: StoredRecord): void {
    this.#octets.writeUInt32BE(this.#checksumOf(offset), offset + CHECKSUM);
    try {
      writeSync(this.#fd, this.#octets, offset, RECORD, offset);
    } catch (cause) {
      throw this.#failure("write", cause);
    }
    this.#unsynced = true;
  }

  #checksumOf(offset: number): number {
    return crc32(this.#octets.subarray(offset, offset + CHECKSUM));
  }

  #failure(doing: string, cause: unknown): SystemError {
    const code = (cause as NodeJS.ErrnoException).code ?? "unknown";
    return new SystemError(`${doing} the sequence numbers in ${this.#path}`, code, { cause });
  }
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

function syncDirectory(path: string): void {
  const fd = openSync(path, constants.O_RDONLY);
  try {
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}
