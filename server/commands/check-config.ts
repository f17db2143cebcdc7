/** `hometun-server check-config` */

import { Command } from "commander";
import { readHomeProof, readServerProof } from "../../common/adapters/proof-files.ts";
import { ConfigMistakes } from "../../common/config/mistakes.ts";
import type { HomeNegotiatedKeys } from "../../common/config/negotiated-keys.ts";
import { ConfigError } from "../../common/errors.ts";
import { configOption } from "../../common/runtime/command-line.ts";
import { formatQuantity } from "../../common/text/units.ts";
import { type HomeConfig, SERVER_DEFAULTS, type ServerConfig } from "../config.ts";
import { loadConfig } from "./load.ts";

export function checkConfigCommand(): Command {
  return new Command("check-config")
    .description("read the configuration, homes and keys too, and tell every mistake")
    .addOption(configOption(SERVER_DEFAULTS.file))
    .action(({ config: file }: { config: string }) => {
      const config = loadConfig(file);
      const mistakes = mistakesInKeys(config);
      if (mistakes.length > 0) throw new ConfigMistakes(mistakes);
      for (const warning of sharedProofs(config.homes)) {
        process.stderr.write(`hometun-server: warning: ${warning}\n`);
      }
      const { address, homes } = config;
      process.stdout.write(
        `${file}: good (${formatQuantity(homes.length, "home")} at ${address})\n`,
      );
    });
}

/** What is wrong with the files of keys and certificates, which `run` reads next. */
function mistakesInKeys({ homes, ikev2 }: ServerConfig): ConfigError[] {
  if (ikev2 === undefined) return [];
  const server = attempt(() => readServerProof(ikev2));
  const isMistaken = server instanceof ConfigError;
  const ofHomes = homes.flatMap(({ keys }) => {
    if (keys.mode === "manual" || (isMistaken && keys.proof.kind !== "shared-key")) return [];
    const trusted = isMistaken ? { credential: undefined, authorities: [] } : server;
    return attempt(() => readHomeProof(keys.proof, trusted));
  });
  return [server, ...ofHomes].filter((each) => each instanceof ConfigError);
}

function attempt<Value>(read: () => Value): Value | ConfigError {
  try {
    return read();
  } catch (error) {
    if (error instanceof ConfigError) return error;
    throw error;
  }
}

/** Of homes that prove themselves with one key each could be the other. */
function sharedProofs(homes: readonly HomeConfig[]): string[] {
  const owners = new Map<string, string>();
  return homes.flatMap(({ name, keys }) => {
    const proof = keys.mode === "manual" ? undefined : textOf(keys.proof);
    if (proof === undefined) return [];
    const owner = owners.get(proof);
    if (owner !== undefined) return [`homes ${owner} and ${name} have one key: make each its own`];
    owners.set(proof, name);
    return [];
  });
}

function textOf(proof: HomeNegotiatedKeys["proof"]): string | undefined {
  if (proof.kind === "certificate") return undefined;
  if (proof.kind === "shared-key") return proof.file;
  return proof.peerKey.export({ format: "der", type: "spki" }).toString("base64");
}
