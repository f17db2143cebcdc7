/** Small files that are read whole and replaced whole, or not at all. */

import {
  closeSync,
  fsyncSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  writeSync,
} from "node:fs";
import { SystemError } from "../errors.ts";

/** Undefined when there is none. Throws `SystemError`. */
export function readTextFile(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8");
  } catch (cause) {
    const code = codeOf(cause);
    if (code === "ENOENT") return undefined;
    throw new SystemError(`read ${path}`, code, { cause });
  }
}

/** Readers see the old text or the new one, also after a crash. Throws `SystemError`. */
export function replaceTextFile(path: string, text: string, mode = 0o600): void {
  const temporary = `${path}.new`;
  try {
    rmSync(temporary, { force: true }); // a crash may have left one, with another mode
    const fd = openSync(temporary, "wx", mode);
    try {
      writeSync(fd, text);
      fsyncSync(fd);
    } finally {
      closeSync(fd);
    }
    renameSync(temporary, path);
  } catch (cause) {
    throw new SystemError(`write ${path}`, codeOf(cause), { cause });
  }
}

/** Does nothing when there is none. Throws `SystemError`. */
export function removeFile(path: string): void {
  try {
    rmSync(path, { force: true });
  } catch (cause) {
    throw new SystemError(`remove ${path}`, codeOf(cause), { cause });
  }
}

function codeOf(error: unknown): string {
  return (error as NodeJS.ErrnoException | null)?.code ?? "unknown";
}
