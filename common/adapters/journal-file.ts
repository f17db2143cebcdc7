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

/**
 * Lines are gathered while one write is under way, so that a burst costs two writes and not a thousand. What could not
 * be written is not lost to a later write: that one writes the whole file anew.
 */
export class JournalFile {
  readonly #path: string;
  readonly #contents: () => string;
  readonly #failed: (error: SystemError) => void;
  #handle: FileHandle | undefined;
  #pending = "";
  #rewriting = true;
  #writing: Promise<void> | undefined;

  /**
   * `contents` is what a new file has to hold, and `failed` hears of each failure to write it: the owner goes on.
   * The file is written anew at once.
   */
  constructor(path: string, contents: () => string, failed: (error: SystemError) => void) {
    this.#path = path;
    this.#contents = contents;
    this.#failed = failed;
    this.#writing = this.#write();
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

  /** Appends lines, each with its newline. They are durable after a while, or when `close` returns. */
  append(lines: string): void {
    this.#pending += lines;
    this.#writing ??= this.#write();
  }

  /** Writes the file anew: most of its lines are out of date. */
  rewrite(): void {
    this.#rewriting = true;
    this.#writing ??= this.#write();
  }

  async close(): Promise<void> {
    await this.#writing;
    await this.#handle?.close();
  }

  async #write(): Promise<void> {
    // Whoever called us goes on first, and may have more to write.
    await Promise.resolve();
    try {
      while (this.#pending !== "" || this.#rewriting) await this.#writeOnce();
    } catch (cause) {
      // A torn line would spoil the next one.
      this.#rewriting = true;
      this.#failed(failure(this.#path, cause));
    } finally {
      this.#writing = undefined;
    }
  }

  async #writeOnce(): Promise<void> {
    const lines = this.#pending;
    this.#pending = "";
    if (this.#rewriting || this.#handle === undefined) {
      replaceFile(this.#path, this.#contents());
      await this.#handle?.close();
      this.#handle = undefined;
      this.#handle = await open(this.#path, "a", 0o600);
      this.#rewriting = false;
    } else {
      await this.#handle.appendFile(lines);
      await this.#handle.datasync();
    }
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
