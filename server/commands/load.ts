/** The configuration from the disk, and where the daemon listens. */

import { readConfigDirectory, readConfigFile } from "../../common/adapters/config-file.ts";
import {
  controlSocketOf as findControlSocket,
  type SocketOptions,
} from "../../common/config/control-socket.ts";
import { goodOrThrow } from "../../common/config/mistakes.ts";
import { parseToml, type Source } from "../../common/config/schema.ts";
import { parseServerConfig, SERVER_DEFAULTS, type ServerConfig } from "../config.ts";

/** Throws `ConfigError`. */
export function loadConfig(file: string): ServerConfig {
  return goodOrThrow(parseServerConfig(readConfigFile(file, remedyFor(file)), readConfigDirectory));
}

/** The usual file is made by a command; another one was named by somebody who knows. */
function remedyFor(file: string): string | undefined {
  return file === SERVER_DEFAULTS.file ? "make it with `hometun-server init`" : undefined;
}

/** The daemon's control socket. Throws `ConfigError`. */
export function controlSocketOf(options: SocketOptions): string {
  return findControlSocket(options, { load: loadConfig, defaults: SERVER_DEFAULTS });
}

/** Where the homes' files lie. Throws `ConfigError`. */
export function homesDirectory(main: Source): string {
  const { homes } = goodOrThrow(parseToml(main));
  return typeof homes === "string" ? homes : SERVER_DEFAULTS.homes;
}
