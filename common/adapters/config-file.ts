/** Configuration files as they lie on the disk. */

import {
  closeSync,
  fstatSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  unlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import type { Source } from "../config/schema.ts";
import { ConfigError } from "../errors.ts";

/** Reading or writing by group or others, inode(7). */
const OTHERS = 0o066;
/** Reading by the group. */
const GROUP_READS = 0o040;
const ROOT = 0;
/** Longest file read, in octets: a configuration with 10,000 homes in one file has 8 MB. */
const LONGEST_FILE = 64 * 1024 * 1024;

const REFUSALS: Readonly<Record<string, string>> = {
  ENOENT: "no such file",
  EACCES: "permission denied: run as root, or as its owner",
  EPERM: "permission denied: run as root, or as its owner",
  EISDIR: "expected a file, this is a directory",
  ENOTDIR: "expected a directory",
};

const OWNER_ONLY = 0o600;
const WRITE_REFUSALS: Readonly<Record<string, string>> = {
  EEXIST: "exists already, and is not overwritten",
  EISDIR: "expected a file, this is a directory",
  ENOENT: "its directory does not exist",
  ENOTDIR: "its directory is a file",
  EACCES: "no permission to write there",
  EROFS: "the file system is read-only",
  ENOSPC: "the disk is full",
};

/** Reads one file. Throws `ConfigError` when it cannot be read; `remedy` is what to do when there is none. */
export function readConfigFile(file: string, remedy?: string): Source {
  try {
    const descriptor = openSync(file, "r");
    try {
      const { mode, size, uid } = fstatSync(descriptor);
      if (size > LONGEST_FILE) throw new ConfigError("too long for a configuration", { file });
      const text = readFileSync(descriptor, "utf8");
      return { file, text, exposed: isExposed(mode, uid) && !isCredential(file) };
    } finally {
      closeSync(descriptor);
    }
  } catch (error) {
    if (remedy !== undefined && codeOf(error) === "ENOENT") {
      throw new ConfigError(`no such file: ${remedy}`, { file });
    }
    throw unreadable(file, error);
  }
}

/** Reads the `*.toml` of a directory, in the order of their names; `undefined` when there is none. */
export function readConfigDirectory(
  directory: string,
): readonly (Source | ConfigError)[] | undefined {
  let names: string[];
  try {
    names = readdirSync(directory);
  } catch (error) {
    if (codeOf(error) === "ENOENT") return undefined;
    return [unreadable(directory, error)];
  }
  return names
    .filter((name) => name.endsWith(".toml") && !name.startsWith("."))
    .sort()
    .map((name) => {
      try {
        return readConfigFile(join(directory, name));
      } catch (error) {
        if (error instanceof ConfigError) return error;
        throw error;
      }
    });
}

/** A file that is to be made. */
export interface NewFile {
  readonly file: string;
  readonly text: string;
}

/**
 * Makes files that only their owner can read: all of them, or none when one cannot be made. Nothing is ever
 * overwritten. Throws `ConfigError`.
 */
export function writeNewFiles(files: readonly NewFile[]): void {
  const made: string[] = [];
  for (const { file, text } of files) {
    try {
      const descriptor = openSync(file, "wx", OWNER_ONLY);
      made.push(file);
      try {
        writeFileSync(descriptor, text);
        fsyncSync(descriptor);
      } finally {
        closeSync(descriptor);
      }
    } catch (error) {
      for (const each of made) unlinkSync(each);
      throw unwritable(file, error);
    }
  }
}

/** Makes the directory that files are to lie in, if it is missing. Throws `ConfigError`. */
export function makeConfigDirectory(directory: string): void {
  try {
    mkdirSync(directory, { recursive: true, mode: 0o755 });
  } catch (error) {
    const code = codeOf(error);
    if (code === undefined) throw error;
    throw new ConfigError(WRITE_REFUSALS[code] ?? `cannot be made: ${code}`, { file: directory });
  }
}

/** Puts files in the place of what may be there, each at once. Throws `ConfigError`. */
export function replaceFiles(files: readonly NewFile[]): void {
  for (const { file, text } of files) {
    const successor = `${file}.new`;
    rmSync(successor, { force: true }); // a crash may have left one
    writeNewFiles([{ file: successor, text }]);
    try {
      renameSync(successor, file);
    } catch (error) {
      rmSync(successor, { force: true });
      throw unwritable(file, error);
    }
  }
}

/**
 * Whether others can read or write it. A file of root's may be readable by its group: this is how a daemon that
 * does not run as root gets its keys, and nobody but root can have arranged it.
 */
function isExposed(mode: number, uid: number): boolean {
  const allowed = uid === ROOT ? GROUP_READS : 0;
  return (mode & OTHERS & ~allowed) !== 0;
}

/**
 * systemd hands credentials over with an access control list, whose mask looks like the group's permission; it
 * alone guards that directory, systemd.exec(5).
 */
function isCredential(file: string): boolean {
  const { CREDENTIALS_DIRECTORY } = process.env;
  return CREDENTIALS_DIRECTORY !== undefined && file.startsWith(`${CREDENTIALS_DIRECTORY}/`);
}

/** What the system's refusal means to whoever named the file. */
function unreadable(file: string, error: unknown): ConfigError {
  if (error instanceof ConfigError) return error;
  const code = codeOf(error);
  if (code === undefined) throw error;
  return new ConfigError(REFUSALS[code] ?? `cannot be read: ${code}`, { file });
}

function unwritable(file: string, error: unknown): ConfigError {
  const code = codeOf(error);
  if (code === undefined) throw error;
  return new ConfigError(WRITE_REFUSALS[code] ?? `cannot be written: ${code}`, { file });
}

function codeOf(error: unknown): string | undefined {
  const isCoded = error instanceof Error && "code" in error && typeof error.code === "string";
  return isCoded ? (error.code as string) : undefined;
}
