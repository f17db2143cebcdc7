/** `hometun keygen` */

import { randomBytes } from "node:crypto";
import { join } from "node:path";
import { Command } from "commander";
import { writeNewFiles } from "../../common/adapters/config-file.ts";
import { SUITES } from "../../common/config/keys.ts";
import { goodOrThrow } from "../../common/config/mistakes.ts";
import {
  checkWith,
  encapsulation,
  homeName,
  hostIpv4,
  prefixes,
  table,
  word,
} from "../../common/config/schema.ts";
import { CLIENT_DEFAULTS } from "../config.ts";
import { type HomePlan, makeKeyPair } from "../key-pair.ts";

const PLAN = table({
  name: homeName,
  server: hostIpv4,
  prefix: prefixes,
  suite: word(SUITES),
  encapsulation,
});

export function keygenCommand(): Command {
  return new Command("keygen")
    .description("make a matching pair of files for a home and its server")
    .requiredOption("--name <home>", "name of the home")
    .requiredOption("--server <IPv4>", "the server's static address")
    .requiredOption("--prefix <prefix...>", "the home's IPv6 prefix, or several")
    .option("--suite <suite>", SUITES.join(", "), SUITES[0])
    .option("--encapsulation <udp|esp>", "ESP in UDP port 4500, or as IPv4 protocol 50", "udp")
    .option("-o, --output <directory>", "where the files are written", ".")
    .action((options: { output: string } & Readonly<Record<string, unknown>>) => {
      const { output, ...rest } = options;
      const { prefix, ...checked } = goodOrThrow(checkWith(PLAN, rest, "keygen"));
      const plan: HomePlan = { ...checked, prefixes: prefix };
      const pair = makeKeyPair(plan, (length) => new Uint8Array(randomBytes(length)));
      const client = join(output, `${plan.name}.client.toml`);
      const server = join(output, `${plan.name}.server.toml`);
      writeNewFiles([
        { file: client, text: pair.client },
        { file: server, text: pair.server },
      ]);
      process.stdout.write(advice(plan, client, server));
    });
}

/** Where each file belongs, and what its suite asks for. */
function advice(plan: HomePlan, client: string, server: string): string {
  const singleUse = plan.suite.startsWith("aes-gcm")
    ? [
        "",
        "A manual AES-GCM key serves for one start only (RFC 8221 section 5): the second is refused.",
        "Keys that outlive restarts: --suite aes-cbc-256-hmac-sha2-256-128.",
      ]
    : [];
  return [
    `${client}  to the home, as ${CLIENT_DEFAULTS.file}`,
    `${server}  to the server, into its directory homes/`,
    "Both hold keys: carry them over a channel that others cannot read.",
    ...singleUse,
    "",
  ].join("\n");
}
