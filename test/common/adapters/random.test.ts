import { expect, it } from "vitest";
import { randomSupply } from "../../../common/adapters/random.ts";

it.each([0, 1, 32, 4_096, 10_000])("gives %i octets", (count) => {
  expect(randomSupply()(count)).toHaveLength(count);
});

it("gives no octets twice, and zeros no more often than chance", () => {
  const random = randomSupply();
  const given = Array.from({ length: 5_000 }, () => random(13));
  expect(new Set(given.map((octets) => octets.join())).size).toBe(given.length);
  const zeros = given.flatMap((octets) => [...octets]).filter((octet) => octet === 0).length;
  // 65,000 / 256 is 254; less than one in 10^30 that it is twice that.
  expect(zeros).toBeGreaterThan(0);
  expect(zeros).toBeLessThan(508);
});
