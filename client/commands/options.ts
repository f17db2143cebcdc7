/** Options that several commands have. */

import { Option } from "commander";
import { CLIENT_DEFAULTS } from "../config.ts";

/** Without a default of its own: whether a file was named makes a difference. */
export function configFileOption(): Option {
  return new Option("-c, --config <file>", `configuration file (default: ${CLIENT_DEFAULTS.file})`);
}

export function socketOption(): Option {
  return new Option("--socket <path>", "the daemon's control socket, if not the file's");
}
