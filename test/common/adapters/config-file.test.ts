import {
  chmodSync,
  chownSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it, test, vi } from "vitest";
import {
  readConfigDirectory,
  readConfigFile,
  replaceFiles,
  writeNewFiles,
} from "../../../common/adapters/config-file.ts";
import { ConfigError } from "../../../common/errors.ts";

let directory: string;
const at = (name: string) => join(directory, name);

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "hometun-test-"));
});

afterEach(() => {
  vi.unstubAllEnvs();
  rmSync(directory, { recursive: true });
});

describe("a file", () => {
  test.each([
    [0o600, false],
    [0o400, false],
    [0o700, false],
    [0o604, true],
    [0o644, true],
    [0o660, true],
    [0o620, true],
    [0o602, true],
  ])("of mode %o is exposed: %s", (mode, exposed) => {
    writeFileSync(at("a.toml"), "text");
    chmodSync(at("a.toml"), mode);
    expect(readConfigFile(at("a.toml"))).toEqual({ file: at("a.toml"), text: "text", exposed });
  });

  it.runIf(process.getuid?.() === 0).each([
    [0, false],
    [65534, true],
  ])("that a group may read is exposed unless root gave it: owner %i, %s", (owner, exposed) => {
    writeFileSync(at("a.toml"), "text");
    chmodSync(at("a.toml"), 0o640);
    chownSync(at("a.toml"), owner, 0);
    expect(readConfigFile(at("a.toml")).exposed).toBe(exposed);
  });

  it("that systemd hands over is guarded by its directory", () => {
    writeFileSync(at("a.toml"), "text");
    chmodSync(at("a.toml"), 0o444);
    vi.stubEnv("CREDENTIALS_DIRECTORY", directory);
    expect(readConfigFile(at("a.toml")).exposed).toBe(false);
  });

  it("that cannot be read is told in one line", () => {
    mkdirSync(at("d"));
    const says = (file: string) => () => readConfigFile(file);
    expect(says(at("none"))).toThrow(new ConfigError("no such file", { file: at("none") }));
    expect(() => readConfigFile(at("none"), "make it")).toThrow(
      new ConfigError("no such file: make it", { file: at("none") }),
    );
    expect(says(at("d"))).toThrow(
      new ConfigError("expected a file, this is a directory", { file: at("d") }),
    );
  });
});

describe("a directory", () => {
  it("gives its *.toml in the order of their names", () => {
    for (const name of ["b.toml", "a.toml", ".hidden.toml", "c.toml~"]) writeFileSync(at(name), "");
    const files = readConfigDirectory(directory)?.map(({ file }) => file);
    expect(files).toEqual([at("a.toml"), at("b.toml")]);
  });

  it("that is not there is no mistake of its own", () => {
    expect(readConfigDirectory(at("none"))).toBeUndefined();
  });

  it("gives the mistake in place of a file that cannot be read", () => {
    mkdirSync(at("a.toml"));
    expect(readConfigDirectory(directory)).toEqual([
      new ConfigError("expected a file, this is a directory", { file: at("a.toml") }),
    ]);
  });
});

describe("new files", () => {
  it("are for their owner only", () => {
    writeNewFiles([{ file: at("a"), text: "secret" }]);
    expect((statSync(at("a")).mode & 0o777).toString(8)).toBe("600");
    expect(readFileSync(at("a"), "utf8")).toBe("secret");
  });

  it("are made all or not at all, and never over another", () => {
    writeFileSync(at("b"), "precious");
    const files = ["a", "b"].map((name) => ({ file: at(name), text: "new" }));
    const expected = new ConfigError("exists already, and is not overwritten", { file: at("b") });
    expect(() => writeNewFiles(files)).toThrow(expected);
    expect(readFileSync(at("b"), "utf8")).toBe("precious");
    expect(statSync(at("a"), { throwIfNoEntry: false })).toBeUndefined();
  });

  it("never take a directory's place", () => {
    mkdirSync(at("a"));
    const expected = new ConfigError("expected a file, this is a directory", { file: at("a") });
    expect(() => replaceFiles([{ file: at("a"), text: "new" }])).toThrow(expected);
    expect(readdirSync(directory)).toEqual(["a"]);
  });
});
