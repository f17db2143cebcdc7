import { readFileSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { describe, expect, it, test } from "vitest";
import type { Source } from "../../common/config/schema.ts";
import { ConfigError } from "../../common/errors.ts";
import { parseServerConfig } from "../../server/config.ts";
import { digits, homeText } from "../support/config-text.ts";

const SERVER_TEXT = 'address = "203.0.113.1"\n';

const source = (file: string, text: string): Source => ({ file, text, exposed: false });

const parse = (text: string, homes: readonly (Source | ConfigError)[] | undefined = []) =>
  parseServerConfig(source("server.toml", text), () => homes);

const mistakesOf = (text: string, homes?: readonly (Source | ConfigError)[]): string[] => {
  const outcome = parse(text, homes);
  return outcome.kind === "good" ? [] : outcome.mistakes.map((mistake) => mistake.message);
};

const interfacesOf = (text: string, ...names: string[]) => {
  const homes = names.map((name, i) => {
    const choices = { name, prefix: `2001:db8:${i}::/48`, spi: 1_000 + 2 * i, key: 2 * i };
    return source(`${name}.toml`, homeText(choices));
  });
  const outcome = parse(text, homes);
  return outcome.kind === "good" && outcome.value.homes.map((home) => home.interfaceName);
};

/** A home that negotiates its keys. */
const negotiating = (name: string, prefix: string, proof: string, identity = `${name}.example`) =>
  source(
    `${name}.toml`,
    `name = "${name}"\nprefixes = ["${prefix}"]\n[keys]\nmode = "ikev2"\nidentity = "${identity}"\n${proof}`,
  );
const PSK = 'psk-file = "/etc/hometun/psk"';
const PUBLIC_KEY = 'public-key = "MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE="';
const IDENTITY = '[ikev2]\nidentity = "server.example"\n';

describe("homes that negotiate their keys", () => {
  const alice = negotiating("alice", "2001:db8:a::/56", PSK);

  it("need a name, a prefix, an identity and what it is proven by", () => {
    const bob = negotiating("bob", "2001:db8:b::/56", PUBLIC_KEY);
    const text = `${SERVER_TEXT}${IDENTITY}private-key-file = "/etc/hometun/key.pem"`;
    expect(parse(text, [alice, bob])).toMatchObject({
      kind: "good",
      value: {
        homes: [
          {
            name: "alice",
            linkLocal: "fe80::2",
            serverLinkLocal: "fe80::1",
            encapsulation: "udp",
            keys: { mode: "ikev2", proof: { kind: "shared-key", file: "/etc/hometun/psk" } },
          },
          { name: "bob", keys: { mode: "ikev2", proof: { kind: "public-key" } } },
        ],
      },
    });
  });

  it("may have certificates of an authority, and name servers of their own", () => {
    const files = 'private-key-file = "/k"\ncertificate-file = "/c"\nca-file = "/ca"\n';
    const text = `${SERVER_TEXT}${IDENTITY}${files}dns = ["2001:db8::53"]\nmulticast = true\nreauthentication-interval = 3600`;
    const bob = negotiating("bob", "2001:db8:b::/56", "");
    const dns = { ...bob, text: `dns = ["2001:db8::54"]\n${bob.text}` };
    expect(parse(text, [dns])).toMatchObject({
      kind: "good",
      value: {
        ikev2: {
          privateKeyFile: "/k",
          certificateFile: "/c",
          authorityFile: "/ca",
          dns: ["2001:db8::53"],
          multicast: true,
          authLifetime: 3600,
        },
        homes: [{ dns: ["2001:db8::54"], keys: { proof: { kind: "certificate" } } }],
      },
    });
  });

  test.each([
    {
      name: "a certificate whose key is not there",
      text: `${SERVER_TEXT}${IDENTITY}certificate-file = "/c"`,
      homes: [alice],
      says: "server.toml: ikev2.private-key-file: missing, expected a path, since there is a certificate-file",
    },
    {
      name: "more name servers than fit",
      text: `${SERVER_TEXT}${IDENTITY}dns = [${Array.from({ length: 9 }, (_, i) => `"2001:db8::${i}"`)}]`,
      homes: [alice],
      says: "server.toml: ikev2.dns: expected at most 8 addresses",
    },
    {
      name: "a home with two proofs",
      text: SERVER_TEXT + IDENTITY,
      homes: [negotiating("bob", "2001:db8:b::/56", `${PSK}\n${PUBLIC_KEY}`)],
      says: "bob.toml: keys: expected psk-file or public-key, not both",
    },
    {
      name: "a server without identity",
      text: SERVER_TEXT,
      homes: [alice],
      says: 'server.toml: ikev2: missing, expected a table, since homes have keys.mode = "ikev2"',
    },
    {
      name: "a public key, and a server without a private one",
      text: SERVER_TEXT + IDENTITY,
      homes: [negotiating("bob", "2001:db8:b::/56", PUBLIC_KEY)],
      says: "server.toml: ikev2.private-key-file: missing, expected a path, since homes have a public-key or a certificate",
    },
    {
      name: "nothing to be proven by",
      text: SERVER_TEXT + IDENTITY,
      homes: [negotiating("bob", "2001:db8:b::/56", "")],
      says: "bob.toml: keys: expected psk-file, or public-key, or ca-file in the server's [ikev2]",
    },
    {
      name: "another home's identity",
      text: SERVER_TEXT + IDENTITY,
      homes: [alice, negotiating("bob", "2001:db8:b::/56", PSK, "alice.example")],
      says: "bob.toml: keys.identity: expected one of its own, home alice in alice.toml has the same",
    },
  ])("$name is a mistake", ({ text, homes, says }) => {
    expect(mistakesOf(text, homes)).toContain(says);
  });
});

it("fills every default", () => {
  expect(parse(SERVER_TEXT)).toEqual({
    kind: "good",
    value: {
      address: "203.0.113.1",
      encapsulations: ["udp", "esp"],
      homes: [],
      allowPrivateEndpoints: false,
      sharedEndpoints: false,
      followNat: true,
      clampMss: true,
      advertisements: { rate: 10, burst: 20 },
      stateDirectory: "/var/lib/hometun-server",
      dataPlane: "auto",
      controlSocket: "/run/hometun-server/server.sock",
      metrics: undefined,
      allowRemoteMetrics: false,
      log: { level: "info", format: "auto" },
    },
  });
});

it("takes homes from tables and from files", () => {
  const table = homeText({ more: 'encapsulation = "esp"\nmtu = 1400' }).replaceAll(
    "[keys",
    "[home.keys",
  );
  const bob = { name: "bob", prefix: "2001:db8:b::/56", spi: 0xb001, key: 10 };
  const outcome = parse(`${SERVER_TEXT}[[home]]${table}`, [source("bob.toml", homeText(bob))]);
  expect(outcome).toMatchObject({
    kind: "good",
    value: {
      homes: [
        {
          name: "alice",
          interfaceName: "ht-alice",
          linkLocal: "fe80::c",
          serverLinkLocal: "fe80::5",
          prefixes: [{ address: "2001:db8:a::", length: 56 }],
          encapsulation: "esp",
          mtu: 1_400,
          keys: { inbound: { spi: 0xc001 }, outbound: { spi: 0xc002 } },
        },
        { name: "bob", interfaceName: "ht-bob", encapsulation: "udp", mtu: undefined },
      ],
    },
  });
});

it("asks for the files of the directory named", () => {
  const asked: string[] = [];
  for (const text of [SERVER_TEXT, `${SERVER_TEXT}homes = "/srv/homes"`]) {
    parseServerConfig(source("server.toml", text), (directory) => {
      asked.push(directory);
      return [];
    });
  }
  expect(asked).toEqual(["/etc/hometun/homes", "/srv/homes"]);
});

it("needs no directory of homes unless one is named", () => {
  const nothing = () => undefined;
  expect(parseServerConfig(source("server.toml", SERVER_TEXT), nothing).kind).toBe("good");
  const named = parseServerConfig(
    source("server.toml", `${SERVER_TEXT}homes = "/srv/homes"`),
    nothing,
  );
  expect(named.kind === "mistaken" && named.mistakes.map(({ message }) => message)).toEqual([
    "server.toml: homes: expected a directory that exists",
  ]);
});

describe("interface names", () => {
  it("are made of prefix and name", () => {
    expect(interfacesOf(SERVER_TEXT, "alice", "twelve-chars")).toEqual([
      "ht-alice",
      "ht-twelve-chars",
    ]);
    expect(interfacesOf(`${SERVER_TEXT}interface-prefix = "h."`, "alice")).toEqual(["h.alice"]);
  });

  it("stay within 15 octets and apart", () => {
    const long = "home-of-the-family-";
    const names = interfacesOf(SERVER_TEXT, `${long}smith`, `${long}jones`) || [];
    expect(new Set(names).size).toBe(2);
    for (const name of names) expect(name).toMatch(/^ht-home[0-9a-f]{8}$/);
  });
});

describe("what only one home may have", () => {
  const second = (choices: object, more = "") =>
    mistakesOf(SERVER_TEXT, [
      source("alice.toml", homeText({ more: 'interface = "ht-a"' })),
      source(
        "bob.toml",
        homeText({
          name: "bob",
          prefix: "2001:db8:b::/56",
          spi: 0xb001,
          key: 10,
          more,
          ...choices,
        }),
      ),
    ]);

  test.each([
    {
      name: "its name",
      choices: { name: "alice" },
      says: "bob.toml: name: expected one of its own, home alice in alice.toml has the same",
    },
    {
      name: "its interface",
      choices: { more: 'interface = "ht-a"' },
      says: "bob.toml: interface: expected one of its own, home alice in alice.toml has the same",
    },
    {
      name: "its inbound SPI",
      choices: { spi: 0xc001 },
      says: "bob.toml: keys.inbound.spi: expected one of its own, home alice in alice.toml has the same",
    },
    {
      name: "its keys",
      choices: { key: 1 },
      says: "bob.toml: keys.inbound.key: expected one of its own, home alice in alice.toml has the same",
    },
    {
      name: "its addresses",
      choices: { prefix: "2001:db8:a:80::/60" },
      says: "bob.toml: prefixes[0]: overlaps 2001:db8:a::/56 of home alice",
    },
  ])("$name", ({ choices, says }) => {
    expect(second(choices)).toContain(says);
  });

  it("is told once of a file that is there twice", () => {
    const homes = ["a.toml", "b.toml"].map((file) => source(file, homeText()));
    expect(mistakesOf(SERVER_TEXT, homes)).toEqual([
      "b.toml: name: expected one of its own, home alice in a.toml has the same",
    ]);
  });
});

describe("each mistake is told with file, key and expectation", () => {
  test.each([
    {
      name: "no address",
      text: "",
      says: "server.toml: address: missing, expected an IPv4 address such as 203.0.113.1",
    },
    {
      name: "an unknown encapsulation",
      text: `${SERVER_TEXT}encapsulations = ["udp", "gre"]`,
      says: 'server.toml: encapsulations[1]: expected "udp" or "esp", got "gre"',
    },
    {
      name: "a rate of nothing",
      text: `${SERVER_TEXT}[advertisements]\nrate = 0`,
      says: "server.toml: advertisements.rate: expected a number from 1 to 1000000, got 0",
    },
    {
      name: "a home that is no table",
      text: `${SERVER_TEXT}home = [1]`,
      says: "server.toml: home[0]: expected a table, got 1",
    },
    {
      name: "a home's mistake in a table",
      text: `${SERVER_TEXT}[[home]]${homeText({ prefix: "2001:db8::/8" }).replaceAll("[keys", "[home.keys")}`,
      says: 'server.toml: home[0].prefixes[0]: expected an IPv6 prefix of /16 or longer such as 2001:db8:a::/56, got "2001:db8::/8": bits are set beyond its length',
    },
  ])("$name", ({ text, says }) => {
    expect(mistakesOf(text)).toContain(says);
  });

  test.each([
    {
      name: "an encapsulation the server does not have",
      home: homeText({ more: 'encapsulation = "esp"' }),
      says: `a.toml: encapsulation: expected one of the server's encapsulations, got "esp"`,
    },
    {
      name: "one link-local for both ends",
      home: homeText().replace("fe80::5", "fe80::c"),
      says: "a.toml: server-link-local: expected another address than link-local",
    },
    {
      name: "a name with a slash",
      home: homeText({ name: "a/b" }),
      says: 'a.toml: name: expected a name of 1 to 64 letters, digits, "-" and "_", got "a/b"',
    },
  ])("$name", ({ home, says }) => {
    expect(mistakesOf(`${SERVER_TEXT}encapsulations = ["udp"]`, [source("a.toml", home)])).toEqual([
      says,
    ]);
  });

  it("tells those of all files at once", () => {
    const homes = [
      source("a.toml", "name = 1 2"),
      new ConfigError("permission denied", { file: "b.toml" }),
      { ...source("c.toml", homeText()), exposed: true },
    ];
    const files = mistakesOf("addres = 1", homes).map((message) => message.split(": ")[0]);
    expect(files).toEqual(["server.toml", "server.toml", "a.toml:1:10", "b.toml", "c.toml"]);
  });

  it("lets others read a file without homes, not one with", () => {
    const exposed = (text: string) =>
      parseServerConfig({ file: "server.toml", text, exposed: true }, () => []).kind;
    const table = homeText().replaceAll("[keys", "[home.keys");
    expect(exposed(SERVER_TEXT)).toBe("good");
    expect(exposed(`${SERVER_TEXT}[[home]]${table}`)).toBe("mistaken");
  });
});

it("never throws, whatever the texts", () => {
  const text = fc.string({ unit: "binary", maxLength: 100 });
  fc.assert(fc.property(text, text, (main, home) => void parse(main, [source("a.toml", home)])));
});

it("reads 10,000 homes in a few seconds", { timeout: 20_000 }, () => {
  const homes = Array.from({ length: 10_000 }, (_, i) => {
    const octets = (i: number) => i.toString(16).padStart(4, "0");
    const text = homeText({
      name: `home-${i}`,
      prefix: `2001:db8:${octets(i)}::/48`,
      spi: 0x10000 + 2 * i,
    });
    const keys = text
      .replace(digits(32, 1), octets(i) + digits(30, 1))
      .replace(digits(32, 2), octets(i) + digits(30, 2));
    return source(`home-${i}.toml`, keys);
  });
  const began = performance.now();
  expect(parse(SERVER_TEXT, homes).kind).toBe("good");
  expect(performance.now() - began).toBeLessThan(10_000);
});

it("accepts the examples but for their keys", () => {
  const examples = join(import.meta.dirname, "../../examples");
  const read = (name: string) => source(name, readFileSync(join(examples, name), "utf8"));
  const keys = mistakesOf(read("server.toml").text, [read("homes/alice.toml")]).map(
    (message) => message.split(": ")[1],
  );
  expect(keys).toEqual([
    "keys.outbound.key",
    "keys.outbound.integrity-key",
    "keys.inbound.key",
    "keys.inbound.integrity-key",
  ]);
});
