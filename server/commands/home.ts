/** `hometun-server home` and what is below it. */

import { Command } from "commander";
import { homeAddCommand } from "./home-add.ts";
import { homeLineCommand } from "./home-line.ts";
import { homeRemoveCommand } from "./home-remove.ts";

export function homeCommand(): Command {
  return new Command("home")
    .description("home add, line, remove NAME: one home more, its line again, one less")
    .helpCommand(false)
    .addCommand(homeAddCommand())
    .addCommand(homeLineCommand())
    .addCommand(homeRemoveCommand());
}
