/** `hometun-server home line`: the line of a home that is served already, as `home add` printed it. */

import { Command } from "commander";
import { readSharedKey } from "../../common/adapters/secret-file.ts";
import { ConfigError } from "../../common/errors.ts";
import { formatIdentification } from "../../common/ikev2/identity.ts";
import { formatIpv6Prefix } from "../../common/ip/address.ts";
import { configOption } from "../../common/runtime/command-line.ts";
import { type HomeConfig, SERVER_DEFAULTS } from "../config.ts";
import {
  type HomeInvitation,
  invitationOf,
  negotiationOf,
  printInvitation,
} from "./home-invitation.ts";
import { loadConfig } from "./load.ts";
import { noSuchHome } from "./no-such-home.ts";

export function homeLineCommand(): Command {
  return new Command("line")
    .description("print the line that a home needs once more")
    .argument("<name>", "how the home is called here")
    .option("--no-qr", "no QR code of the line on a terminal")
    .addOption(configOption(SERVER_DEFAULTS.file))
    .action((name: string, { config, qr }: { config: string; qr: boolean }) => {
      printInvitation(invitationTo(name, config), qr);
    });
}

function invitationTo(name: string, file: string): HomeInvitation {
  const config = loadConfig(file);
  const home = config.homes.find((each) => each.name === name);
  if (home === undefined) throw noSuchHome(name);
  const { identity, sharedKey } = proofOf(home);
  const prefixes = home.prefixes.map(formatIpv6Prefix);
  const { address } = config;
  return invitationOf(
    { name, identity, prefixes, sharedKey },
    { address, ikev2: negotiationOf(config, file) },
  );
}

function proofOf({ name, keys }: HomeConfig): { identity: string; sharedKey: string | undefined } {
  if (keys.mode === "manual") {
    throw new ConfigError(
      `home ${name} has manual keys, and no line: hometun keygen makes both files`,
    );
  }
  if (keys.proof.kind === "certificate") {
    throw new ConfigError(`home ${name} has a certificate, and no line: see docs/ikev2.md`);
  }
  const { proof } = keys;
  const sharedKey =
    proof.kind === "shared-key" ? new TextDecoder().decode(readSharedKey(proof.file)) : undefined;
  return { identity: formatIdentification(keys.identity), sharedKey };
}
