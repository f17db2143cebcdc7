/** Who may import whom. Each rule says why; CONTRIBUTING.md has the picture. */

import { existsSync, readdirSync, readFileSync } from "node:fs";
import { dirname, join, relative, resolve } from "node:path";
import { expect, test } from "vitest";

const root = resolve(import.meta.dirname, "..");

const importsOf = (file: string): string[] =>
  [...readFileSync(file, "utf8").matchAll(/(?:from|import)\s*\(?\s*"([^"]+)"/g)].map(
    ([, specifier = ""]) =>
      specifier.startsWith(".") ? relative(root, resolve(dirname(file), specifier)) : specifier,
  );

const filesUnder = (path: string): string[] => {
  const whole = join(root, path);
  if (!existsSync(whole)) return [];
  if (path.endsWith(".ts")) return [whole];
  return readdirSync(whole, { recursive: true, encoding: "utf8" })
    .filter((name) => name.endsWith(".ts"))
    .map((name) => join(whole, name));
};

/** Folders of `common` that hold no protocol core. */
const RIM = new Set(["adapters", "runtime"]);
const cores = readdirSync(join(root, "common"), { withFileTypes: true })
  .filter((entry) => !RIM.has(entry.name))
  .map((entry) => `common/${entry.name}`);

const NO_IO =
  /^(node:(?!crypto$)|pino|netlink|raw-socket|koffi|commander|common\/(adapters|runtime)\/)/;
const NATIVE = /^(netlink|raw-socket|koffi)$/;

const rules = [
  { from: ["common"], never: /^(client|server)\//, why: "common knows nothing of the daemons" },
  { from: ["client"], never: /^server\//, why: "the daemons meet only on the wire" },
  { from: ["server"], never: /^client\//, why: "the daemons meet only on the wire" },
  { from: ["common", "client", "server"], never: /^test\//, why: "the product needs no test" },
  {
    from: [
      ...cores,
      "client/announce",
      "client/firewall/open-port.ts",
      "client/hooks/home-events.ts",
      "client/firewall/ruleset.ts",
      "client/lan/router-advertiser.ts",
      "client/lan/subnets.ts",
      "client/lan/former-prefixes.ts",
      "client/address-watch/snapshot.ts",
      "client/address-watch/watch.ts",
      "server/endpoint",
      "server/intake",
      "server/state/home-journal.ts",
      "server/state/endpoint-entry.ts",
      "server/state/association-entry.ts",
    ],
    never: NO_IO,
    why: "protocol cores do no I/O",
  },
  {
    from: ["client", "server", "common/runtime"],
    never: NATIVE,
    why: "only adapters touch native packages",
  },
];

test.each(rules)("$from: $why", ({ from, never }) => {
  const broken = from.flatMap(filesUnder).flatMap((file) =>
    importsOf(file)
      .filter((target) => never.test(target))
      .map((target) => `${relative(root, file)} -> ${target}`),
  );
  expect(broken).toEqual([]);
});

test("only common/adapters/linux hands out memory addresses", () => {
  const broken = filesUnder("common")
    .filter((file) => !relative(root, file).startsWith("common/adapters/linux/"))
    .filter((file) => importsOf(file).includes("koffi"))
    .map((file) => relative(root, file));
  expect(broken).toEqual([]);
});
