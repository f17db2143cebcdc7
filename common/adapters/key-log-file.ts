/**
 * The keys of IKE and ESP in Wireshark's tables, for who debugs: whoever reads these files reads all the traffic, what
 * went before too. Nothing in a configuration turns this on; the environment of one start of the daemon does.
 */

import { appendFileSync, mkdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { ConfigError, SystemError } from "../errors.ts";
import { keyLogLines } from "../ikev2/key-log.ts";
import type { SessionEffect } from "../ikev2/session-types.ts";
import type { Logger } from "../runtime/log.ts";

const VARIABLE = "HOMETUN_KEY_LOG";
const OWNER_ONLY_DIRECTORY = 0o700;
const OWNER_ONLY_FILE = 0o600;
const OTHERS = 0o077;

/** Undefined unless the environment names a directory, which is made if need be. Throws `ConfigError`, `SystemError`. */
export function openKeyLog(
  log: Logger,
  environment: NodeJS.ProcessEnv = process.env,
): KeyLogFile | undefined {
  const { [VARIABLE]: directory } = environment;
  if (directory === undefined || directory === "") return undefined;
  try {
    mkdirSync(directory, { recursive: true, mode: OWNER_ONLY_DIRECTORY });
    if ((statSync(directory).mode & OTHERS) !== 0) {
      const fix = `only its owner may look into it: chmod 700 ${directory}`;
      throw new ConfigError(`${VARIABLE} will hold keys, so ${fix}`, { file: directory });
    }
  } catch (error) {
    if (error instanceof ConfigError) throw error;
    throw new SystemError(`make ${directory}`, codeOf(error), { cause: error });
  }
  log.warn(
    { directory },
    `writing all keys for Wireshark: delete them after use, and start again without ${VARIABLE}`,
  );
  return new KeyLogFile(directory);
}

export class KeyLogFile {
  readonly #directory: string;

  /** Of an existing directory. */
  constructor(directory: string) {
    this.#directory = directory;
  }

  /** Throws `SystemError`. */
  note(effect: SessionEffect): void {
    const { table, lines } = keyLogLines(effect) ?? { table: "", lines: [] };
    if (lines.length === 0) return;
    const file = join(this.#directory, table);
    const text = lines.map((line) => `${line}\n`).join("");
    try {
      appendFileSync(file, text, { mode: OWNER_ONLY_FILE });
    } catch (error) {
      throw new SystemError(`write ${file}`, codeOf(error), { cause: error });
    }
  }
}

function codeOf(error: unknown): string {
  const isCoded = error instanceof Error && "code" in error && typeof error.code === "string";
  return isCoded ? (error.code as string) : "unknown";
}
