/** `hometun-server init`: the server's identity, its key pair and its configuration. */

import { dirname, join, resolve } from "node:path";
import { Command } from "commander";
import {
  makeConfigDirectory,
  type NewFile,
  replaceFiles,
  writeNewFiles,
} from "../../common/adapters/config-file.ts";
import { newPrivateKey, publicKeyText } from "../../common/adapters/key-files.ts";
import { readPrivateKey } from "../../common/adapters/secret-file.ts";
import { readTextFile } from "../../common/adapters/text-file.ts";
import { goodOrThrow } from "../../common/config/mistakes.ts";
import { parseServerConfig, SERVER_DEFAULTS } from "../config.ts";
import { serverFileText } from "../home-file.ts";

interface InitOptions {
  readonly output: string;
  readonly address: string;
  readonly identity: string;
  readonly force?: boolean;
}

export function initCommand(): Command {
  return new Command("init")
    .description("set this server up: make its key, write its configuration")
    .requiredOption("--address <IPv4>", "the server's static address")
    .requiredOption("--identity <name>", "who the server is, such as isp.example")
    .option("-o, --output <file>", "configuration file", SERVER_DEFAULTS.file)
    .option("--force", "replace the configuration; a key never is")
    .action((options: InitOptions) => {
      process.stdout.write(`${setUp(options).join("\n")}\n`);
    });
}

function setUp({ output, address, identity, force }: InitOptions): string[] {
  const file = resolve(output);
  const directory = dirname(file);
  const privateKeyFile = join(directory, "server-key.pem");
  const homes = join(directory, "homes");
  const text = serverFileText({ address, homes, identity, privateKeyFile });
  goodOrThrow(parseServerConfig({ file, text, exposed: false }, () => []));
  const isThere = readTextFile(privateKeyFile) !== undefined;
  const privateKey = isThere ? readPrivateKey(privateKeyFile) : newPrivateKey();
  const made: NewFile[] =
    typeof privateKey === "string" ? [{ file: privateKeyFile, text: privateKey }] : [];
  makeConfigDirectory(homes);
  if (force === true) {
    writeNewFiles(made);
    replaceFiles([{ file, text }]);
  } else {
    writeNewFiles([...made, { file, text }]);
  }
  const config = file === SERVER_DEFAULTS.file ? "" : ` -c ${file}`;
  return [
    ...[...made, { file }].map((each) => `${each.file} written`),
    "",
    "Its public key, which is no secret; the line of home add has it:",
    `  ${publicKeyText(privateKey)}`,
    "",
    `Next: hometun-server home add NAME ...${config}, then hometun-server run${config}`,
  ];
}
