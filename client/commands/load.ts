/** The configuration from the disk, and where the daemon listens. */

import { readConfigFile } from "../../common/adapters/config-file.ts";
import {
  controlSocketOf as findControlSocket,
  type SocketOptions,
} from "../../common/config/control-socket.ts";
import { goodOrThrow } from "../../common/config/mistakes.ts";
import { CLIENT_DEFAULTS, type ClientConfig, parseClientConfig } from "../config.ts";

/** Throws `ConfigError`. */
export function loadConfig(file: string): ClientConfig {
  return goodOrThrow(parseClientConfig(readConfigFile(file, remedyFor(file))));
}

/** The usual file is made by a command; another one was named by somebody who knows. */
function remedyFor(file: string): string | undefined {
  return file === CLIENT_DEFAULTS.file ? "make it with `hometun init`" : undefined;
}

/** The daemon's control socket. Throws `ConfigError`. */
export function controlSocketOf(options: SocketOptions): string {
  return findControlSocket(options, { load: loadConfig, defaults: CLIENT_DEFAULTS });
}
