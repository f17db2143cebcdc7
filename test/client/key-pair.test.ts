import { randomBytes } from "node:crypto";
import { describe, expect, it, test } from "vitest";
import { parseClientConfig } from "../../client/config.ts";
import { type HomePlan, makeKeyPair } from "../../client/key-pair.ts";
import type { ManualKeys } from "../../common/config/keys.ts";
import { SUITES } from "../../common/config/keys.ts";
import { goodOrThrow } from "../../common/config/mistakes.ts";
import { parseIpv4, parseIpv6Prefix } from "../../common/ip/address.ts";
import type { TunnelName } from "../../common/tunnel/tunnel.ts";
import { parseServerConfig } from "../../server/config.ts";

const plan: HomePlan = {
  name: "alice" as TunnelName,
  server: parseIpv4("203.0.113.1"),
  prefixes: [parseIpv6Prefix("2001:db8:a::/56"), parseIpv6Prefix("2001:db8:b::/64")],
  suite: "aes-cbc-256-hmac-sha2-256-128",
  encapsulation: "udp",
};

const manual = (keys: ManualKeys | { readonly mode: "ikev2" }): ManualKeys => {
  if (keys.mode !== "manual") throw new Error("the keys are negotiated");
  return keys;
};

/** Both files as the two daemons read them. */
const read = (pair: { client: string; server: string }) => {
  const source = (file: string, text: string) => ({ file, text, exposed: false });
  const client = goodOrThrow(parseClientConfig(source("client.toml", pair.client)));
  const server = goodOrThrow(
    parseServerConfig(source("server.toml", 'address = "203.0.113.1"'), () => [
      source("alice.toml", pair.server),
    ]),
  );
  const [home] = server.homes;
  if (home === undefined) throw new Error("the server has no home");
  return { client, home, keys: manual(client.keys), homeKeys: manual(home.keys) };
};

const random = (length: number) => new Uint8Array(randomBytes(length));

describe("a pair of files", () => {
  test.each(SUITES)("with %s fits together", (suite) => {
    const { client, home, keys, homeKeys } = read(
      makeKeyPair({ ...plan, suite, encapsulation: "esp" }, random),
    );
    expect(homeKeys.inbound).toEqual(keys.outbound);
    expect(homeKeys.outbound).toEqual(keys.inbound);
    expect(home.linkLocal).toBe(client.tunnel.linkLocal);
    expect(home.serverLinkLocal).toBe(client.tunnel.serverLinkLocal);
    expect(home.prefixes).toEqual(plan.prefixes);
    expect(client.tunnel.prefixes).toEqual(plan.prefixes);
    expect([home.encapsulation, client.tunnel.encapsulation]).toEqual(["esp", "esp"]);
    expect(client.server).toBe("203.0.113.1");
    expect(home.name).toBe("alice");
    expect(homeKeys.inbound.suite).toBe(suite);
  });

  it("has four secrets, two SPIs and two link-locals of its own", () => {
    const seen = new Set<unknown>();
    for (let i = 0; i < 10; i++) {
      const { client, keys } = read(makeKeyPair(plan, random));
      const { outbound, inbound } = keys;
      for (const { spi, encryptionKey, companion } of [outbound, inbound]) {
        for (const value of [spi, String(encryptionKey), String(companion)]) seen.add(value);
      }
      seen.add(client.tunnel.linkLocal).add(client.tunnel.serverLinkLocal);
    }
    expect(seen.size).toBe(80);
  });
});

it("never gives a reserved SPI", () => {
  const first = [0, 0, 0, 255];
  const fixed = (length: number) =>
    length === 4 && first.length > 0
      ? Uint8Array.from(first.splice(0))
      : new Uint8Array(length).fill(7);
  expect(makeKeyPair(plan, fixed).client).toContain("spi = 0x07070707");
});
