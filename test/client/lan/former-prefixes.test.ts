import { expect, it, test } from "vitest";
import { formatToldPrefixes, parseToldPrefixes } from "../../../client/lan/former-prefixes.ts";
import { parseIpv6Prefix } from "../../../common/ip/address.ts";

const told = [
  { interfaceName: "eth1", prefix: parseIpv6Prefix("2001:db8:a:1::/64") },
  { interfaceName: "eth1", prefix: parseIpv6Prefix("2001:db8:b:1::/64"), until: 1_767_225_600_000 },
];

it("what was told is read as it was written", () => {
  expect(parseToldPrefixes(formatToldPrefixes(told))).toEqual(told);
});

test.each([
  { name: "nothing", text: "" },
  { name: "half a file", text: formatToldPrefixes(told).slice(0, 40) },
  { name: "another version", text: '{"version": 2, "told": []}' },
  { name: "no list", text: '{"version": 1}' },
  { name: "an entry without prefix", text: '{"version": 1, "told": [{"interface": "eth1"}]}' },
  { name: "no entry", text: '{"version": 1, "told": [null]}' },
  {
    name: "a prefix that is none",
    text: '{"version": 1, "told": [{"interface": "eth1", "prefix": "x"}]}',
  },
])("a damaged file is told apart: $name", ({ text }) => {
  expect(parseToldPrefixes(text)).toBeUndefined();
});
