/** `hometun announce`: for hooks of DHCP clients, PPP and network managers. */

import { Command } from "commander";
import { askControl } from "../../common/adapters/control-socket.ts";
import type { SocketOptions } from "../../common/config/control-socket.ts";
import { valueOfReply } from "../../common/runtime/command-line.ts";
import { type Announcement, describeAnnouncement } from "../status.ts";
import { controlSocketOf } from "./load.ts";
import { configFileOption, socketOption } from "./options.ts";

export function announceCommand(): Command {
  return new Command("announce")
    .description("look at the addresses now and announce the present one")
    .addOption(configFileOption())
    .addOption(socketOption())
    .action(async (options: SocketOptions) => {
      const reply = await askControl(controlSocketOf(options), { command: "announce" });
      const announcement = valueOfReply<Announcement | undefined>(reply);
      // A daemon of an older version does not say.
      if (announcement !== undefined) {
        process.stdout.write(`${describeAnnouncement(announcement)}\n`);
      }
    });
}
