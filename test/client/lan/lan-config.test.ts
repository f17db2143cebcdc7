import { describe, expect, it, test } from "vitest";
import { parseClientConfig } from "../../../client/config.ts";
import { CLIENT_TEXT } from "../../support/config-text.ts";

const parse = (lines: string, prefix = "2001:db8:a::/56") =>
  parseClientConfig({
    file: "client.toml",
    text: `${lines}\n${CLIENT_TEXT.replace("2001:db8:a::/56", prefix)}`,
    exposed: false,
  });

const lanOf = (lines: string) => {
  const outcome = parse(lines);
  expect.assert(outcome.kind === "good");
  return outcome.value.lan;
};

const DEFAULTS = {
  mode: "built-in",
  interfaces: ["eth1"],
  dns: [],
  deadAfterMs: 1_800_000,
  exportFile: "/run/hometun/lan.json",
};

describe("lan", () => {
  test.each([
    { name: "one interface", lines: 'lan = "eth1"', lan: DEFAULTS },
    {
      name: "several",
      lines: 'lan = ["eth1", "wlan0"]',
      lan: { ...DEFAULTS, interfaces: ["eth1", "wlan0"] },
    },
    {
      name: "a table",
      lines: 'lan = { interfaces = ["eth1"], dns = ["2001:db8::53"], dead-after = 0 }',
      lan: { ...DEFAULTS, dns: ["2001:db8::53"], deadAfterMs: 0 },
    },
    {
      name: "told by another daemon",
      lines: 'lan = "eth1"\nlan-mode = "export"',
      lan: { ...DEFAULTS, mode: "export" },
    },
    { name: "none", lines: "", lan: undefined },
  ])("is $name", ({ lines, lan }) => {
    expect(lanOf(lines)).toEqual(lan);
  });

  test.each([
    { name: "no name", lines: 'lan = "a b"', said: /lan\.interfaces\[0\]: expected an interface/ },
    { name: "nothing", lines: "lan = []", said: /lan\.interfaces: expected a list.*empty/ },
    { name: "the tunnel", lines: 'lan = "ht0"', said: /ht0 is the tunnel's own interface/ },
    { name: "one twice", lines: 'lan = ["eth1", "eth1"]', said: /eth1 is named twice/ },
    { name: "a slip", lines: 'lan = "eth1"\nlan-mode = "exprt"', said: /did you mean "export"/ },
    {
      name: "an unknown key",
      lines: 'lan = { interfaces = ["eth1"], dead-afte = 0 }',
      said: /lan\.dead-afte: unknown key, did you mean dead-after\?/,
    },
    {
      name: "more than there are /64s",
      lines: 'lan = ["eth1", "eth2"]',
      prefix: "2001:db8:a::/64",
      said: /lan: each needs a \/64 of tunnel\.prefixes, which have 1 for 2 interfaces/,
    },
    {
      name: "without a /64 at all",
      lines: 'lan = "eth1"',
      prefix: "2001:db8:a::/80",
      said: /which have 0 for 1/,
    },
  ])("that is $name is refused", ({ lines, prefix, said }) => {
    const outcome = parse(lines, prefix);
    expect.assert(outcome.kind === "mistaken");
    expect(outcome.mistakes.map((mistake) => mistake.message).join("\n")).toMatch(said);
  });

  it("may have the only /64 there is", () => {
    expect(parse('lan = "eth1"', "2001:db8:a::/64").kind).toBe("good");
  });
});
