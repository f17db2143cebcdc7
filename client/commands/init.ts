/**
 * `hometun init`: the home's half. It makes the home's key, which never leaves the home, and writes the configuration
 * as soon as it is known what the ISP has to say: the server's name and public key, given as options or in the
 * line that `hometun-server home add` prints.
 */

import { hostname } from "node:os";
import { dirname, join, resolve } from "node:path";
import { Command, Option } from "commander";
import {
  makeConfigDirectory,
  type NewFile,
  replaceFiles,
  writeNewFiles,
} from "../../common/adapters/config-file.ts";
import { newPrivateKey, newSharedKey, publicKeyText } from "../../common/adapters/key-files.ts";
import { insist, isInteractive, Prompt, readLine } from "../../common/adapters/prompt.ts";
import { readPrivateKey, readSharedKey } from "../../common/adapters/secret-file.ts";
import { readTextFile } from "../../common/adapters/text-file.ts";
import { type Invitation, parseInvitation } from "../../common/config/invitation.ts";
import { goodOrThrow } from "../../common/config/mistakes.ts";
import { ConfigError, MalformedError } from "../../common/errors.ts";
import { parseIpv4 } from "../../common/ip/address.ts";
import { CLIENT_DEFAULTS, parseClientConfig } from "../config.ts";
import { type HomeFilePlan, homeFileText } from "../home-file.ts";

const KEY_KINDS = ["ed25519", "psk"] as const;
/** Stands for the server's while the ISP has not told it; never written. */
const UNKNOWN_IDENTITY = "isp.example";
/** Reads the line from the standard input. */
const FROM_INPUT = "-";

interface InitOptions {
  readonly output: string;
  readonly server?: string;
  readonly identity?: string;
  readonly serverIdentity?: string;
  readonly serverPublicKey?: string;
  readonly key?: (typeof KEY_KINDS)[number];
  readonly lan?: readonly string[];
  readonly force?: boolean;
}

/** What is known of the tunnel, from wherever. */
interface Facts {
  readonly server: string;
  readonly identity: string;
  readonly serverIdentity: string | undefined;
  readonly serverPublicKey: string | undefined;
  readonly kind: (typeof KEY_KINDS)[number];
  /** Secret; absent: the home makes one, or has it. */
  readonly sharedKey: string | undefined;
  /** The ISP knows this home, hence its public key. */
  readonly isKnown: boolean;
  readonly lan: readonly string[];
}

export function initCommand(): Command {
  return new Command("init")
    .description("set this home up: make its key, write its configuration")
    .argument("[line]", 'what the ISP told, "hometun:..."; "-" reads it from the input')
    .option("--server <IPv4>", "the server's static address")
    .option("--identity <name>", "who this home is, such as alice.example")
    .addOption(new Option("--key <kind>", "how it proves that").choices(KEY_KINDS))
    .option("--server-identity <name>", "who the server is")
    .option("--server-public-key <key>", "what the server proves that with")
    .option("--lan <interface...>", "the LAN: gets addresses, and a firewall")
    .option("-o, --output <file>", "configuration file", CLIENT_DEFAULTS.file)
    .option("--force", "replace the configuration; a key never is")
    .action(async (line: string | undefined, options: InitOptions) => {
      const facts = await factsOf(line, options);
      process.stdout.write(`${setUp(facts, options).join("\n")}\n`);
    });
}

async function factsOf(line: string | undefined, options: InitOptions): Promise<Facts> {
  if (line === FROM_INPUT) return merged(parsed(await readLine()), options);
  if (line !== undefined) {
    const invitation = parsed(line);
    if (invitation.proof.kind === "public-key") return merged(invitation, options);
    throw new ConfigError(
      "the line holds a shared key, and arguments can be seen by all: give it to `hometun init -`",
    );
  }
  if (options.server === undefined && isInteractive()) return await askedFor(options);
  return merged(undefined, options);
}

/** Asks whoever is at the terminal for what the options do not say. */
async function askedFor(options: InitOptions): Promise<Facts> {
  const prompt = new Prompt();
  try {
    const tell = (why: string) => void process.stdout.write(`${why}\n`);
    const invitation = await insist({
      ask: () => prompt.ask("The line your ISP gave you, hometun:... (Enter: none yet)"),
      read: (line) => (line === "" ? undefined : parsed(line)),
      tell,
    });
    const server =
      invitation?.server ??
      (await insist({ ask: () => prompt.ask("The server's IPv4 address"), read: ipv4In, tell }));
    const identity =
      invitation?.identity ??
      options.identity ??
      (await prompt.ask("Who this home is, such as alice.example", hostname()));
    const lan =
      options.lan ??
      (invitation === undefined ? [] : wordsOf(await prompt.ask("LAN interfaces (Enter: none)")));
    return merged(invitation, { ...options, server, identity, lan });
  } finally {
    prompt.close();
  }
}

function merged(invitation: Invitation | undefined, options: InitOptions): Facts {
  const proof = invitation?.proof;
  const server = agreed("--server", invitation?.server, options.server);
  const identity = agreed("--identity", invitation?.identity, options.identity);
  if (server === undefined || identity === undefined) {
    throw new ConfigError("expected --server and --identity, or the line that your ISP gave you");
  }
  const isShared = proof === undefined ? options.key === "psk" : proof.kind === "shared-key";
  agreed("--key", proof && (isShared ? "psk" : "ed25519"), options.key);
  const publicKey = proof?.kind === "public-key" ? proof.publicKey : undefined;
  return {
    server,
    identity,
    serverIdentity: agreed("--server-identity", invitation?.serverIdentity, options.serverIdentity),
    serverPublicKey: agreed("--server-public-key", publicKey, options.serverPublicKey),
    kind: isShared ? "psk" : "ed25519",
    sharedKey: proof?.kind === "shared-key" ? proof.sharedKey : undefined,
    isKnown: invitation?.identity !== undefined,
    lan: options.lan ?? [],
  };
}

/** One of the two, or both if they are the same. */
function agreed(option: string, told: string | undefined, given: string | undefined) {
  if (told === undefined || given === undefined || told === given) return told ?? given;
  throw new ConfigError(`the line says ${JSON.stringify(told)}`, { key: option });
}

/** Writes what can be written, and returns what to say. */
function setUp(facts: Facts, options: InitOptions): string[] {
  const file = resolve(options.output);
  const directory = dirname(file);
  const key = facts.kind === "psk" ? sharedKeyOf(facts, directory) : keyPairOf(facts, directory);
  const { serverIdentity, server, identity, lan } = facts;
  const plan: HomeFilePlan = {
    server,
    identity,
    // While something is missing the rest is checked all the same.
    serverIdentity: serverIdentity ?? UNKNOWN_IDENTITY,
    proof: key.proof(facts.serverPublicKey),
    lan,
  };
  const text = homeFileText(plan);
  goodOrThrow(parseClientConfig({ file, text, exposed: false }));
  makeConfigDirectory(directory);
  const isComplete =
    serverIdentity !== undefined && (facts.kind === "psk" || facts.serverPublicKey !== undefined);
  if (!isComplete) {
    writeNewFiles(key.made);
    return [...said(key.made), ...key.forIsp, "", ...answerIs(facts, options)];
  }
  if (options.force === true) {
    writeNewFiles(key.made);
    replaceFiles([{ file, text }]);
  } else {
    writeNewFiles([...key.made, { file, text }]);
  }
  const config = file === CLIENT_DEFAULTS.file ? "" : ` -c ${file}`;
  return [
    ...said([...key.made, { file, text }]),
    ...(facts.isKnown ? [] : key.forIsp),
    "",
    `Next: hometun doctor${config}, then hometun run${config}`,
  ];
}

/** The home's key, there already or made now. */
interface HomeKey {
  readonly made: readonly NewFile[];
  readonly proof: (serverPublicKey: string | undefined) => HomeFilePlan["proof"];
  /** What to tell the ISP. */
  readonly forIsp: readonly string[];
}

function keyPairOf({ identity, isKnown }: Facts, directory: string): HomeKey {
  const privateKeyFile = join(directory, "key.pem");
  const isThere = readTextFile(privateKeyFile) !== undefined;
  if (!isThere && isKnown) {
    const why = "missing, and the ISP knows its public key: run hometun init without the line,";
    throw new ConfigError(`${why} and tell the ISP the new one`, { file: privateKeyFile });
  }
  const made = isThere ? [] : [{ file: privateKeyFile, text: newPrivateKey() }];
  const publicKey = publicKeyText(made[0]?.text ?? readPrivateKey(privateKeyFile));
  return {
    made,
    proof: (serverPublicKey = publicKey) => ({ kind: "key-pair", privateKeyFile, serverPublicKey }),
    forIsp: [
      "",
      "Tell your ISP who this home is, and its public key, which is no secret:",
      `  hometun-server home add ${nameIn(identity)} --identity ${identity} \\`,
      `    --public-key ${publicKey} --prefix PREFIX`,
    ],
  };
}

function sharedKeyOf({ identity, sharedKey }: Facts, directory: string): HomeKey {
  const file = join(directory, "psk");
  const isThere = readTextFile(file) !== undefined;
  if (isThere && sharedKey !== undefined) {
    if (new TextDecoder().decode(readSharedKey(file)) !== sharedKey) {
      throw new ConfigError("holds another key: remove it first if that is right", { file });
    }
  }
  const made = isThere ? [] : [{ file, text: `${sharedKey ?? newSharedKey()}\n` }];
  return {
    made,
    proof: () => ({ kind: "shared-key", file }),
    forIsp: [
      "",
      `Carry ${file} to your ISP so that nobody else can read it:`,
      `  hometun-server home add ${nameIn(identity)} --identity ${identity} \\`,
      "    --psk-file FILE --prefix PREFIX",
    ],
  };
}

function said(files: readonly NewFile[]): string[] {
  return files.map(({ file }) => `${file} written`);
}

/** How to go on when the ISP has answered. */
function answerIs({ lan }: Facts, { output }: InitOptions): string[] {
  const options = [
    ...(output === CLIENT_DEFAULTS.file ? [] : ["-o", output]),
    ...(lan.length === 0 ? [] : ["--lan", ...lan]),
  ].map((option) => ` ${option}`);
  return [
    "It answers with a line. Then, with that line in quotes:",
    `  hometun init 'hometun:...'${options.join("")}`,
  ];
}

function nameIn(identity: string): string {
  return /^[A-Za-z0-9_-]+/.exec(identity)?.[0] ?? "NAME";
}

function ipv4In(text: string): string {
  try {
    return parseIpv4(text);
  } catch (error) {
    if (!(error instanceof MalformedError)) throw error;
    const what = "expected an IPv4 address such as 203.0.113.1";
    throw new ConfigError(`${what}, got ${JSON.stringify(text)}`);
  }
}

function wordsOf(text: string): string[] {
  return text.split(/[\s,]+/).filter((word) => word !== "");
}

function parsed(line: string): Invitation {
  try {
    return parseInvitation(line);
  } catch (error) {
    if (error instanceof MalformedError) throw new ConfigError(error.message, { key: "line" });
    throw error;
  }
}
