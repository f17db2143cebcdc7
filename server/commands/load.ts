/** The configuration from the disk, and where the daemon listens. */

import { readConfigDirectory, readConfigFile } from "../../common/adapters/config-file.ts";
import { goodOrThrow } from "../../common/config/mistakes.ts";
import { ConfigError } from "../../common/errors.ts";
import { parseServerConfig, SERVER_DEFAULTS, type ServerConfig } from "../config.ts";

/** Throws `ConfigError`. */
export function loadConfig(file: string): ServerConfig {
  return goodOrThrow(parseServerConfig(readConfigFile(file), readConfigDirectory));
}

export interface SocketOptions {
  readonly socket?: string;
  readonly config?: string;
}

/**
 * A named socket, else the one of a named file. Where nothing is named, the file is asked if it can be read: who
 * may use the socket need not be allowed to see the keys.
 */
export function controlSocketOf(options: SocketOptions): string {
  if (options.socket !== undefined) return options.socket;
  if (options.config !== undefined) return loadConfig(options.config).controlSocket;
  try {
    return loadConfig(SERVER_DEFAULTS.file).controlSocket;
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    return SERVER_DEFAULTS.controlSocket;
  }
}
