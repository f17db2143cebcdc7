/** The directory in which a daemon keeps what must outlive it, held by one process at a time. */

import { closeSync, constants, existsSync, mkdirSync, openSync } from "node:fs";
import { join } from "node:path";
import { SystemError } from "../errors.ts";
import { checked, libcCalls } from "./linux/libc.ts";

const LOCK_EX = 2;
const LOCK_NB = 4;

/** A held directory. The kernel lets go of it when the process ends, however it ends. */
export interface StateDirectory {
  /** The path of a file in it. */
  path(name: string): string;
  close(): void;
}

/**
 * Creates the directory (mode 0700) if need be and locks it, also when the disk is full or was made read-only. Throws
 * `SystemError`.
 */
export function openStateDirectory(directory: string): StateDirectory {
  const operation = `use the state directory ${directory}`;
  let fd: number;
  try {
    mkdirSync(directory, { recursive: true, mode: 0o700 });
    fd = openLock(directory);
  } catch (cause) {
    const code = (cause as NodeJS.ErrnoException).code ?? "unknown";
    const hint = "run as root, or name another one with state-directory";
    const denied = code === "EACCES" || code === "EPERM" || code === "EROFS";
    throw new SystemError(operation, code, denied ? { cause, hint } : { cause });
  }
  try {
    const hint = "another instance is running with it; see `status`";
    checked(libcCalls.flock(fd, LOCK_EX | LOCK_NB), operation, { EAGAIN: hint });
  } catch (error) {
    closeSync(fd);
    throw error;
  }
  return { path: (name) => join(directory, name), close: () => closeSync(fd) };
}

/** A file that cannot be written can be locked as well, and where there is none, the directory itself. */
function openLock(directory: string): number {
  const lock = join(directory, "lock");
  try {
    return openSync(lock, constants.O_RDWR | constants.O_CREAT, 0o600);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code !== "EROFS" && code !== "ENOSPC" && code !== "EDQUOT") throw error;
    return openSync(existsSync(lock) ? lock : directory, constants.O_RDONLY);
  }
}
