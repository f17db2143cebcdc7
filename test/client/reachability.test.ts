import { expect, test } from "vitest";
import { NO_IKE_ANSWER } from "../../client/key-problem.ts";
import { examineServer, isUp, type TunnelHealth } from "../../client/reachability.ts";
import type { KeyStatus } from "../../common/control/key-status.ts";
import type { Ipv4Address } from "../../common/ip/address.ts";

const where = { server: "203.0.113.1" as Ipv4Address, encapsulation: "esp" } as const;
const keys = (state: KeyStatus["state"]): KeyStatus => ({
  state,
  since: 0,
  ikeSas: 0,
  ike: [],
  associations: [],
  rekeys: 0,
});
const health = (
  kind: TunnelHealth["state"]["kind"],
  rest: Partial<TunnelHealth> = {},
): TunnelHealth => ({
  state: { kind, since: 0 },
  uplink: undefined,
  keys: undefined,
  problem: undefined,
  ...rest,
});
const refusal = "the server refuses: it does not know alice";

test.each([
  { name: "no daemon", given: undefined, verdict: "warn", says: /not known/, fix: /start/ },
  { name: "answers", given: health("confirmed"), verdict: "ok", says: /203\.0\.113\.1 answers/ },
  {
    name: "has removed us",
    given: health("confirmed", { keys: keys("none"), problem: refusal }),
    verdict: "fail",
    says: /does not know alice/,
    fix: /hometun announce/,
  },
  {
    name: "refuses us",
    given: health("unanswered", { keys: keys("none"), problem: refusal }),
    verdict: "fail",
    says: /does not know alice/,
    fix: /hometun announce/,
  },
  {
    name: "says nothing to IKE",
    given: health("unanswered", { keys: keys("none"), problem: NO_IKE_ANSWER }),
    verdict: "fail",
    says: /does not answer IKE/,
    fix: /UDP 500 and 4500/,
  },
  {
    name: "was just told",
    given: health("announcing"),
    verdict: "warn",
    says: /not confirmed/,
    fix: /again in a few seconds/,
  },
  {
    name: "says nothing",
    given: health("unanswered", { keys: keys("established") }),
    verdict: "warn",
    says: /does not answer/,
    fix: /protocol 50.*"udp" at both ends/,
  },
])("the server $name: $verdict", ({ given, verdict, says, fix }) => {
  const finding = examineServer(where, given);
  expect(finding.verdict).toBe(verdict);
  expect(finding.detail).toMatch(says);
  if (fix === undefined) expect(finding.fix).toBeUndefined();
  else expect(finding.fix).toMatch(fix);
});

test("only a tunnel that has keys is up", () => {
  expect(isUp(health("confirmed"))).toBe(true);
  expect(isUp(health("confirmed", { keys: keys("none") }))).toBe(false);
});
