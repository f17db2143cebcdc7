import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { openKeyLog } from "../../../common/adapters/key-log-file.ts";
import { openLog } from "../../../common/runtime/log.ts";
import { Network } from "../ikev2/support/network.ts";

let directory: string;
let lines: { msg: string; directory?: string }[];
const log = () =>
  openLog(
    { level: "info", format: "json" },
    { stream: { write: (line) => lines.push(JSON.parse(line)) } },
  );

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "key-log-"));
  lines = [];
});
afterEach(() => rmSync(directory, { recursive: true }));

it("writes nothing unless the environment names a directory", () => {
  expect(openKeyLog(log(), {})).toBeUndefined();
  expect(openKeyLog(log(), { HOMETUN_KEY_LOG: "" })).toBeUndefined();
  expect(lines).toEqual([]);
});

it("writes the keys of IKE and ESP where only its owner reads them, and warns", () => {
  const where = join(directory, "profile");
  const keyLog = openKeyLog(log(), { HOMETUN_KEY_LOG: where });
  expect(lines).toMatchObject([{ level: "warn", directory: where }]);
  const network = new Network({ homeSettings: { revealKeys: true } }).start().run(2_000);
  for (const effect of network.seen.home) keyLog?.note(effect);
  const [ike, esp] = ["ikev2_decryption_table", "esp_sa"].map((name) => join(where, name));
  // One IKE SA; a pair of ESP SAs, one line each.
  expect(readFileSync(ike ?? "", "utf8").split("\n")).toHaveLength(2);
  expect(readFileSync(esp ?? "", "utf8").split("\n")).toHaveLength(3);
  expect(statSync(ike ?? "").mode & 0o777).toBe(0o600);
  expect(statSync(where).mode & 0o777).toBe(0o700);
});

it("refuses a directory that others can look into, and says what to do", () => {
  const where = join(directory, "open");
  mkdirSync(where);
  chmodSync(where, 0o755);
  expect(() => openKeyLog(log(), { HOMETUN_KEY_LOG: where })).toThrow(`chmod 700 ${where}`);
  expect(existsSync(join(where, "esp_sa"))).toBe(false);
});

it("has no keys of who does not reveal them", () => {
  const network = new Network().start().run(2_000);
  expect(network.kinds("home")).not.toContain("keys");
});
