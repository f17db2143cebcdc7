import { spawn } from "node:child_process";
import { once } from "node:events";
import { closeSync, openSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { SystemError } from "../../../common/errors.ts";
import { openLog } from "../../../common/runtime/log.ts";
import { nodeCommand } from "../../support/node-command.ts";

const written = (format: "auto" | "pretty" | "json", terminal = false) => {
  const lines: string[] = [];
  const stream = { write: (line: string) => void lines.push(line) };
  return { lines, log: openLog({ level: "info", format }, { stream, terminal, colour: false }) };
};

it("writes JSON where no person reads, one line an event", () => {
  const { lines, log } = written("auto");
  log.info({ tunnel: "alice" }, "remote endpoint moved");
  log.debug("not at this level");
  expect(lines).toHaveLength(1);
  const event: unknown = JSON.parse(lines[0] ?? "");
  expect(event).toEqual({
    level: "info",
    time: expect.stringMatching(/^\d{4}-.*Z$/),
    tunnel: "alice",
    msg: "remote endpoint moved",
  });
});

it("writes for people on a terminal", () => {
  const { lines, log } = written("auto", true);
  log.info({ tunnel: "alice" }, "remote endpoint moved");
  expect(lines.join("")).toMatch(
    /^\[\d\d:\d\d:\d\d\.\d{3}\] INFO: remote endpoint moved \{"tunnel":"alice"\}\n$/,
  );
});

it("spares people the stack of what the system refused", () => {
  const err = new SystemError("open ht0", "EPERM", { hint: "run as root" });
  const { lines, log } = written("pretty");
  log.error({ err }, "no tunnel");
  expect(lines.join("")).toContain("cannot open ht0: EPERM (run as root)");
  expect(lines.join("")).not.toContain("log.test.ts");
});

describe("whoever writes a log outlives", { timeout: 30_000 }, () => {
  const [program = "", ...options] = nodeCommand(
    join(import.meta.dirname, "../../support/log-process.ts"),
  );

  it("a disk that is full", async () => {
    const full = openSync("/dev/full", "w");
    const child = spawn(program, options, { stdio: ["ignore", "ignore", full] });
    closeSync(full);
    expect(await once(child, "close")).toEqual([0, null]);
  });

  it("who reads it", async () => {
    const child = spawn(program, options, { stdio: ["ignore", "ignore", "pipe"] });
    child.stderr.destroy();
    expect(await once(child, "close")).toEqual([0, null]);
  });
});

describe("secrets are not written, however they got there", () => {
  const secret = "00112233445566778899aabbccddeeff";

  it.each([
    { keys: secret },
    { config: { keys: { outbound: secret } } },
    { encryptionKey: secret },
    { sa: { encryptionKey: secret, companion: secret } },
    { tunnel: { inbound: { encryptionKey: secret } } },
    { file: { "integrity-key": secret, salt: secret } },
  ])("%j", (fields) => {
    const { lines, log } = written("json");
    log.info(fields, "event");
    expect(lines.join("")).not.toContain(secret);
  });
});
