import { expect, it } from "vitest";
import { SourceThrottle } from "../../../common/ikev2/source-throttle.ts";
import { parseIpv4 } from "../../../common/ip/address.ts";
import { at } from "../../support/timeline.ts";

const rates = { perAddress: { rate: 1, burst: 2 }, perNetwork: { rate: 1, burst: 5 } };
const address = (last: number) => parseIpv4(`192.0.2.${last}`);

it("lets an address begin so often, and again after a while", () => {
  const throttle = new SourceThrottle(rates);
  const verdicts = [0, 0, 0, 999, 1_000].map((ms) => throttle.take(address(1), at(ms)));
  expect(verdicts).toEqual(["pass", "pass", "address-rate", "address-rate", "pass"]);
});

it("lets a network begin so often, whichever addresses of it", () => {
  const throttle = new SourceThrottle(rates);
  const verdicts = [1, 2, 3, 4, 5, 6].map((last) => throttle.take(address(last), at(0)));
  expect(verdicts).toEqual(["pass", "pass", "pass", "pass", "pass", "network-rate"]);
  expect(throttle.take(parseIpv4("198.51.100.1"), at(0))).toBe("pass");
});

it("forgets who was silent longest when many come, and remembers who goes on", () => {
  const throttle = new SourceThrottle({ ...rates, perNetwork: { rate: 1e6, burst: 1e6 } });
  const [busy, silent] = [parseIpv4("203.0.113.1"), parseIpv4("203.0.113.2")];
  for (const each of [busy, busy, busy, silent, silent, silent]) throttle.take(each, at(0));
  for (let i = 0; i < 4_096; i++) {
    throttle.take(parseIpv4(`198.18.${i >> 8}.${i & 255}`), at(0));
    if (i % 1_000 === 0) throttle.take(busy, at(0));
  }
  expect(throttle.take(busy, at(0))).toBe("address-rate");
  expect(throttle.take(silent, at(0))).toBe("pass");
});
