import { expect, test } from "vitest";
import { type UplinkSnapshot, uplinkDifferences } from "../../../client/address-watch/snapshot.ts";
import { parseIpv4 } from "../../../common/ip/address.ts";

const before: UplinkSnapshot = {
  address: parseIpv4("192.0.2.7"),
  interfaceIndex: 4,
  interfaceName: "ppp0",
  mtu: 1492,
};

test.each([
  { name: "nothing", after: { ...before }, differences: [] },
  {
    name: "the address",
    after: { ...before, address: parseIpv4("192.0.2.8") },
    differences: ["address"],
  },
  { name: "the MTU", after: { ...before, mtu: 1400 }, differences: ["mtu"] },
  {
    name: "a re-created interface",
    after: { ...before, interfaceIndex: 9 },
    differences: ["interface"],
  },
  {
    name: "all, when there is no address any more",
    after: undefined,
    differences: ["address", "interface", "mtu"],
  },
])("finds what differs: $name", ({ after, differences }) => {
  expect(uplinkDifferences(before, after)).toEqual(differences);
});

test("two times no address is no difference", () => {
  expect(uplinkDifferences(undefined, undefined)).toEqual([]);
});
