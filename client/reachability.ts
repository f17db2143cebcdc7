/** What `doctor` says of the server, by what the daemon says. Pure. */

import { describeEncapsulation } from "../common/control/describe.ts";
import { type Finding, fail, ok, warn } from "../common/doctor/finding.ts";
import type { Ipv4Address } from "../common/ip/address.ts";
import type { Encapsulation } from "../common/tunnel/tunnel.ts";
import { NO_IKE_ANSWER } from "./key-problem.ts";
import type { ClientStatus } from "./status.ts";

const SUBJECT = "server";
const AGAIN = "then run `hometun announce`, which makes the daemon try again at once";
const IKE_PORTS =
  "see that hometun-server runs there, and that firewalls let UDP 500 and 4500 pass";

export interface Reachable {
  readonly server: Ipv4Address;
  readonly encapsulation: Encapsulation;
}

/** What is known of the daemon's tunnel. */
export type TunnelHealth = Pick<ClientStatus, "state" | "keys" | "problem" | "uplink">;

/** Only ESP that comes back tells that ESP gets through. */
export function examineServer(
  { server, encapsulation }: Reachable,
  health: TunnelHealth | undefined,
): Finding {
  const way = describeEncapsulation(encapsulation);
  if (health === undefined) {
    const unknown = `whether ${way} gets through is not known`;
    return warn(SUBJECT, unknown, "start the daemon, then ask again");
  }
  const { state, problem, uplink } = health;
  if (lacksKeys(health)) return withoutKeys(problem);
  switch (state.kind) {
    case "confirmed":
      return ok(SUBJECT, `${server} answers through ${way}`);
    case "no-address":
      return warn(SUBJECT, "the daemon knows no route to it yet", "ask again in a few seconds");
    case "announcing": {
      const unconfirmed = `it has not confirmed ${uplink?.address ?? "our address"} yet`;
      return warn(SUBJECT, problem ?? unconfirmed, "ask again in a few seconds");
    }
    case "unanswered": {
      const other = encapsulation === "esp" ? "udp" : "esp";
      const fix = `see that firewalls let ${way} pass, or try encapsulation = "${other}" at both ends`;
      return warn(SUBJECT, problem ?? `${server} does not answer`, fix);
    }
  }
}

/** Whether packets of its full MTU can be expected to come back. */
export function isUp(health: TunnelHealth | undefined): boolean {
  return health?.state.kind === "confirmed" && !lacksKeys(health);
}

/** They are to be negotiated, and are not. */
function lacksKeys({ state, keys }: TunnelHealth): boolean {
  return state.kind !== "no-address" && keys?.state === "none";
}

/** What the server refuses says itself what to do first. */
function withoutKeys(problem: string | undefined): Finding {
  if (problem === undefined) {
    return warn(SUBJECT, "no keys are negotiated yet", "ask again in a few seconds");
  }
  return fail(SUBJECT, problem, problem === NO_IKE_ANSWER ? IKE_PORTS : AGAIN);
}
