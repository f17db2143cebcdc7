/** Markdown: links lead somewhere, and what docs/traceability.md names exists. */

import { existsSync, readdirSync, readFileSync } from "node:fs";
import { dirname, join, relative, resolve } from "node:path";
import { describe, expect, it } from "vitest";

const ROOT = resolve(import.meta.dirname, "..");
const LEFT_OUT = new Set(["node_modules", "dist", ".git", "coverage"]);
const read = (path: string) => readFileSync(join(ROOT, path), "utf8");

const documents = readdirSync(ROOT, { withFileTypes: true })
  .filter(({ name }) => !LEFT_OUT.has(name))
  .flatMap((entry) =>
    entry.isDirectory()
      ? readdirSync(join(ROOT, entry.name), { recursive: true, encoding: "utf8" }).map(
          (name) => `${entry.name}/${name}`,
        )
      : [entry.name],
  )
  .filter((name) => name.endsWith(".md"));

/** Files and folders as prose names them: `common/nd/`, `test/netns/restart.test.ts`. */
const SOURCE_PATH =
  /`((?:bench|client|common|demo|docs|examples|man|packaging|server|systemd|test|tools)\/[A-Za-z0-9./_-]*)`/g;

/** Text that is no example. */
const proseOf = (markdown: string) =>
  markdown
    .replaceAll(/^```.*?^```/gms, "")
    .replaceAll(/^ {4}.*$/gm, "")
    .replaceAll(/`[^`\n]*`/g, "");

/** What a heading's link is called, as GitHub makes it. */
const anchorOf = (heading: string) =>
  heading
    .toLowerCase()
    .replaceAll(/[^\p{L}\p{N}\s_-]/gu, "")
    .trim()
    .replaceAll(/\s/g, "-");

/** What running something makes; a clone has none. */
const MADE = new Set(["bench/results"]);

const anchorsOf = (markdown: string) =>
  [...markdown.replaceAll(/^```.*?^```/gms, "").matchAll(/^#{1,6} (.*)$/gm)].map(
    ([, heading = ""]) => anchorOf(heading),
  );

const linksOf = (markdown: string) =>
  [...proseOf(markdown).matchAll(/\]\(([^)\s]+)\)/g)].map(([, target = ""]) => target);

describe("a document", () => {
  it.each(documents)("%s leads nowhere that there is not", (document) => {
    const dead = linksOf(read(document)).filter((target) => {
      if (/^[a-z]+:/.test(target)) return false;
      const [path = "", anchor] = target.split("#");
      const file = path === "" ? document : relative(ROOT, resolve(ROOT, dirname(document), path));
      if (!existsSync(join(ROOT, file))) return true;
      return anchor !== undefined && !anchorsOf(read(file)).includes(anchor);
    });
    expect(dead).toEqual([]);
  });

  it.each(documents)("%s names files of the project that exist", (document) => {
    const named = [...read(document).matchAll(SOURCE_PATH)].map(([, path = ""]) => path);
    const kept = named.filter((path) => !MADE.has(path));
    expect(kept.filter((path) => !existsSync(join(ROOT, path)))).toEqual([]);
  });

  it("is one of several, with links to look after", () => {
    expect(documents).toEqual(expect.arrayContaining(["README.md", "docs/architecture.md"]));
    expect(documents.flatMap((document) => linksOf(read(document))).length).toBeGreaterThan(20);
    expect(anchorsOf("# `hometun status` says: *held*, and why?\n")).toEqual([
      "hometun-status-says-held-and-why",
    ]);
  });

  it("is reached from the table of contents", () => {
    const listed = linksOf(read("docs/README.md"));
    const pages = readdirSync(join(ROOT, "docs")).filter(
      (name) => name.endsWith(".md") && name !== "README.md",
    );
    expect(pages.filter((name) => !listed.includes(name))).toEqual([]);
  });
});

describe("docs/traceability.md", () => {
  /** Cells of the tables' rows. */
  const rows = read("docs/traceability.md")
    .split("\n")
    .filter((line) => /^\| \d/.test(line))
    .map((line) => line.split("|").map((cell) => cell.trim()));

  it("names files that exist", () => {
    const paths = [
      ...read("docs/traceability.md").matchAll(/`((?:[a-z0-9-]+\/)+[a-z0-9.-]*)`/g),
    ].map(([, path = ""]) => path);
    expect(paths.length).toBeGreaterThan(40);
    expect(paths.filter((path) => !existsSync(join(ROOT, path)))).toEqual([]);
  });

  it("names tests that exist", () => {
    const named = rows.flatMap(([, , , , , cell = ""]) =>
      [...cell.matchAll(/`(test\/[^`]+)`((?: ?,? "[^"]+")+)/g)].flatMap(
        ([, file = "", names = ""]) =>
          [...names.matchAll(/"([^"]+)"/g)].map(([, name = ""]) => ({ file, name })),
      ),
    );
    expect(named.length).toBeGreaterThan(30);
    expect(named.filter(({ file, name }) => !read(file).includes(name))).toEqual([]);
  });

  it("has for each row a test, or says that there is none", () => {
    const silent = rows.filter(
      ([, , , done = "", , test = ""]) =>
        test === "" && !/\*\*(Not implemented|Departed|not)\*\*/i.test(done),
    );
    expect(silent).toEqual([]);
  });
});
