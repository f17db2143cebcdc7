/** Small files that are read whole and replaced whole, or not at all. */

import {
  closeSync,
  constants,
  fsyncSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { dirname } from "node:path";
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

/**
 * Readers see the old content or the new one, also after a crash or a power cut; a disk that is full keeps the old one.
 * Throws `SystemError`.
 */
export function replaceFile(path: string, content: string | Uint8Array, mode = 0o600): void {
  const temporary = `${path}.new`;
  try {
    rmSync(temporary, { force: true }); // a crash may have left one, with another mode
    try {
      const fd = openSync(temporary, "wx", mode);
      try {
        writeFileSync(fd, content);
        fsyncSync(fd);
      } finally {
        closeSync(fd);
      }
      renameSync(temporary, path);
    } catch (error) {
      // Half a file would only make a full disk fuller.
      rmSync(temporary, { force: true });
      throw error;
    }
    syncDirectory(dirname(path));
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

/**
 * Moves a file that is not what it should be out of the way, to `PATH.damaged-TIME`, and returns that name. Where it
 * cannot be moved it stays. `wall` is in milliseconds since 1970.
 */
export function keepAside(path: string, wall: number): string {
  const time = new Date(wall).toISOString().replace(/[-:]/g, "");
  const aside = `${path}.damaged-${time}`;
  try {
    renameSync(path, aside);
    return aside;
  } catch {
    return path;
  }
}

function syncDirectory(path: string): void {
  const fd = openSync(path, constants.O_RDONLY);
  try {
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}

function codeOf(error: unknown): string {
  return (error as NodeJS.ErrnoException | null)?.code ?? "unknown";
}
