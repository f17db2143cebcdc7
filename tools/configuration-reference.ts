/**
 * docs/configuration.md, made of the schemas that read the files: whatever a daemon takes stands in it, with the
 * words and the default that the schema has.
 */

import type { z } from "zod";
import { clientTable } from "../client/config.ts";
import { homeTable, serverTable } from "../server/config.ts";
import {
  type Choices,
  type KeyReference,
  type TableReference,
  tablesOf,
  type Variant,
} from "./schema-reference.ts";

/** One of the files that users write. */
export interface ConfigurationFile {
  readonly title: string;
  readonly introduction: string;
  readonly schema: z.ZodType;
}

export const CONFIGURATION_FILES: readonly ConfigurationFile[] = [
  {
    title: "The home: client.toml",
    introduction:
      "`/etc/hometun/client.toml`. It holds keys: mode 0600. `hometun check-config` tells every mistake in it.",
    schema: clientTable,
  },
  {
    title: "The ISP: server.toml",
    introduction:
      "`/etc/hometun/server.toml`. `hometun-server check-config` tells every mistake, `systemctl reload hometun-server` reads it anew.",
    schema: serverTable,
  },
  {
    title: "Each home of the ISP: homes/*.toml",
    introduction:
      "One file for each home in `/etc/hometun/homes`, mode 0600. The same may stand in `server.toml` as a table `[[home]]`.",
    schema: homeTable,
  },
];

const HEAD = `# Configuration

Every key of every file: what it may be, its default, what it is for. Made by \`npm run docs\` from the schemas that
read the files; do not edit. The files are [TOML](https://toml.io). Whole ones: [examples/](../examples/). Manual
pages: hometun.client.toml(5), hometun.server.toml(5).
`;

/** The whole document. */
export function configurationReference(): string {
  return [HEAD, ...CONFIGURATION_FILES.map(renderFile)].join("\n");
}

function renderFile({ title, introduction, schema }: ConfigurationFile): string {
  const groups: TableReference[][] = [];
  for (const table of tablesOf(schema)) {
    // Inbound and outbound have the same keys: they are explained once.
    const alike = groups.find(([other]) => other !== undefined && sameKeys(other, table));
    if (alike === undefined) groups.push([table]);
    else alike.push(table);
  }
  return [`## ${title}\n`, `${introduction}\n`, ...groups.map(renderTables)].join("\n");
}

function sameKeys(a: TableReference, b: TableReference): boolean {
  return JSON.stringify(a.keys.map(renderRow)) === JSON.stringify(b.keys.map(renderRow));
}

/** Tables with the same keys. */
function renderTables(tables: readonly TableReference[]): string {
  const [first] = tables;
  if (first === undefined) return "";
  const names = tables.map(({ name }) => `\`[${name}]\``).join(" and ");
  const head = first.name === "" ? [] : [`### ${names}\n`];
  const descriptions = tables.flatMap(({ name, description }) =>
    description === undefined
      ? []
      : [tables.length === 1 ? description : `\`${name}\`: ${description}`],
  );
  const limits = first.when.size === 0 ? [] : [`Only with ${renderChoices(first.when)}.`];
  const said = [...descriptions, ...limits];
  return [
    ...head,
    ...(said.length === 0 ? [] : [`${said.join(" ")}\n`]),
    "| key | value | default | |",
    "|---|---|---|---|",
    ...first.keys.map(renderRow),
    "",
    ...renderExamples(first),
  ].join("\n");
}

/** One for each mode of keys, if that makes a difference. */
function renderExamples(table: TableReference): string[] {
  const modes = table.varying.get("keys.mode") ?? [];
  const examples = (modes.length === 0 ? [undefined] : modes).map((mode) => ({
    mode,
    lines: exampleLines(table, mode).map((line) => `    ${line}`),
  }));
  const [one] = examples;
  if (examples.every(({ lines }) => String(lines) === String(one?.lines))) {
    return ["For example:\n", ...(one?.lines ?? []), ""];
  }
  return examples.flatMap(({ mode, lines }) => [
    `For example, with \`keys.mode = "${mode}"\`:\n`,
    ...lines,
    "",
  ]);
}

/** A table as TOML, as far as its keys have examples. */
export function exampleLines({ name, keys }: TableReference, mode: string | undefined): string[] {
  const lines = keys.flatMap((key) => {
    const example = key.variants.find(({ when }) => holdsWith(when, mode))?.example;
    return example === undefined ? [] : [`${key.name} = ${example}`];
  });
  return name === "" ? lines : [`[${name}]`, ...lines];
}

function holdsWith(when: Choices, mode: string | undefined): boolean {
  const modes = when.get("keys.mode");
  return mode === undefined || modes === undefined || modes.includes(mode);
}

function renderRow({ name, description = "", variants }: KeyReference): string {
  const [first] = variants;
  const isLimited = variants.length === 1 && first !== undefined && first.when.size > 0;
  const limit = isLimited ? `Only with ${renderChoices(first.when)}. ` : "";
  const values = renderVariants(variants, ({ expected }) => expected);
  const defaults = renderVariants(variants, renderPresence);
  const cells = [`\`${name}\``, values, defaults, `${limit}${description}`];
  return `| ${cells.map((cell) => cell.replaceAll("|", "\\|")).join(" | ")} |`;
}

/** What the variants say, once if they agree. */
function renderVariants(variants: readonly Variant[], say: (variant: Variant) => string): string {
  const [first] = variants;
  if (first === undefined) return "";
  if (new Set(variants.map(say)).size === 1) return say(first);
  return variants
    .map((variant) => `${say(variant)} with ${renderChoices(variant.when)}`)
    .join("; ");
}

function renderPresence({ presence }: Variant): string {
  switch (presence.kind) {
    case "required":
      return "required";
    case "optional":
      return "–";
    case "default":
      return renderDefault(presence.value);
  }
}

/** As TOML. A table that may be left out is made of its keys' defaults. */
function renderDefault(value: unknown): string {
  if (typeof value === "object" && value !== null && !Array.isArray(value)) return "–";
  return `\`${JSON.stringify(value)}\``;
}

function renderChoices(choices: Choices): string {
  const one = ([key, values]: [string, readonly string[]]) =>
    `\`${key} = ${values.map((value) => JSON.stringify(value)).join("` or `")}\``;
  return [...choices].map(one).join(" and ");
}
