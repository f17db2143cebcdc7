/** The configuration's reference, the manual pages and the examples say what the schemas do. */

import { readFileSync } from "node:fs";
import { resolve } from "node:path";
import { parse } from "smol-toml";
import { describe, expect, it } from "vitest";
import { parseClientConfig } from "../client/config.ts";
import { goodOrThrow } from "../common/config/mistakes.ts";
import { parseServerConfig } from "../server/config.ts";
import {
  CONFIGURATION_FILES,
  configurationReference,
  exampleLines,
} from "../tools/configuration-reference.ts";
import { type TableReference, tablesOf } from "../tools/schema-reference.ts";
import { digits } from "./support/config-text.ts";

const ROOT = resolve(import.meta.dirname, "..");
const read = (path: string) => readFileSync(resolve(ROOT, path), "utf8");

const [client, server, home] = CONFIGURATION_FILES.map(({ schema }) => tablesOf(schema));
if (client === undefined || server === undefined || home === undefined) throw new Error("no file");

const namesOf = (tables: readonly TableReference[]) => [
  ...new Set(tables.flatMap(({ keys }) => keys.map(({ name }) => name))),
];

/** Tables: what stands in them is explained instead. */
const isTable = (tables: readonly TableReference[], key: string) =>
  tables.some(({ name }) => name.split(".").at(-1) === key);

describe("docs/configuration.md", () => {
  it("is what npm run docs writes", () => {
    expect(read("docs/configuration.md")).toBe(configurationReference());
  });

  it.each([
    { file: "client.toml", tables: client },
    { file: "server.toml", tables: server },
    { file: "homes/*.toml", tables: home },
  ])("$file: says of each key what it is for and what it may be", ({ tables }) => {
    expect(namesOf(tables).length).toBeGreaterThan(10);
    const wanting = tables.flatMap((table) =>
      table.keys
        .filter(
          ({ description = "", variants }) =>
            description.length < 20 ||
            variants.length === 0 ||
            variants.some(({ expected }) => expected === ""),
        )
        .map(({ name }) => `[${table.name}] ${name}`),
    );
    expect(wanting).toEqual([]);
  });
});

describe("the examples in docs/configuration.md", () => {
  let turn = 0;
  /** A file of all examples; where digits of a key are left out there are some, other ones each time. */
  const textOf = (tables: readonly TableReference[], mode: string) =>
    tables
      .filter(({ when }) => when.get("keys.mode")?.includes(mode) ?? true)
      .map((table) => exampleLines(table, mode).join("\n"))
      .join("\n\n")
      // `lan` as a text, or as a table.
      .replace(/^lan = .*\n/m, "")
      .replaceAll(/"(\d+) hexadecimal digits"/g, (_, count) => {
        turn += 1;
        return `"${digits(Number(count) / 2, turn)}"`;
      });
  const source = (file: string, text: string) => ({ file, text, exposed: false });

  it.each(["manual", "ikev2"])("make a client.toml and a homes/*.toml, %s keys", (mode) => {
    const config = goodOrThrow(parseClientConfig(source("client.toml", textOf(client, mode))));
    expect(config.keys.mode).toBe(mode);
    const files = () => [source("homes/alice.toml", textOf(home, mode))];
    const { homes } = goodOrThrow(
      parseServerConfig(source("server.toml", textOf(server, mode)), files),
    );
    expect(homes.map(({ name }) => name)).toEqual(["alice"]);
  });
});

describe("a manual page", () => {
  it.each([
    { page: "man/hometun.client.toml.5", tables: client },
    { page: "man/hometun.server.toml.5", tables: [...server, ...home] },
  ])("$page explains every key, and none that there is not", ({ page, tables }) => {
    const text = read(page);
    const explained = [...text.matchAll(/^\.(?:It )?Ic (.*)$/gm)]
      .flatMap(([, names = ""]) => names.split(" "))
      .filter((name) => /^[a-z]/.test(name));
    const keys = namesOf(tables).filter((key) => !isTable(tables, key) && key !== "home");
    expect(keys.filter((key) => !explained.includes(key))).toEqual([]);
    const known = namesOf(tables);
    expect(explained.filter((key) => !known.includes(key))).toEqual([]);
  });

  it.each(["man/hometun.client.toml.5", "man/hometun.server.toml.5"])(
    "%s explains no key twice in one list",
    (page) => {
      for (const list of read(page).split(".El")) {
        const items = [...list.matchAll(/^\.It Ic (.*)$/gm)].map(([, names]) => names);
        expect(items).toEqual([...new Set(items)]);
      }
    },
  );
});

describe("an example", () => {
  it.each([
    { file: "examples/client.toml", tables: client },
    { file: "examples/server.toml", tables: server },
    { file: "examples/homes/alice.toml", tables: home },
  ])("$file shows as defaults what are defaults", ({ file, tables }) => {
    let table = "";
    const shown: string[] = [];
    for (const line of read(file).split("\n")) {
      table = /^#?\[([a-z0-9.]+)\]/.exec(line)?.[1] ?? table;
      const [, key, text] = /^#([a-z-]+) = ([^#]+)/.exec(line) ?? [];
      const reference = tables
        .find(({ name }) => name === table)
        ?.keys.find(({ name }) => name === key);
      const [variant] = reference?.variants ?? [];
      if (key === undefined || variant?.presence.kind !== "default") continue;
      shown.push(key);
      expect({ [key]: variant.presence.value }).toEqual(parse(`${key} = ${text}`));
    }
    expect(shown.length).toBeGreaterThan(0);
  });
});
