/** `hometun-server status [HOME]` */

import { Command, Option } from "commander";
import { askControl } from "../../common/adapters/control-socket.ts";
import type { ControlRequest } from "../../common/control/protocol.ts";
import {
  jsonOption,
  type StatusOptions,
  showStatus,
  valueOfReply,
  watchOption,
} from "../../common/runtime/command-line.ts";
import { SERVER_DEFAULTS } from "../config.ts";
import {
  formatHomeStatus,
  formatServerStatus,
  type HomeStatus,
  type ServerStatus,
} from "../status.ts";
import { controlSocketOf, type SocketOptions } from "./load.ts";

export function statusCommand(): Command {
  return new Command("status")
    .description("show all homes, or all about one")
    .argument("[home]", "name of a home")
    .addOption(jsonOption())
    .addOption(watchOption())
    .addOption(
      new Option("-c, --config <file>", `configuration file (default: ${SERVER_DEFAULTS.file})`),
    )
    .addOption(new Option("--socket <path>", "the daemon's control socket, if not the file's"))
    .action(async (home: string | undefined, options: StatusOptions & SocketOptions) => {
      const path = controlSocketOf(options);
      const ask = async <Status>(request: ControlRequest) =>
        valueOfReply<Status>(await askControl(path, request));
      if (home === undefined) {
        await showStatus(
          options,
          () => ask<ServerStatus>({ command: "status" }),
          formatServerStatus,
        );
      } else {
        await showStatus(
          options,
          () => ask<HomeStatus>({ command: "status", home }),
          formatHomeStatus,
        );
      }
    });
}
