import { mkdirSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { Ipv4Address } from "../../../common/ip/address.ts";
import type { TunnelName } from "../../../common/tunnel/tunnel.ts";
import { EndpointStore } from "../../../server/state/endpoint-store.ts";

let directory: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "hometun-test-"));
});
afterEach(() => rmSync(directory, { recursive: true }));

const open = () =>
  new EndpointStore(join(directory, "endpoints"), (error) => {
    throw error;
  });
const alice = "alice" as TunnelName;
const entry = (last: number) => ({
  home: alice,
  endpoint: { address: `192.0.2.${last}` as Ipv4Address, port: 4500 },
  at: 1,
});

describe("the endpoint store", () => {
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
    expect(readFileSync(join(directory, "endpoints"), "utf8")).toBe("");
  });

  it("goes on without a disk, and writes all of it when there is one again", async () => {
    const path = join(directory, "missing", "endpoints");
    const failures: string[] = [];
    const store = new EndpointStore(path, ({ code }) => failures.push(code));
    store.remember(entry(7));
    await store.close();
    expect(failures).toEqual(["ENOENT"]);
    mkdirSync(join(directory, "missing"));
    store.remember(entry(8));
    await store.close();
    const again = new EndpointStore(path, ({ code }) => failures.push(code));
    expect(again.recall(alice)).toEqual(entry(8));
    await again.close();
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
