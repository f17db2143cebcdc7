/** Manual pages and completion tell the same story as the programs and the example configuration. */

import { spawnSync } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { describe, expect, it } from "vitest";
import { CLIENT_PROGRAM, daemonsAreBuilt, SERVER_PROGRAM } from "../support/tunnel-lab.ts";

const ROOT = resolve(import.meta.dirname, "../..");
const read = (path: string) => readFileSync(join(ROOT, path), "utf8");

function helpOf(program: string, ...command: string[]): string {
  return spawnSync(process.execPath, [program, ...command, "--help"], { encoding: "utf8" }).stdout;
}

/** Commands in a program's help. */
function commandsIn(help: string): string[] {
  const section = help.slice(help.indexOf("Commands:"));
  return [...section.matchAll(/^ {2}([a-z][a-z-]*) /gm)].map(([, name = ""]) => name);
}

/** All spellings of all options in a help: `-c` and `--config`. */
function optionsIn(help: string): string[] {
  return [...help.matchAll(/^ {2}(-\w, )?(--[a-z-]+)/gm)].flatMap(([, short = "", long = ""]) => [
    ...(short === "" ? [] : [short.slice(0, 2)]),
    long,
  ]);
}

describe.skipIf(!daemonsAreBuilt())("a manual page", () => {
  it.each([
    { page: "man/hometun.8", program: CLIENT_PROGRAM },
    { page: "man/hometun-server.8", program: SERVER_PROGRAM },
  ])("$page names every command and option", ({ page, program }) => {
    // `.Fl c , -config` is mdoc's way to write `-c, --config`.
    const flags = [...read(page).matchAll(/Fl ((?:[\w-]+)(?: , [\w-]+)*)/g)]
      .flatMap(([, names = ""]) => names.split(" , "))
      .map((name) => `-${name}`);
    const commands = commandsIn(helpOf(program));
    expect(commands).toContain("run");
    const missing = commands.filter((name) => !read(page).includes(`.It Cm ${name}\n`));
    expect(missing).toEqual([]);
    // keygen's help is its own manual.
    const others = commands.filter((name) => name !== "keygen");
    const options = others.flatMap((name) => optionsIn(helpOf(program, name)));
    expect(options).toContain("--config");
    expect(options.filter((option) => !flags.includes(option))).toEqual([]);
  });
});

describe("a manual page", () => {
  it.each([
    { page: "man/hometun.client.toml.5", examples: ["client.toml"] },
    { page: "man/hometun.server.toml.5", examples: ["server.toml", "homes/alice.toml"] },
  ])("$page explains every key of the examples", ({ page, examples }) => {
    const keys = examples
      .flatMap((name) => [...read(`examples/${name}`).matchAll(/^#?([a-z-]+) = /gm)])
      .map(([, key = ""]) => key);
    expect(keys.length).toBeGreaterThan(10);
    const explained = [...read(page).matchAll(/^\.(?:It )?Ic (.*)$/gm)]
      .flatMap(([, names = ""]) => names.split(" "))
      .filter((name) => name !== ",");
    expect(keys.filter((key) => !explained.includes(key))).toEqual([]);
  });

  const hasMan = spawnSync("man", ["--version"]).status === 0;

  it.runIf(hasMan).each(readdirSync(join(ROOT, "man")))(
    "%s is formatted without a warning",
    (page) => {
      const formatted = spawnSync("man", ["--warnings", "-l", join(ROOT, "man", page)], {
        encoding: "utf8",
        env: { ...process.env, MANWIDTH: "80", LC_ALL: "C.UTF-8" },
      });
      expect(formatted.stderr).toBe("");
      expect(formatted.stdout).toContain("NAME");
    },
  );
});

describe.skipIf(!daemonsAreBuilt())("a document", () => {
  const PROGRAMS: Readonly<Record<string, string>> = {
    hometun: CLIENT_PROGRAM,
    "hometun-server": SERVER_PROGRAM,
  };
  const helps = new Map<string, string>();
  const cachedHelp = (program: string, ...command: string[]) => {
    const key = [program, ...command].join(" ");
    const help = helps.get(key) ?? helpOf(program, ...command);
    helps.set(key, help);
    return help;
  };

  /** Command lines in examples and in the text, up to a pipe, a remark or the next command. */
  function commandLinesIn(markdown: string): string[][] {
    const joined = markdown.replaceAll(/ \\\n\s*/g, " ");
    const lines = [
      ...joined.matchAll(/^ {4}(?:\$ )?((?:hometun|hometun-server) [a-z].*)$/gm),
      ...joined.matchAll(/`((?:hometun|hometun-server) [a-z][^`\n]*)`/g),
    ];
    return lines.map(([, line = ""]) => (line.split(/ {2,}|[#|;&,]|'/)[0] ?? "").trim().split(" "));
  }

  it.each([
    "README.md",
    ...readdirSync(join(ROOT, "docs"))
      .filter((name) => name.endsWith(".md"))
      .map((name) => `docs/${name}`),
  ])("%s names no command and no option that there is not", (document) => {
    const wrong = commandLinesIn(read(document)).filter(([name = "", ...words]) => {
      const program = PROGRAMS[name] ?? "";
      const [command = "", second = ""] = words;
      if (!commandsIn(cachedHelp(program)).includes(command)) return true;
      const path = command === "home" ? [command, second] : [command];
      const options = optionsIn(cachedHelp(program, ...path));
      const used = words.filter((word) => /^--?[a-z]/.test(word));
      return used.some((option) => !options.includes(option));
    });
    expect(wrong).toEqual([]);
  });

  it("is looked at for commands", () => {
    expect(commandLinesIn(read("docs/isp.md")).length).toBeGreaterThan(8);
    expect(commandLinesIn("    $ hometun status --json | jq .\n")).toEqual([
      ["hometun", "status", "--json"],
    ]);
  });
});

describe.skipIf(!daemonsAreBuilt())("bash completion", () => {
  /** What is offered for the last of these words. */
  function offered(...words: string[]): string[] {
    const script = `
      hometun() { "$NODE" "${CLIENT_PROGRAM}" "$@"; }
      hometun-server() { "$NODE" "${SERVER_PROGRAM}" "$@"; }
      source completions/hometun.bash
      COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1))
      _hometun "$1" "\${!#}" "\${COMP_WORDS[COMP_CWORD-1]}"
      printf '%s\\n' "\${COMPREPLY[@]}"`;
    const { stdout } = spawnSync("bash", ["-c", script, "bash", ...words], {
      cwd: ROOT,
      encoding: "utf8",
      env: { ...process.env, NODE: process.execPath },
    });
    return stdout.trim().split("\n").sort();
  }

  it.each([
    { words: ["hometun", "s"], expected: ["status"] },
    { words: ["hometun", "keygen", "--su"], expected: ["--suite"] },
    {
      words: ["hometun", "keygen", "--suite", "aes-gcm"],
      expected: ["aes-gcm-128", "aes-gcm-192", "aes-gcm-256"],
    },
    { words: ["hometun", "keygen", "--encapsulation", ""], expected: ["esp", "udp"] },
    { words: ["hometun", "init", "--key", "e"], expected: ["ed25519"] },
    { words: ["hometun-server", "c"], expected: ["check-config"] },
    { words: ["hometun-server", "home", ""], expected: ["add", "line", "remove"] },
    { words: ["hometun-server", "home", "line", "--n"], expected: ["--no-qr"] },
    { words: ["hometun-server", "home", "add", "--po"], expected: ["--pool"] },
    { words: ["hometun-server", "status", "--j"], expected: ["--json"] },
  ])("offers $expected after $words", ({ words, expected }) => {
    expect(offered(...words)).toEqual(expected);
  });
});
