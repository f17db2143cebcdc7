import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { Ipv4Address } from "../../../common/ip/address.ts";
import type { TunnelName } from "../../../common/tunnel/tunnel.ts";
import { ENDPOINT_ENTRY, type EndpointEntry } from "../../../server/state/endpoint-entry.ts";
import { formatEntry, formatJournal, readJournal } from "../../../server/state/home-journal.ts";

const alice = "alice" as TunnelName;
const entry = (address: string, home = alice): EndpointEntry => ({
  home,
  endpoint: { address: address as Ipv4Address, port: 4500 },
  at: 1_767_225_600_000,
  moves: 17,
  from: "192.0.2.6" as Ipv4Address,
  confirmedInMs: 3.4,
});

describe("the journal", () => {
  it("has one line of JSON for each change", () => {
    expect(formatEntry(ENDPOINT_ENTRY, entry("192.0.2.7"))).toBe(
      '{"home":"alice","address":"192.0.2.7","port":4500,"at":1767225600000,' +
        '"moves":17,"from":"192.0.2.6","confirmedInMs":3.4}\n',
    );
  });

  it("says a home's last endpoint", () => {
    const bob = "bob" as TunnelName;
    const text = formatJournal(ENDPOINT_ENTRY, [
      entry("192.0.2.7"),
      entry("192.0.2.9", bob),
      entry("192.0.2.8"),
    ]);
    expect([...readJournal(ENDPOINT_ENTRY, text).entries.values()]).toEqual([
      entry("192.0.2.8"),
      entry("192.0.2.9", bob),
    ]);
  });

  it("is read up to the line that a power cut tore", () => {
    const text =
      formatEntry(ENDPOINT_ENTRY, entry("192.0.2.7")) +
      formatEntry(ENDPOINT_ENTRY, entry("192.0.2.8")).slice(0, 30);
    const { entries, isDamaged } = readJournal(ENDPOINT_ENTRY, text);
    expect(entries.get(alice)).toEqual(entry("192.0.2.7"));
    expect(isDamaged).toBe(false);
  });

  it("begins with its version", () => {
    const text = formatJournal(ENDPOINT_ENTRY, [entry("192.0.2.7")]);
    expect(text).toMatch(/^\{"version":1\}\n/);
    expect(readJournal(ENDPOINT_ENTRY, text).isDamaged).toBe(false);
  });

  it("of the time before versions, and before moves were counted, is read as it is", () => {
    const line = '{"home":"alice","address":"192.0.2.7","port":4500,"at":1767225600000}\n';
    const { entries, isDamaged } = readJournal(ENDPOINT_ENTRY, line);
    const { home, endpoint, at } = entry("192.0.2.7");
    expect(entries.get(alice)).toEqual({ home, endpoint, at, moves: 0 });
    expect(isDamaged).toBe(false);
  });

  it("of a newer version is not guessed at", () => {
    const text = `{"version":2}\n${formatEntry(ENDPOINT_ENTRY, entry("192.0.2.7"))}`;
    expect(readJournal(ENDPOINT_ENTRY, text)).toEqual({ entries: new Map(), isDamaged: true });
  });

  it.each([
    ["no object", "17"],
    ["null", "null"],
    ["no address", '{"home":"alice","address":"192.0.2.777","port":4500,"at":1}'],
    ["no port", '{"home":"alice","address":"192.0.2.7","port":70000,"at":1}'],
    ["no time", '{"home":"alice","address":"192.0.2.7","port":4500}'],
    ["no home", '{"address":"192.0.2.7","port":4500,"at":1}'],
  ])("passes over a line that is %s, and says so", (_, line) => {
    const { entries, isDamaged } = readJournal(
      ENDPOINT_ENTRY,
      `${line}\n${formatEntry(ENDPOINT_ENTRY, entry("192.0.2.7"))}`,
    );
    expect([...entries.keys()]).toEqual([alice]);
    expect(isDamaged).toBe(true);
  });

  it("of any text is read without complaint", () => {
    fc.assert(
      fc.property(fc.string(), (text) => readJournal(ENDPOINT_ENTRY, text).entries instanceof Map),
    );
  });
});
