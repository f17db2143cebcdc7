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
import { newSharedKey, publicKeyText } from "../../common/adapters/key-files.ts";
import { readPrivateKey, readSharedKey } from "../../common/adapters/secret-file.ts";
import { readTextFile } from "../../common/adapters/text-file.ts";
import { formatInvitation, type InvitationProof } from "../../common/config/invitation.ts";
import { goodOrThrow } from "../../common/config/mistakes.ts";
import {
  checkWith,
  homeName,
  parseToml,
  prefixes,
  type Source,
  table,
} from "../../common/config/schema.ts";
import { ConfigError } from "../../common/errors.ts";
import { formatIdentification } from "../../common/ikev2/identity.ts";
import { formatIpv6Prefix, type Ipv6Prefix } from "../../common/ip/address.ts";
import { configOption } from "../../common/runtime/command-line.ts";
import { formatQrCode } from "../../common/text/qr.ts";
import { parseServerConfig, SERVER_DEFAULTS, type ServerConfig } from "../config.ts";
import { type HomeFilePlan, homeFileText } from "../home-file.ts";
import { freePrefix } from "../prefix-pool.ts";
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
      const { lines, line, config } = add(name, options);
      process.stdout.write(`${lines.join("\n")}\n`);
      const { isTTY, columns } = process.stdout;
      if (options.qr && isTTY === true) process.stdout.write(formatQrCode(line, columns) ?? "");
      process.stdout.write(`\n${await askToReload(config.controlSocket, name)}\n`);
    });
}

/** Writes the files; returns what to say, and the line that is the home's. */
function add(name: string, options: AddOptions) {
  goodOrThrow(checkWith(table({ name: homeName }), { name }, "home add"));
  const main = readConfigFile(options.config);
  const config = goodOrThrow(parseServerConfig(main, readConfigDirectory));
  const { ikev2 } = config;
  if (ikev2 === undefined) {
    const expectation = "missing: hometun-server init makes one";
    throw new ConfigError(expectation, { file: main.file, key: "ikev2" });
  }
  const homes = homesDirectory(main);
  const file = join(homes, `${name}.toml`);
  if (readTextFile(file) !== undefined) {
    throw new ConfigError("exists already, and is not overwritten", { file });
  }
  const proof = proofOf(options, join(homes, `${name}.psk`));
  const identity = options.identity ?? name;
  const given = options.prefix ?? [fromPool(options, config)];
  const text = homeFileText({ name, prefixes: given, identity, proof: proof.inFile });
  // All homes are read as if it were there: this is how doubles and overlaps are found.
  const others = (directory: string) => [
    ...(readConfigDirectory(directory) ?? []),
    { file, text, exposed: false },
  ];
  goodOrThrow(parseServerConfig(main, others));
  makeConfigDirectory(homes);
  const made = [...proof.made, { file, text }];
  writeNewFiles(made);
  const line = formatInvitation({
    server: config.address,
    serverIdentity: formatIdentification(ikev2.identity),
    identity,
    proof: proof.inLine(ikev2.privateKeyFile),
  });
  const lines = [
    ...made.map((each) => `${each.file} written`),
    "",
    `${name} has ${given.join(", ")}. ${proof.advice}`,
    "",
    `  hometun init ${proof.isSecret ? "-" : `'${line}'`}`,
    ...(proof.isSecret ? [`  ${line}`] : []),
    "",
  ];
  return { lines, line, config };
}

/** What a home proves itself with, as its file and its line have it. */
interface Proof {
  readonly inFile: HomeFilePlan["proof"];
  readonly inLine: (privateKeyFile: string | undefined) => InvitationProof;
  readonly made: readonly NewFile[];
  readonly isSecret: boolean;
  readonly advice: string;
}

function proofOf({ publicKey, psk, pskFile }: AddOptions, newFile: string): Proof {
  const ways = [publicKey, psk, pskFile].filter((each) => each !== undefined);
  if (ways.length !== 1) {
    throw new ConfigError("expected one of --public-key, --psk and --psk-file");
  }
  if (publicKey !== undefined) {
    return {
      inFile: { kind: "public-key", publicKey },
      inLine: (privateKeyFile) => ({ kind: "public-key", publicKey: serverKey(privateKeyFile) }),
      made: [],
      isSecret: false,
      advice: "At the home:",
    };
  }
  const file = pskFile === undefined ? newFile : resolve(pskFile);
  const sharedKey =
    pskFile === undefined ? newSharedKey() : new TextDecoder().decode(readSharedKey(file));
  return {
    inFile: { kind: "shared-key", file },
    inLine: () => ({ kind: "shared-key", sharedKey }),
    made: pskFile === undefined ? [{ file, text: `${sharedKey}\n` }] : [],
    isSecret: true,
    advice: "At the home, where the line is to be pasted; who reads it can be this home:",
  };
}

function serverKey(privateKeyFile: string | undefined): string {
  if (privateKeyFile !== undefined) return publicKeyText(readPrivateKey(privateKeyFile));
  throw new ConfigError("missing, expected a path", { key: "ikev2.private-key-file" });
}

function fromPool({ pool, length }: AddOptions, config: ServerConfig): string {
  if (pool === undefined) throw new ConfigError("expected --prefix, or --pool");
  const checked = goodOrThrow(checkWith(table({ pool: prefixes }), { pool: [pool] }, "home add"));
  const [whole] = checked.pool;
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

/** Where the homes' files lie. */
function homesDirectory(main: Source): string {
  const { homes } = goodOrThrow(parseToml(main));
  return typeof homes === "string" ? homes : SERVER_DEFAULTS.homes;
}
