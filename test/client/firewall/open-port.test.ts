import { describe, expect, it, test } from "vitest";
import { parseClientConfig } from "../../../client/config.ts";
import { parseOpenPort } from "../../../client/firewall/open-port.ts";
import { MalformedError } from "../../../common/errors.ts";
import { CLIENT_TEXT } from "../../support/config-text.ts";

const HOST = { address: "2001:db8:a:1::10", length: 128 };

describe("an open port", () => {
  test.each([
    {
      text: "tcp 2001:db8:a:1::10 443",
      open: { protocol: "tcp", destination: HOST, ports: [{ first: 443, last: 443 }] },
    },
    {
      text: "udp 2001:db8:a:1::/64 500,6000-6010",
      open: {
        protocol: "udp",
        destination: { address: "2001:db8:a:1::", length: 64 },
        ports: [
          { first: 500, last: 500 },
          { first: 6000, last: 6010 },
        ],
      },
    },
    { text: " esp  2001:db8:a:1::10 ", open: { protocol: "esp", destination: HOST } },
  ])("$text", ({ text, open }) => {
    expect(parseOpenPort(text)).toEqual(open);
  });

  test.each([
    "",
    "tcp",
    "tcp 2001:db8:a:1::10",
    "esp 2001:db8:a:1::10 4500",
    "tpc 2001:db8:a:1::10 443",
    "tcp 2001:db8:a:1::10 0",
    "tcp 2001:db8:a:1::10 65536",
    "tcp 2001:db8:a:1::10 20-10",
    "tcp 2001:db8:a:1::10 80,",
    'tcp 2001:db8:a:1::10 80;"',
    "tcp 2001:db8:a:1::10 443 accept",
  ])("is not %j", (text) => {
    expect(parseOpenPort(text)).toBeUndefined();
  });

  test.each(["tcp host 443", "tcp fe80::1 443", "tcp ff02::1 443", "tcp 2001:db8::1/64 1"])(
    "has no address: %j",
    (text) => {
      expect(() => parseOpenPort(text)).toThrow(MalformedError);
    },
  );
});

const parse = (lines: string) =>
  parseClientConfig({ file: "client.toml", text: `${lines}\n${CLIENT_TEXT}`, exposed: false });

describe("the firewall", () => {
  it("opens ports of prefixes that the server will assign", () => {
    const text = `lan = "eth1"
open-ports = ["tcp 2001:db8:a:1::10 443"]
server = "203.0.113.1"
[keys]
mode = "ikev2"
identity = "alice.example"
server-identity = "server.example"
psk-file = "/etc/hometun/psk"`;
    const outcome = parseClientConfig({ file: "client.toml", text, exposed: false });
    expect.assert(outcome.kind === "good");
    expect(outcome.value.firewall.open).toEqual([parseOpenPort("tcp 2001:db8:a:1::10 443")]);
  });

  test.each([
    { lines: "", enabled: false },
    { lines: 'lan = "eth1"', enabled: true },
    { lines: 'lan = "eth1"\nfirewall = false', enabled: false },
    { lines: "firewall = true", enabled: true },
  ])("with $lines is on: $enabled", ({ lines, enabled }) => {
    const outcome = parse(lines);
    expect.assert(outcome.kind === "good");
    expect(outcome.value.firewall).toEqual({ enabled, open: [] });
  });

  test.each([
    {
      lines: 'lan = "eth1"\nopen-ports = ["tcp 2001:db8:b::1 443"]',
      said: /open-ports\[0\]: expected an address in the home's 2001:db8:a::\/56/,
    },
    {
      lines: 'lan = "eth1"\nopen-ports = ["tcp 2001:db8::/32 443"]',
      said: /open-ports\[0\]: expected an address in/,
    },
    {
      lines: 'lan = "eth1"\nopen-ports = ["443"]',
      said: /open-ports\[0\]: expected a protocol, an address and ports such as/,
    },
    {
      lines: 'firewall = false\nlan = "eth1"\nopen-ports = ["tcp 2001:db8:a::1 443"]',
      said: /open-ports: without a firewall all ports are open/,
    },
  ])("with $lines is refused", ({ lines, said }) => {
    const outcome = parse(lines);
    expect.assert(outcome.kind === "mistaken");
    expect(outcome.mistakes.map((mistake) => mistake.message).join("\n")).toMatch(said);
  });

  it("may be opened", () => {
    expect(parse('lan = "eth1"\nopen-ports = ["tcp 2001:db8:a:1::10 443"]').kind).toBe("good");
  });
});
