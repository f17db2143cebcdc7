/** `hometun-server home` and what is below it. */

import { Command } from "commander";
import { homeAddCommand } from "./home-add.ts";

export function homeCommand(): Command {
  return new Command("home")
    .description("home add NAME: serve one more home, and tell what it needs")
    .helpCommand(false)
    .addCommand(homeAddCommand());
}
