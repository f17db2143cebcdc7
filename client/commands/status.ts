/** `hometun status` */

import { Command } from "commander";
import { askControl } from "../../common/adapters/control-socket.ts";
import type { SocketOptions } from "../../common/config/control-socket.ts";
import {
  jsonOption,
  type StatusOptions,
  showStatus,
  valueOfReply,
  watchOption,
} from "../../common/runtime/command-line.ts";
import { type ClientStatus, formatClientStatus } from "../status.ts";
import { controlSocketOf } from "./load.ts";
import { configFileOption, socketOption } from "./options.ts";

export function statusCommand(): Command {
  return new Command("status")
    .description("say how the tunnel is, and if it is down, why")
    .addOption(jsonOption())
    .addOption(watchOption())
    .addOption(configFileOption())
    .addOption(socketOption())
    .action(async (options: StatusOptions & SocketOptions) => {
      const path = controlSocketOf(options);
      const ask = async () =>
        valueOfReply<ClientStatus>(await askControl(path, { command: "status" }));
      await showStatus(options, ask, formatClientStatus);
    });
}
