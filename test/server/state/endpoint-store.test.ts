import { mkdtempSync, readFileSync, rmSync } from "node:fs";
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
  EndpointStore.open(join(directory, "endpoints"), (error) => {
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
    const store = await open();
    store.remember(entry(7));
    store.remember(entry(8));
    await store.close();
    const again = await open();
    expect(again.recall(alice)).toEqual(entry(8));
    await again.close();
  });

  it("does not grow with the number of moves", async () => {
    const store = await open();
    for (let move = 0; move < 30_000; move++) store.remember(entry(move % 250));
    await store.close();
    const lines = readFileSync(join(directory, "endpoints"), "utf8").split("\n").length;
    expect(lines).toBeLessThan(11_000);
    const again = await open();
    expect(again.recall(alice)).toEqual(entry(29_999 % 250));
    await again.close();
  });
});
