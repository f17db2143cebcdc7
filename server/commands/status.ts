/** `hometun-server status [HOME]` */

import { Command, Option } from "commander";
import { askControl } from "../../common/adapters/control-socket.ts";
import type { SocketOptions } from "../../common/config/control-socket.ts";
import { HOME_SORTS, HOME_STATES, type HomeQuery } from "../../common/control/home-query.ts";
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
import { controlSocketOf } from "./load.ts";

/** A screen or two; more is asked for. */
const HOMES_SHOWN = 50;

interface ListOptions {
  readonly sort?: NonNullable<HomeQuery["sort"]>;
  readonly state?: NonNullable<HomeQuery["state"]>;
  readonly all?: boolean;
}

export function statusCommand(): Command {
  return new Command("status")
    .description("show all homes, or all about one")
    .argument("[home]", "name of a home")
    .addOption(
      new Option("--sort <order>", "last moved first, by name, troubled first, or busiest first")
        .choices(HOME_SORTS)
        .default("move"),
    )
    .addOption(new Option("--state <state>", "homes in this state only").choices(HOME_STATES))
    .option("--all", `all homes, not only the first ${HOMES_SHOWN}; --json always tells all`)
    .addOption(jsonOption())
    .addOption(watchOption())
    .addOption(
      new Option("-c, --config <file>", `configuration file (default: ${SERVER_DEFAULTS.file})`),
    )
    .addOption(new Option("--socket <path>", "the daemon's control socket, if not the file's"))
    .action(
      async (home: string | undefined, options: StatusOptions & SocketOptions & ListOptions) => {
        const path = controlSocketOf(options);
        const ask = async <Status>(request: ControlRequest) =>
          valueOfReply<Status>(await askControl(path, request));
        if (home === undefined) {
          await showStatus(
            options,
            () => ask<ServerStatus>({ command: "status", homes: queryOf(options) }),
            formatServerStatus,
          );
        } else {
          await showStatus(
            options,
            () => ask<HomeStatus>({ command: "status", home }),
            formatHomeStatus,
          );
        }
      },
    );
}

/** A script that is given a part for the whole would not notice. */
function queryOf({ sort, state, all, json }: StatusOptions & ListOptions): HomeQuery {
  return {
    ...(sort === undefined ? {} : { sort }),
    ...(state === undefined ? {} : { state }),
    ...(all === true || json === true ? {} : { limit: HOMES_SHOWN }),
  };
}
