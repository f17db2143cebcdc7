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
/** Numbers reserved at a time: two seconds at 130,000 packets a second. */
const RESERVE = 1 << 18;
const LARGEST_32 = 2 ** 32 - 1;
const LARGEST_EXTENDED = Number.MAX_SAFE_INTEGER;

interface StoredRecord {
  readonly index: number;
  readonly octets: Buffer;
  readonly sound: boolean;
}

export class SequenceFile implements SequenceStore {
  readonly #path: string;
  readonly #fd: number;
  readonly #records = new Map<string, StoredRecord>();
  #count = 0;
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

  openOutbound(keys: SecurityAssociationKeys): OutboundSequence {
    const fingerprint = fingerprintOf(keys, "outbound");
    const stored = this.#stored(fingerprint);
    const isSingleUse = keys.suite !== "aes-cbc-256-hmac-sha2-256-128";
    if (isSingleUse && stored !== undefined) throw usedUp(keys);
    const record = this.#open(fingerprint, isSingleUse ? Kind.spent : Kind.outbound);
    const largest = keys.extendedSequenceNumbers ? LARGEST_EXTENDED : LARGEST_32;
    const next = Number(record.octets.readBigUInt64BE(NUMBER)) || 1;
    if (next > largest) throw usedUp(keys);
    const reserve = (from: number) => {
      const limit = Math.min(from + RESERVE, largest + 1);
      record.octets.writeBigUInt64BE(BigInt(limit), NUMBER);
      this.#write(record);
      return limit;
    };
    return {
      next,
      limit: reserve(next),
      extend: (from, granted) => {
        const limit = reserve(from);
        fdatasync(this.#fd, (error) => {
          // Without a reserve nothing is sent: the SA stops at its old limit, and that is what is wanted.
          if (error === null) granted(limit);
        });
      },
      release: (from) => {
        record.octets.writeBigUInt64BE(BigInt(from), NUMBER);
        this.#write(record);
      },
    };
  }

  openInbound(keys: SecurityAssociationKeys): InboundSequence {
    const fingerprint = fingerprintOf(keys, "inbound");
    const known = this.#stored(fingerprint) !== undefined;
    const record = this.#open(fingerprint, Kind.inbound);
    const window = new ReplayWindow(WINDOW_SIZE);
    const place = record.octets.subarray(WINDOW, WINDOW + ReplayWindow.snapshotLength(WINDOW_SIZE));
    if (known) window.restore(place);
    return {
      window,
      record: () => {
        window.snapshot(place);
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
    this.#count = Math.floor(size / RECORD) - 1;
    for (let index = 0; index < this.#count; index++) {
      const start = (index + 1) * RECORD;
      const record = Buffer.from(octets.subarray(start, start + RECORD));
      const sound = crc32(record.subarray(0, CHECKSUM)) === record.readUInt32BE(CHECKSUM);
      const fingerprint = record.toString("hex", 0, FINGERPRINT);
      this.#records.set(fingerprint, { index, octets: record, sound });
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
    const octets = Buffer.alloc(RECORD);
    octets.write(fingerprint, "hex");
    octets[KIND] = kind;
    const record = { index: this.#count, octets, sound: true };
    this.#count += 1;
    this.#records.set(fingerprint, record);
    this.#write(record);
    return record;
  }

  #write({ index, octets }: StoredRecord): void {
    octets.writeUInt32BE(crc32(octets.subarray(0, CHECKSUM)), CHECKSUM);
    try {
      writeSync(this.#fd, octets, 0, RECORD, (index + 1) * RECORD);
    } catch (cause) {
      throw this.#failure("write", cause);
    }
    this.#unsynced = true;
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
