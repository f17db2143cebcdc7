/** `hometun-server home remove`: takes a home's file away, and the shared key that `home add` made for it. */

import { join } from "node:path";
import { Command } from "commander";
import { readConfigDirectory, readConfigFile } from "../../common/adapters/config-file.ts";
import { readTextFile, removeFile } from "../../common/adapters/text-file.ts";
import { ConfigMistakes, goodOrThrow } from "../../common/config/mistakes.ts";
import { parseToml, type Source } from "../../common/config/schema.ts";
import { ConfigError } from "../../common/errors.ts";
import { configOption } from "../../common/runtime/command-line.ts";
import { parseServerConfig, SERVER_DEFAULTS } from "../config.ts";
import { homesDirectory } from "./load.ts";
import { noSuchHome } from "./no-such-home.ts";
import { askToForget } from "./reload.ts";

export function homeRemoveCommand(): Command {
  return new Command("remove")
    .description("serve a home no longer: its file goes, and a key made by --psk")
    .argument("<name>", "how the home is called here")
    .addOption(configOption(SERVER_DEFAULTS.file))
    .action(async (name: string, { config: file }: { config: string }) => {
      const main = readConfigFile(file);
      for (const each of filesOf(name, main)) {
        removeFile(each);
        process.stdout.write(`${each} removed\n`);
      }
      // What is wrong elsewhere keeps the server from reading, and this home's file from nothing.
      const { controlSocket } = goodOrThrow(parseServerConfig(main, readConfigDirectory));
      process.stdout.write(`\n${await askToForget(controlSocket, name)}\n`);
    });
}

/** What is this home's and nobody else's. Throws `ConfigError` when there is no such home. */
function filesOf(name: string, main: Source): string[] {
  const directory = homesDirectory(main);
  const entries = readConfigDirectory(directory) ?? [];
  const sources = entries.filter(isReadable);
  const [own, ...doubles] = sources.filter((source) => isNamed(source, name));
  if (own === undefined) throw missing(name, { main, entries, sources });
  if (doubles.length > 0) {
    const files = [own, ...doubles].map(({ file }) => file).join(" and ");
    throw new ConfigError(`home ${name} stands in ${files}: remove one of them by hand`);
  }
  const key = join(directory, `${name}.psk`);
  const others = [main, ...sources.filter((source) => source !== own)];
  const isOnlyOurs =
    own.text.includes(key) &&
    others.length === entries.length &&
    others.every(({ text }) => !text.includes(key));
  return isOnlyOurs && readTextFile(key) !== undefined ? [own.file, key] : [own.file];
}

function isReadable(entry: Source | ConfigError): entry is Source {
  return !(entry instanceof ConfigError);
}

/** A file that is no TOML is its home's by its own name. */
function isNamed(source: Source, name: string): boolean {
  const document = parseToml(source);
  if (document.kind === "mistaken") return source.file.endsWith(`/${name}.toml`);
  const { name: given } = document.value;
  return given === name;
}

function missing(
  name: string,
  found: {
    readonly main: Source;
    readonly entries: readonly (Source | ConfigError)[];
    readonly sources: readonly Source[];
  },
): ConfigError {
  const { main, entries, sources } = found;
  const unreadable = entries.filter((entry) => entry instanceof ConfigError);
  if (unreadable.length > 0) return new ConfigMistakes(unreadable);
  const inline = parseServerConfig(main, () => sources);
  const isInline = inline.kind === "good" && inline.value.homes.some((home) => home.name === name);
  if (!isInline) return noSuchHome(name);
  return new ConfigError(`holds home ${name}: take its table [[home]] away by hand`, {
    file: main.file,
  });
}
