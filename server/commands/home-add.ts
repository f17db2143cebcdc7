/**
 * `hometun-server home add`: the server's half of a home. It writes the home's file and prints the line which the home
 * hands to `hometun init`.
 */

import { join, resolve } from "node:path";
import { Command } from "commander";
import {
  makeConfigDirectory,
  type NewFile,
  readConfigDirectory,
  readConfigFile,
  writeNewFiles,
} from "../../common/adapters/config-file.ts";
import { newSharedKey } from "../../common/adapters/key-files.ts";
import { readSharedKey } from "../../common/adapters/secret-file.ts";
import { readTextFile } from "../../common/adapters/text-file.ts";
import { goodOrThrow } from "../../common/config/mistakes.ts";
import { checkWith, homeName, prefix, table } from "../../common/config/schema.ts";
import { ConfigError } from "../../common/errors.ts";
import { formatIpv6Prefix, type Ipv6Prefix } from "../../common/ip/address.ts";
import { configOption } from "../../common/runtime/command-line.ts";
import { parseServerConfig, SERVER_DEFAULTS, type ServerConfig } from "../config.ts";
import { type HomeFilePlan, homeFileText } from "../home-file.ts";
import { freePrefix } from "../prefix-pool.ts";
import { invitationOf, negotiationOf, printInvitation } from "./home-invitation.ts";
import { homesDirectory } from "./load.ts";
import { askToReload } from "./reload.ts";

const USUAL_LENGTH = "56"; // bits, what RFC 6177 has in mind for homes
const LONGEST_LENGTH = 64; // bits; a LAN needs that many

interface AddOptions {
  readonly config: string;
  readonly prefix?: readonly string[];
  readonly pool?: string;
  readonly length: string;
  readonly identity?: string;
  readonly publicKey?: string;
  readonly psk?: boolean;
  readonly pskFile?: string;
  readonly qr: boolean;
}

export function homeAddCommand(): Command {
  return new Command("add")
    .description("serve one more home, and print the line that the home needs")
    .argument("<name>", "how the home is called here")
    .option("--prefix <prefix...>", "its IPv6 prefix, or several")
    .option("--pool <prefix>", "or: the first free one in this prefix")
    .option("--length <bits>", "of a prefix from the pool", USUAL_LENGTH)
    .option("--identity <name>", "who the home says it is (default: its name)")
    .option("--public-key <key>", "what it proves that with, as hometun init printed it")
    .option("--psk", "or: a shared key, made now; the printed line is then a secret")
    .option("--psk-file <file>", "or: a shared key that the home made")
    .option("--no-qr", "no QR code of the line on a terminal")
    .addOption(configOption(SERVER_DEFAULTS.file))
    .action(async (name: string, options: AddOptions) => {
      const { made, invitation, config } = add(name, options);
      process.stdout.write(`${made.map(({ file }) => `${file} written\n`).join("")}\n`);
      printInvitation(invitation, options.qr);
      process.stdout.write(`\n${await askToReload(config.controlSocket, name)}\n`);
    });
}

/** Writes the files; returns them, and what to say. */
function add(name: string, options: AddOptions) {
  goodOrThrow(checkWith(table({ name: homeName }), { name }, "home add"));
  const main = readConfigFile(options.config);
  const config = goodOrThrow(parseServerConfig(main, readConfigDirectory));
  const ikev2 = negotiationOf(config, main.file);
  const homes = homesDirectory(main);
  const file = join(homes, `${name}.toml`);
  if (readTextFile(file) !== undefined) {
    throw new ConfigError("exists already, and is not overwritten", { file });
  }
  const proof = proofOf(options, join(homes, `${name}.psk`));
  const identity = options.identity ?? name;
  const given = prefixesOf(options, config);
  const text = homeFileText({ name, prefixes: given, identity, proof: proof.inFile });
  // All homes are read as if it were there: this is how doubles and overlaps are found.
  const others = (directory: string) => [
    ...(readConfigDirectory(directory) ?? []),
    { file, text, exposed: false },
  ];
  goodOrThrow(parseServerConfig(main, others));
  const { sharedKey } = proof;
  const invitation = invitationOf(
    { name, identity, prefixes: given, sharedKey },
    { address: config.address, ikev2 },
  );
  makeConfigDirectory(homes);
  const made = [...proof.made, { file, text }];
  writeNewFiles(made);
  return { made, invitation, config };
}

/** What a home proves itself with, as its file and its line have it. */
interface Proof {
  readonly inFile: HomeFilePlan["proof"];
  /** Undefined: the home has a key pair. */
  readonly sharedKey: string | undefined;
  readonly made: readonly NewFile[];
}

function proofOf({ publicKey, psk, pskFile }: AddOptions, newFile: string): Proof {
  const ways = [publicKey, psk, pskFile].filter((each) => each !== undefined);
  if (ways.length !== 1) {
    throw new ConfigError("expected one of --public-key, --psk and --psk-file");
  }
  if (publicKey !== undefined) {
    return { inFile: { kind: "public-key", publicKey }, sharedKey: undefined, made: [] };
  }
  if (pskFile !== undefined) {
    const file = resolve(pskFile);
    const sharedKey = new TextDecoder().decode(readSharedKey(file));
    return { inFile: { kind: "shared-key", file }, sharedKey, made: [] };
  }
  if (readTextFile(newFile) !== undefined) {
    const help = `take that key with --psk-file ${newFile}, or remove the file`;
    throw new ConfigError(`exists already, and is not overwritten: ${help}`, { file: newFile });
  }
  const sharedKey = newSharedKey();
  const made = [{ file: newFile, text: `${sharedKey}\n` }];
  return { inFile: { kind: "shared-key", file: newFile }, sharedKey, made };
}

/** As the command line has them, or the next free one. */
function prefixesOf(options: AddOptions, config: ServerConfig): readonly string[] {
  const { prefix: given, pool } = options;
  if (given !== undefined && pool === undefined) {
    for (const each of given) goodOrThrow(checkWith(prefix, each, "--prefix"));
    return given;
  }
  if (given === undefined && pool !== undefined) return [fromPool(pool, options, config)];
  const wrong = given === undefined ? "the home needs a prefix: say" : "expected one of";
  throw new ConfigError(`${wrong} --prefix or --pool`);
}

function fromPool(pool: string, { length }: AddOptions, config: ServerConfig): string {
  const whole = goodOrThrow(checkWith(prefix, pool, "--pool"));
  const bits = Number(length);
  if (!Number.isInteger(bits) || bits < whole.length || bits > LONGEST_LENGTH) {
    const expectation = `expected a number from ${whole.length} to ${LONGEST_LENGTH}`;
    throw new ConfigError(expectation, { key: "--length" });
  }
  const taken = config.homes.flatMap((home): readonly Ipv6Prefix[] => home.prefixes);
  const free = freePrefix(whole, bits, taken);
  if (free !== undefined) return formatIpv6Prefix(free);
  throw new ConfigError(`no /${bits} is free in ${formatIpv6Prefix(whole)}`, { key: "--pool" });
}
