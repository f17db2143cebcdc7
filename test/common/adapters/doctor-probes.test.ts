import { expect, it, test } from "vitest";
import { badWay, describeRefusal } from "../../../common/adapters/doctor-probes.ts";
import type { Ipv4Address } from "../../../common/ip/address.ts";

const server = "203.0.113.1" as Ipv4Address;

test.each([
  ["ECONNREFUSED", "nothing listens there"],
  ["ENOPROTOOPT", "that machine does not take protocol 50"],
  ["EIO", "EIO"],
])("%s is told as: %s", (code, words) => expect(describeRefusal(code)).toBe(words));

it("a way that is not used may be closed", () => {
  const found = (isChosen: boolean) => badWay({ server, isChosen }, "protocol 50", "closed");
  expect(found(true).verdict).toBe("fail");
  expect(found(false)).toEqual({
    subject: "protocol 50",
    verdict: "ok",
    detail: "closed; not needed as it is configured",
  });
});
