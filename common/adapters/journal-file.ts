/**
 * A file that lines are appended to and that is rewritten, whole or not at all, when it has grown: write, fsync,
 * rename, fsync of the directory.
 */

import {
  closeSync,
  constants,
  fsyncSync,
  openSync,
  readFileSync,
  renameSync,
  writeSync,
} from "node:fs";
import { type FileHandle, open } from "node:fs/promises";
import { dirname } from "node:path";
import { SystemError } from "../errors.ts";

/** Lines are gathered while one write is under way, so that a burst costs two writes and not a thousand. */
export class JournalFile {
  readonly #path: string;
  #handle: FileHandle;
  readonly #failed: (error: SystemError) => void;
  #pending = "";
  #replacement: string | undefined;
  #writing: Promise<void> | undefined;

  private constructor(path: string, handle: FileHandle, failed: (error: SystemError) => void) {
    this.#path = path;
    this.#handle = handle;
    this.#failed = failed;
  }

  /** The text of the file; empty when there is none. Throws `SystemError`. */
  static read(path: string): string {
    try {
      return readFileSync(path, "utf8");
    } catch (cause) {
      const code = (cause as NodeJS.ErrnoException).code ?? "unknown";
      if (code === "ENOENT") return "";
      throw new SystemError(`read ${path}`, code, { cause });
    }
  }

  /** Replaces the file by `text` and opens it to append. `failed` hears of later failures. Throws `SystemError`. */
  static async create(
    path: string,
    text: string,
    failed: (error: SystemError) => void,
  ): Promise<JournalFile> {
    try {
      replaceFile(path, text);
      return new JournalFile(path, await open(path, "a", 0o600), failed);
    } catch (cause) {
      throw failure(path, cause);
    }
  }

  /** Appends lines, each with its newline. They are durable after a while, or when `close` returns. */
  append(lines: string): void {
    this.#pending += lines;
    this.#writing ??= this.#write();
  }

  /** Writes the file anew; what was appended before is forgotten. */
  replace(text: string): void {
    this.#pending = "";
    this.#replacement = text;
    this.#writing ??= this.#write();
  }

  async close(): Promise<void> {
    await this.#writing;
    await this.#handle.close();
  }

  async #write(): Promise<void> {
    try {
      while (this.#pending !== "" || this.#replacement !== undefined) {
        if (this.#replacement !== undefined) await this.#rewrite(this.#replacement);
        const lines = this.#pending;
        this.#pending = "";
        await this.#handle.appendFile(lines);
        await this.#handle.datasync();
      }
    } catch (cause) {
      this.#failed(failure(this.#path, cause));
    } finally {
      this.#writing = undefined;
    }
  }

  async #rewrite(text: string): Promise<void> {
    this.#replacement = undefined;
    replaceFile(this.#path, text);
    const previous = this.#handle;
    this.#handle = await open(this.#path, "a", 0o600);
    await previous.close();
  }
}

function replaceFile(path: string, text: string): void {
  const temporary = `${path}.new`;
  const fd = openSync(temporary, "w", 0o600);
  try {
    writeSync(fd, text);
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
  renameSync(temporary, path);
  const directory = openSync(dirname(path), constants.O_RDONLY);
  try {
    fsyncSync(directory);
  } finally {
    closeSync(directory);
  }
}

function failure(path: string, cause: unknown): SystemError {
  const code = (cause as NodeJS.ErrnoException).code ?? "unknown";
  return new SystemError(`write ${path}`, code, { cause });
}
