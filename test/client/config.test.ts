import { readFileSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { describe, expect, it, test } from "vitest";
import { parseClientConfig } from "../../client/config.ts";
import { identificationOf } from "../../common/ikev2/identity.ts";
import { CLIENT_TEXT, digits } from "../support/config-text.ts";
import { hex } from "../support/hex.ts";

const parse = (text: string) => parseClientConfig({ file: "client.toml", text, exposed: false });

const mistakesOf = (text: string): string[] => {
  const outcome = parse(text);
  return outcome.kind === "good" ? [] : outcome.mistakes.map((mistake) => mistake.message);
};

/** The good text with one line put in another's place; the line must be there. */
const changed = (before: string, after: string): string => {
  expect(CLIENT_TEXT).toContain(before);
  return CLIENT_TEXT.replace(before, after);
};

/** All but what the home proves itself with. */
const NEGOTIATED_TEXT = `
server = "203.0.113.1"
[keys]
mode = "ikev2"
identity = "alice.example"
server-identity = "server.example"
`;

/** RFC 8410 section 10.1. */
const RFC_8410_KEY = "MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=";

it("needs a server, identities and a key where keys are negotiated", () => {
  const outcome = parse(`${NEGOTIATED_TEXT}psk-file = "/etc/hometun/psk"`);
  expect(outcome).toMatchObject({
    kind: "good",
    value: {
      tunnel: {
        linkLocal: "fe80::2",
        serverLinkLocal: "fe80::1",
        prefixes: [],
        address: undefined,
        encapsulation: "udp",
        defaultRoute: true,
      },
      keys: {
        mode: "ikev2",
        identity: identificationOf("alice.example"),
        peerIdentity: identificationOf("server.example"),
        proof: { kind: "shared-key", file: "/etc/hometun/psk" },
        softLimit: { packets: 2 ** 31, octets: 2 ** 40 },
        childLifetimeMs: undefined,
        negotiation: {
          suites: undefined,
          groups: undefined,
          probeIntervalMs: 0,
          ikeLifetimeMs: 86_400_000,
        },
        reauthenticateMs: undefined,
        fallback: false,
        multicast: false,
      },
    },
  });
});

describe("negotiated keys", () => {
  const keysOf = (text: string) => {
    const outcome = parse(NEGOTIATED_TEXT + text);
    return outcome.kind === "good" ? outcome.value.keys : outcome.mistakes.map(String);
  };

  it("may be proven with certificates of an authority", () => {
    const files = 'private-key-file = "/etc/k.pem"\ncertificate-file = "/etc/c.pem"\n';
    expect(keysOf(`${files}ca-file = "/etc/ca.pem"`)).toMatchObject({
      proof: {
        kind: "key-pair",
        privateKeyFile: "/etc/k.pem",
        certificateFile: "/etc/c.pem",
        peer: { kind: "authority", file: "/etc/ca.pem" },
      },
    });
  });

  it("take how they are negotiated and renewed", () => {
    const text = `psk-file = "/etc/psk"
suites = ["aes-gcm-128", "aes-gcm-256"]
groups = ["ecp-256"]
dpd-interval = 300
ike-lifetime = 0
rekey-seconds = 3600
reauthentication-interval = 43200
fallback = true
multicast = true`;
    expect(keysOf(text)).toMatchObject({
      negotiation: {
        suites: ["aes-gcm-128", "aes-gcm-256"],
        groups: ["ecp-256"],
        probeIntervalMs: 300_000,
        ikeLifetimeMs: 0,
      },
      childLifetimeMs: 3_600_000,
      reauthenticateMs: 43_200_000,
      fallback: true,
      multicast: true,
    });
  });

  const PROOF = "keys: expected psk-file, or private-key-file with server-public-key or ca-file";
  const PSK = 'psk-file = "/etc/psk"\n';
  test.each([
    { name: "nothing to be proven with", text: "", says: PROOF },
    { name: "a key shared and a key pair", text: `${PSK}private-key-file = "/k"`, says: PROOF },
    { name: "a certificate without its key", text: 'certificate-file = "/c"', says: PROOF },
    {
      name: "a server known by its key and by an authority",
      text: `private-key-file = "/k"\nca-file = "/ca"\nserver-public-key = "${RFC_8410_KEY}"`,
      says: PROOF,
    },
    {
      name: "a suite that is not negotiated",
      text: `${PSK}suites = ["aes-gcm-192"]`,
      says: 'keys.suites[0]: expected "aes-gcm-256" or "aes-gcm-128" or "aes-cbc-256-hmac-sha2-256-128", got "aes-gcm-192"',
    },
    {
      name: "no suite",
      text: `${PSK}suites = []`,
      says: "keys.suites: expected a list of suites, got an empty list",
    },
    {
      name: "an unknown group",
      text: `${PSK}groups = ["modp-1024"]`,
      says: 'keys.groups[0]: expected "x25519" or "ecp-256" or "modp-2048", got "modp-1024"; did you mean "modp-2048"?',
    },
    {
      name: "renewal every other second",
      text: `${PSK}rekey-seconds = 2`,
      says: "keys.rekey-seconds: expected 0, or 60 to 31536000 seconds, got 2",
    },
    {
      name: "a question a day and more",
      text: `${PSK}dpd-interval = 86401`,
      says: "keys.dpd-interval: expected seconds from 0 to 86400, got 86401",
    },
  ])("with $name are a mistake", ({ text, says }) => {
    const [mistake, ...others] = keysOf(text) as string[];
    expect(mistake).toContain(`client.toml: ${says}`);
    expect(others).toEqual([]);
  });
});

it("fills every default", () => {
  const outcome = parse(CLIENT_TEXT);
  expect(outcome).toEqual({
    kind: "good",
    value: {
      server: "203.0.113.1",
      tunnel: {
        interfaceName: "ht0",
        linkLocal: "fe80::c",
        serverLinkLocal: "fe80::5",
        prefixes: [{ address: "2001:db8:a::", length: 56 }],
        address: "2001:db8:a::1",
        encapsulation: "udp",
        defaultRoute: true,
        mtu: undefined,
        clampMss: true,
        natKeepaliveMs: 20_000,
        livenessIntervalMs: 60_000,
      },
      keys: {
        mode: "manual",
        outbound: {
          spi: 0xc001,
          suite: "aes-cbc-256-hmac-sha2-256-128",
          encryptionKey: hex(digits(32, 1)),
          companion: hex(digits(32, 101)),
          extendedSequenceNumbers: true,
        },
        inbound: {
          spi: 0x5001,
          suite: "aes-cbc-256-hmac-sha2-256-128",
          encryptionKey: hex(digits(32, 2)),
          companion: hex(digits(32, 102)),
          extendedSequenceNumbers: true,
        },
      },
      stateDirectory: "/var/lib/hometun",
      dataPlane: "auto",
      controlSocket: "/run/hometun/client.sock",
      lan: undefined,
      firewall: { enabled: false, open: [] },
      hooks: {
        commands: { up: undefined, down: undefined, move: undefined },
        timeoutMs: 30_000,
      },
      metrics: undefined,
      allowRemoteMetrics: false,
      log: { level: "info", format: "auto" },
    },
  });
});

it("takes every key", () => {
  const text = changed(
    'prefixes = ["2001:db8:a::/56"]',
    `prefixes = ["2001:db8:a::/56", "2001:db8:b::/64"]
interface = "tun-home"
address = "2001:db8:a::99"
encapsulation = "esp"
default-route = false
mtu = 1400
clamp-mss = false
nat-keepalive = 0
liveness-interval = 0
`,
  ).replace(
    'server = "203.0.113.1"',
    'server = "203.0.113.1"\nstate-directory = "/s"\ncontrol-socket = "/c"',
  );
  const outcome = parse(`${text}\n[log]\nlevel = "debug"\nformat = "json"\n`);
  expect(outcome).toMatchObject({
    kind: "good",
    value: {
      tunnel: {
        interfaceName: "tun-home",
        address: "2001:db8:a::99",
        encapsulation: "esp",
        defaultRoute: false,
        mtu: 1_400,
        clampMss: false,
        natKeepaliveMs: 0,
        livenessIntervalMs: 0,
      },
      stateDirectory: "/s",
      controlSocket: "/c",
      log: { level: "debug", format: "json" },
    },
  });
});

test.each([
  { suite: "aes-gcm-128", key: 16 },
  { suite: "aes-gcm-192", key: 24 },
  { suite: "aes-gcm-256", key: 32 },
])("$suite has a key of $key octets and a salt of four", ({ suite, key }) => {
  const gcm = `suite = "${suite}"\nkey = "${digits(key, 9)}"\nsalt = "${digits(4, 7)}"\n`;
  const text = CLIENT_TEXT.replace(/suite = [^\n]*\nkey = [^\n]*\nintegrity-key = [^\n]*\n/, gcm);
  const outcome = parse(text);
  expect(outcome).toMatchObject({
    kind: "good",
    value: {
      keys: {
        outbound: { suite, encryptionKey: hex(digits(key, 9)), companion: hex(digits(4, 7)) },
      },
    },
  });
});

describe("each mistake is told with file, key and expectation", () => {
  test.each([
    {
      name: "a loopback server",
      text: changed('"203.0.113.1"', '"127.0.0.1"'),
      says: 'client.toml: server: expected an IPv4 address such as 203.0.113.1, got "127.0.0.1"',
    },
    {
      name: "no server",
      text: changed('server = "203.0.113.1"', ""),
      says: "client.toml: server: missing, expected an IPv4 address such as 203.0.113.1",
    },
    {
      name: "a mistyped key",
      text: changed("server-link-local", "server-linklocal"),
      says: "client.toml: tunnel.server-linklocal: unknown key, did you mean server-link-local?",
    },
    {
      name: "a global link-local",
      text: changed('"fe80::c"', '"2001:db8::c"'),
      says: 'client.toml: tunnel.link-local: expected a link-local address (fe80::/10) such as fe80::1, got "2001:db8::c"',
    },
    {
      name: "one link-local for both ends",
      text: changed('"fe80::5"', '"fe80::c"'),
      says: "client.toml: tunnel.server-link-local: expected another address than link-local",
    },
    {
      name: "a prefix with host bits",
      text: changed("2001:db8:a::/56", "2001:db8:a::1/56"),
      says: 'client.toml: tunnel.prefixes[0]: expected an IPv6 prefix of /16 or longer such as 2001:db8:a::/56, got "2001:db8:a::1/56": bits are set beyond its length',
    },
    {
      name: "no prefix",
      text: changed('["2001:db8:a::/56"]', "[]"),
      says: "client.toml: tunnel.prefixes: expected a list of IPv6 prefixes, got an empty list",
    },
    {
      name: "prefixes within each other",
      text: changed('["2001:db8:a::/56"]', '["2001:db8:a::/56", "2001:db8:a:1::/64"]'),
      says: "client.toml: tunnel.prefixes[1]: overlaps 2001:db8:a::/56",
    },
    {
      name: "an address of another prefix",
      text: changed("[keys]", 'address = "2001:db8:b::1"\n[keys]'),
      says: "client.toml: tunnel.address: expected an address in 2001:db8:a::/56, the first of prefixes",
    },
    {
      name: "an unknown encapsulation",
      text: changed("[keys]", 'encapsulation = "upd"\n[keys]'),
      says: 'client.toml: tunnel.encapsulation: expected "udp" or "esp", got "upd"',
    },
    {
      name: "an interface name too long",
      text: changed("[keys]", 'interface = "sixteen-letters-"\n[keys]'),
      says: 'client.toml: tunnel.interface: expected an interface name of at most 15 letters, digits, ".", "_" and "-", got "sixteen-letters-"',
    },
    {
      name: "an MTU no IPv6 link has",
      text: changed("[keys]", "mtu = 1279\n[keys]"),
      says: "client.toml: tunnel.mtu: expected an MTU from 1280 to 65535, got 1279",
    },
    {
      name: "a truth value in words",
      text: changed("[keys]", 'default-route = "yes"\n[keys]'),
      says: 'client.toml: tunnel.default-route: expected true or false, got "yes"',
    },
    {
      name: "seconds with a unit",
      text: changed("[keys]", 'nat-keepalive = "20s"\n[keys]'),
      says: 'client.toml: tunnel.nat-keepalive: expected seconds from 0 to 3600, got "20s"',
    },
    {
      name: "a reserved SPI",
      text: changed("spi = 49153", "spi = 255"),
      says: "client.toml: keys.outbound.spi: expected a Security Parameters Index from 256 to 4294967295, got 255",
    },
    {
      name: "a key too short",
      text: changed(digits(32, 1), digits(31, 1)),
      says: "client.toml: keys.outbound.key: expected 64 hexadecimal digits, got a text of 62 characters",
    },
    {
      name: "one key for both directions",
      text: changed(digits(32, 2), digits(32, 1)),
      says: "client.toml: keys.inbound.key: expected another key than outbound's",
    },
    {
      name: "another way to have keys",
      text: changed('mode = "manual"', 'mode = "ikev1"'),
      says: 'client.toml: keys.mode: expected "manual" or "ikev2", got "ikev1"; did you mean "ikev2"?',
    },
    {
      name: "negotiated keys and a prefix, which the server assigns",
      text: `${NEGOTIATED_TEXT}psk-file = "/etc/hometun/psk"\n[tunnel]\nprefixes = ["2001:db8:a::/56"]`,
      says: "client.toml: tunnel.prefixes: unknown key, expected one of interface, default-route, mtu, clamp-mss, nat-keepalive, liveness-interval, link-local, encapsulation",
    },
    {
      name: "negotiated keys in an encapsulation that there is not",
      text: `${NEGOTIATED_TEXT}psk-file = "/etc/hometun/psk"\n[tunnel]\nencapsulation = "tcp"`,
      says: 'client.toml: tunnel.encapsulation: expected "udp" or "esp", got "tcp"',
    },
    {
      name: "nothing to prove itself with",
      text: NEGOTIATED_TEXT,
      says: "client.toml: keys: expected psk-file, or private-key-file with server-public-key or ca-file",
    },
    {
      name: "a private key, and nothing to know the server by",
      text: `${NEGOTIATED_TEXT}private-key-file = "/etc/hometun/key.pem"`,
      says: "client.toml: keys: expected psk-file, or private-key-file with server-public-key or ca-file",
    },
    {
      name: "a public key that is none",
      text: `${NEGOTIATED_TEXT}server-public-key = "MCowBQYDK2VwAyEA"`,
      says: 'client.toml: keys.server-public-key: expected an Ed25519 or P-256 public key in base64, got "MCowBQYDK2VwAyEA"',
    },
    {
      name: "an unknown log level",
      text: `${CLIENT_TEXT}\n[log]\nlevel = "verbose"`,
      says: 'client.toml: log.level: expected "error" or "warn" or "info" or "debug", got "verbose"',
    },
    {
      name: "a relative state directory",
      text: changed("[tunnel]", 'state-directory = "state"\n[tunnel]'),
      says: 'client.toml: state-directory: expected an absolute path, got "state"',
    },
    {
      name: "a key twice",
      text: changed('link-local = "fe80::c"', 'link-local = "fe80::c"\nlink-local = "fe80::d"'),
      says: "client.toml:6:1: not TOML: trying to redefine an already defined table or value",
    },
  ])("$name", ({ text, says }) => {
    expect(mistakesOf(text)).toContain(says);
  });

  it("tells a whole table's absence once", () => {
    expect(mistakesOf("")).toEqual([
      "client.toml: server: missing, expected an IPv4 address such as 203.0.113.1",
      "client.toml: tunnel: missing, expected a table",
      "client.toml: keys: missing, expected a table",
    ]);
  });

  it("tells all of them at once", () => {
    const text = changed('"203.0.113.1"', "3").replace("fe80::5", "::5").replace("49153", "1");
    const keys = mistakesOf(text).map((message) => message.split(": ")[1]);
    expect(keys).toEqual(["server", "tunnel.server-link-local", "keys.outbound.spi"]);
  });

  it("refuses a file others can read, and says how to mend it", () => {
    const outcome = parseClientConfig({ file: "client.toml", text: CLIENT_TEXT, exposed: true });
    expect(outcome.kind === "mistaken" && outcome.mistakes.map(({ message }) => message)).toEqual([
      "client.toml: holds keys, so only its owner may read and write it: chmod 600 client.toml",
    ]);
  });
});

describe("secrets", () => {
  const secret = digits(32, 1);

  test.each([
    { name: "a digit too many", text: changed(secret, `${secret}0`) },
    { name: "a key that is no text", text: changed(`"${secret}"`, `0x${secret.slice(0, 12)}`) },
    { name: "a key in another's place", text: changed('"203.0.113.1"', `"${secret}"`) },
    { name: "a key as a suite", text: changed('"aes-cbc-256-hmac-sha2-256-128"', `"${secret}"`) },
    { name: "a key as the name of a key", text: changed("[keys]", `${secret} = 1\n[keys]`) },
    { name: "a text that does not end", text: changed(`"${secret}"`, `"${secret}`) },
    { name: "a text that does not begin", text: changed(`"${secret}"`, `${secret}"`) },
    { name: "something behind it", text: changed(`"${secret}"`, `"${secret}" 1`) },
  ])("are never told: $name", ({ text }) => {
    const told = mistakesOf(text).join("\n");
    expect(told).not.toBe("");
    for (let i = 0; i + 8 <= secret.length; i++) expect(told).not.toContain(secret.slice(i, i + 8));
  });
});

it("never throws, whatever the text", () => {
  fc.assert(fc.property(fc.string({ unit: "binary", maxLength: 200 }), (text) => void parse(text)));
});

it("never throws, whatever stands in the place of a value", () => {
  const value = fc.oneof(
    fc.constantFrom("0", "-1", "1.5", "nan", "[]", "{}", "true", "1979-05-27", '""', "[[1]]"),
    fc.string({ maxLength: 20 }).map((text) => JSON.stringify(text)),
  );
  const lines = CLIENT_TEXT.split("\n");
  fc.assert(
    fc.property(fc.nat(lines.length - 1), value, (at, wrong) => {
      const line = lines[at] ?? "";
      const text = lines.with(at, line.replace(/=.*/, `= ${wrong}`)).join("\n");
      for (const message of mistakesOf(text)) expect(message).toMatch(/^client\.toml/);
    }),
  );
});

it("accepts the example but for its keys", () => {
  const file = join(import.meta.dirname, "../../examples/client.toml");
  const keys = mistakesOf(readFileSync(file, "utf8")).map((message) => message.split(": ")[1]);
  expect(keys).toEqual([
    "keys.outbound.key",
    "keys.outbound.integrity-key",
    "keys.inbound.key",
    "keys.inbound.integrity-key",
  ]);
});
