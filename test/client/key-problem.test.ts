import { expect, it, test } from "vitest";
import { describeChildRefusal, describeClose, NO_IKE_ANSWER } from "../../client/key-problem.ts";
import type { CloseReason } from "../../common/ikev2/session-types.ts";

const described = (reason: CloseReason) => describeClose(reason, "alice.example");
const refused = (notifyType: number) => described({ kind: "refused", notifyType });

test.each([
  { notifyType: 24, says: /does not know alice\.example, or .*key.*AUTHENTICATION_FAILED.*init/ },
  { notifyType: 14, says: /ciphers \(NO_PROPOSAL_CHOSEN\): compare suites/ },
  {
    notifyType: 36,
    says: /no prefix for alice\.example \(INTERNAL_ADDRESS_FAILURE\): ask the ISP/,
  },
  { notifyType: 38, says: /TS_UNACCEPTABLE.*ask the ISP/ },
])("notification $notifyType is told in words, and what to do", ({ notifyType, says }) => {
  expect(refused(notifyType)).toMatch(/^the server refuses: /);
  expect(refused(notifyType)).toMatch(says);
  expect(describeChildRefusal(notifyType, "alice.example")).toMatch(says);
});

it("another notification has its number", () => {
  expect(refused(4_242)).toBe("the server refuses: notification 4242");
});

test.each([
  ["wrong-shared-key", "psk-file"],
  ["wrong-signature", "server-public-key"],
  ["unknown-identity", "server-identity"],
  ["certificate-not-trusted", "ca-file"],
  ["certificate-expired", "clock"],
] as const)("a server with %s is told with what to compare: %s", (why, what) => {
  const told = described({ kind: "not-authentic", why });
  expect(told).toMatch(/^the server is not who it should be: it/);
  expect(told).toContain(what);
});

it("silence is told as such", () => {
  expect(described({ kind: "timeout" })).toBe(NO_IKE_ANSWER);
});
