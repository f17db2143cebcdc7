import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { Ipv4Address } from "../../../common/ip/address.ts";
import { NO_REPORT, type StateReport } from "../../../common/runtime/state-health.ts";
import type { TunnelName } from "../../../common/tunnel/tunnel.ts";
import { ENDPOINT_ENTRY } from "../../../server/state/endpoint-entry.ts";
import { formatEntry } from "../../../server/state/home-journal.ts";
import { HomeStore } from "../../../server/state/home-store.ts";

let directory: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "hometun-test-"));
});
afterEach(() => rmSync(directory, { recursive: true }));

const report: StateReport = {
  ...NO_REPORT,
  failing: (error) => {
    throw error;
  },
};
const open = () => new HomeStore(ENDPOINT_ENTRY, join(directory, "endpoints"), report);
const alice = "alice" as TunnelName;
const entry = (last: number) => ({
  home: alice,
  endpoint: { address: `192.0.2.${last}` as Ipv4Address, port: 4500 },
  at: 1,
  moves: last,
});

describe("the store of homes", () => {
  it("remembers across restarts", async () => {
    const store = open();
    store.remember(entry(7));
    store.remember(entry(8));
    await store.close();
    const again = open();
    expect(again.recall(alice)).toEqual(entry(8));
    await again.close();
  });

  it("forgets who is no customer any more", async () => {
    const store = open();
    store.remember(entry(7));
    store.retain(new Set(["bob" as TunnelName]));
    await store.close();
    expect(readFileSync(join(directory, "endpoints"), "utf8")).toBe('{"version":1}\n');
  });

  it("forgets one who went while the journal is being written anew", async () => {
    const store = open();
    store.remember(entry(7));
    // The new file stands, and is being opened.
    while (!existsSync(join(directory, "endpoints"))) await Promise.resolve();
    store.retain(new Set());
    await store.close();
    expect(readFileSync(join(directory, "endpoints"), "utf8")).toBe('{"version":1}\n');
  });

  it("goes on without a disk, and writes all of it when there is one again", async () => {
    const path = join(directory, "missing", "endpoints");
    const told: string[] = [];
    const store = new HomeStore(ENDPOINT_ENTRY, path, {
      ...NO_REPORT,
      failing: ({ code }) => told.push(code),
      written: () => told.push("written"),
    });
    store.remember(entry(7));
    await store.close();
    expect(told).toEqual(["ENOENT"]);
    mkdirSync(join(directory, "missing"));
    // Nobody moves; it is tried again nevertheless.
    for (let second = 0; second < 10; second++) store.flush();
    await store.close();
    expect(told).toEqual(["ENOENT", "written"]);
    const again = new HomeStore(ENDPOINT_ENTRY, path, report);
    expect(again.recall(alice)).toEqual(entry(7));
    await again.close();
  });

  it("keeps a damaged journal aside, and takes over what can be read of it", async () => {
    const path = join(directory, "endpoints");
    const text = `${formatEntry(ENDPOINT_ENTRY, entry(7))}{"home":"b\n${formatEntry(ENDPOINT_ENTRY, entry(8))}`;
    writeFileSync(path, text);
    const told: string[] = [];
    const damaged = (keptAs: string) => told.push(keptAs);
    const store = new HomeStore(ENDPOINT_ENTRY, path, { ...report, damaged }, () => 0);
    expect(store.recall(alice)).toEqual(entry(8));
    await store.close();
    expect(told).toEqual([`${path}.damaged-19700101T000000.000Z`]);
    expect(readFileSync(told.join(), "utf8")).toBe(text);
    expect(readFileSync(path, "utf8")).toBe(
      `{"version":1}\n${formatEntry(ENDPOINT_ENTRY, entry(8))}`,
    );
  });

  it("does not grow with the number of moves", async () => {
    const store = open();
    for (let move = 0; move < 30_000; move++) store.remember(entry(move % 250));
    await store.close();
    const lines = readFileSync(join(directory, "endpoints"), "utf8").split("\n").length;
    expect(lines).toBeLessThan(11_000);
    const again = open();
    expect(again.recall(alice)).toEqual(entry(29_999 % 250));
    await again.close();
  });
});
