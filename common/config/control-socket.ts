/** Which control socket a command talks to. */

import { ConfigError } from "../errors.ts";

/** What the command line named. */
export interface SocketOptions {
  readonly socket?: string;
  readonly config?: string;
}

/** A daemon's configuration, as far as its socket is concerned, and what holds without one. */
export interface SocketSources {
  /** Throws `ConfigError`. */
  readonly load: (file: string) => { readonly controlSocket: string };
  readonly defaults: { readonly file: string; readonly controlSocket: string };
}

/**
 * A named socket, else the one of a named file. Where nothing is named, the file is asked if it can be read: who
 * may use the socket need not be allowed to see the keys. Throws `ConfigError`.
 */
export function controlSocketOf(options: SocketOptions, { load, defaults }: SocketSources): string {
  if (options.socket !== undefined) return options.socket;
  if (options.config !== undefined) return load(options.config).controlSocket;
  try {
    return load(defaults.file).controlSocket;
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    return defaults.controlSocket;
  }
}
