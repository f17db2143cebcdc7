import { describe, expect, it, test } from "vitest";
import { formatIpv6Prefix, parseIpv6Prefix } from "../../common/ip/address.ts";
import { freePrefix } from "../../server/prefix-pool.ts";

const free = (pool: string, length: number, ...taken: string[]) => {
  const prefix = freePrefix(parseIpv6Prefix(pool), length, taken.map(parseIpv6Prefix));
  return prefix && formatIpv6Prefix(prefix);
};

describe("the next home's prefix", () => {
  test.each([
    { name: "is the pool's first", taken: [], expected: "2001:db8:100::/56" },
    {
      name: "follows what is taken",
      taken: ["2001:db8:100::/56", "2001:db8:100:100::/56"],
      expected: "2001:db8:100:200::/56",
    },
    {
      name: "fills a gap",
      taken: ["2001:db8:100:200::/56", "2001:db8:100::/56"],
      expected: "2001:db8:100:100::/56",
    },
    {
      name: "is aligned after a longer one",
      taken: ["2001:db8:100::/64"],
      expected: "2001:db8:100:100::/56",
    },
    {
      name: "comes after a shorter one",
      taken: ["2001:db8:100::/48"],
      expected: "2001:db8:101::/56",
    },
    {
      name: "does not mind what is elsewhere",
      taken: ["2001:db8::/48", "2001:db8:ffff::/48"],
      expected: "2001:db8:100::/56",
    },
    { name: "is none when one is taken that holds the pool", taken: ["2001:db8::/32"] },
  ])("$name", ({ taken, expected }) => {
    expect(free("2001:db8:100::/40", 56, ...taken)).toBe(expected);
  });

  it("is none when all are taken", () => {
    expect(free("2001:db8::/63", 64, "2001:db8::/64")).toBe("2001:db8:0:1::/64");
    expect(free("2001:db8::/63", 64, "2001:db8::/64", "2001:db8:0:1::/64")).toBeUndefined();
    expect(free("2001:db8::/64", 56)).toBeUndefined();
  });
});
