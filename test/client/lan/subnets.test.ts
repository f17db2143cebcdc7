import { describe, expect, it, test } from "vitest";
import { lanAddress, lanSubnets } from "../../../client/lan/subnets.ts";
import { formatIpv6Prefix, parseIpv6, parseIpv6Prefix } from "../../../common/ip/address.ts";

const subnets = (prefixes: string[], tunnelAddress: string, count: number) =>
  lanSubnets(prefixes.map(parseIpv6Prefix), parseIpv6(tunnelAddress), count).map(formatIpv6Prefix);

describe("LANs get", () => {
  test.each([
    {
      name: "of a /56 the subnets after the tunnel's",
      prefixes: ["2001:db8:a::/56"],
      count: 3,
      given: ["2001:db8:a:1::/64", "2001:db8:a:2::/64", "2001:db8:a:3::/64"],
    },
    {
      name: "of a /48 those as well",
      prefixes: ["2001:db8:a::/48"],
      count: 1,
      given: ["2001:db8:a:1::/64"],
    },
    {
      name: "the whole of a /64, the tunnel's address and all",
      prefixes: ["2001:db8:a::/64"],
      count: 1,
      given: ["2001:db8:a::/64"],
    },
    {
      name: "another place when the tunnel's address is not in the first subnet",
      prefixes: ["2001:db8:a::/62"],
      tunnelAddress: "2001:db8:a:1::1",
      count: 4,
      given: ["2001:db8:a::/64", "2001:db8:a:2::/64", "2001:db8:a:3::/64", "2001:db8:a:1::/64"],
    },
    {
      name: "of several prefixes one after the other, the tunnel's subnet last",
      prefixes: ["2001:db8:a::/64", "2001:db8:b::/64"],
      count: 2,
      given: ["2001:db8:b::/64", "2001:db8:a::/64"],
    },
    {
      name: "nothing of a prefix that is too long",
      prefixes: ["2001:db8:a::/80"],
      count: 1,
      given: [],
    },
    {
      name: "no more than there is",
      prefixes: ["2001:db8:a::/63"],
      count: 3,
      given: ["2001:db8:a:1::/64", "2001:db8:a::/64"],
    },
  ])("$name", ({ prefixes, tunnelAddress = "2001:db8:a::1", count, given }) => {
    expect(subnets(prefixes, tunnelAddress, count)).toEqual(given);
  });

  it("the same when another is added behind", () => {
    const [first] = subnets(["2001:db8:a::/56"], "2001:db8:a::1", 1);
    expect(subnets(["2001:db8:a::/56"], "2001:db8:a::1", 300)[0]).toBe(first);
    expect(subnets(["2001:db8:a::/48"], "2001:db8:a::1", 300)[299]).toBe("2001:db8:a:12c::/64");
  });
});

it("a LAN's router has the first address of its /64", () => {
  expect(lanAddress(parseIpv6Prefix("2001:db8:a:1::/64"))).toBe("2001:db8:a:1::1");
});
