/**
 * A file that lines are appended to and that is rewritten, whole or not at all, when it has grown: write, fsync,
 * rename, fsync of the directory.
 */

import { type FileHandle, open } from "node:fs/promises";
import { SystemError } from "../errors.ts";
import type { StateReport } from "../runtime/state-health.ts";
import { replaceFile } from "./text-file.ts";

/**
 * Lines are gathered while one write is under way, so that a burst costs two writes and not a thousand. What could not
 * be written is not lost to a later write: that one writes the whole file anew.
 */
export class JournalFile {
  readonly #path: string;
  readonly #contents: () => string;
  readonly #report: Pick<StateReport, "failing" | "written">;
  #handle: FileHandle | undefined;
  #pending = "";
  #rewriting = true;
  #writing: Promise<void> | undefined;

  /**
   * `contents` is what a new file has to hold. The file is written anew at once; `report` hears how that and all
   * later writing fares, and the owner goes on.
   */
  constructor(
    path: string,
    contents: () => string,
    report: Pick<StateReport, "failing" | "written">,
  ) {
    this.#path = path;
    this.#contents = contents;
    this.#report = report;
    this.#writing = this.#write();
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

  /** Tries again what could not be written. */
  retry(): void {
    if (this.#rewriting) this.rewrite();
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
      this.#report.written();
    } catch (cause) {
      // A torn line would spoil the next one.
      this.#rewriting = true;
      this.#report.failing(failure(this.#path, cause));
    } finally {
      this.#writing = undefined;
    }
  }

  async #writeOnce(): Promise<void> {
    const lines = this.#pending;
    this.#pending = "";
    if (this.#rewriting || this.#handle === undefined) {
      // Who asks for it from here on means a later content.
      this.#rewriting = false;
      replaceFile(this.#path, this.#contents());
      await this.#handle?.close();
      this.#handle = undefined;
      this.#handle = await open(this.#path, "a", 0o600);
    } else {
      await this.#handle.appendFile(lines);
      await this.#handle.datasync();
    }
  }
}

function failure(path: string, cause: unknown): SystemError {
  if (cause instanceof SystemError) return cause;
  const code = (cause as NodeJS.ErrnoException).code ?? "unknown";
  return new SystemError(`write ${path}`, code, { cause });
}
