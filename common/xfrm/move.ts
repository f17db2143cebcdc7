/**
 * A tunnel that stands gets other outer addresses, or is held, or let go. Pure.
 *
 * MIGRATE moves a policy's template together with the state it names, and the state's numbers, window and counters
 * with it. Where several policies name one state the first MIGRATE moves it and the others only their templates.
 */

import { planPolicies, type XfrmOperation } from "./plan.ts";
import type { Migration, PolicyId, XfrmPolicy } from "./policy-message.ts";
import type { EncapsulationTemplate, XfrmState } from "./state-message.ts";
import type { XfrmTunnel } from "./tunnel-xfrm.ts";

export type MoveOperation =
  | XfrmOperation
  | {
      readonly kind: "migrate";
      readonly policy: PolicyId;
      readonly migration: Migration;
      readonly encapsulation: EncapsulationTemplate | undefined;
    };

/** Nothing to do gives nothing. What blocks comes first, what opens last. */
export function planMove(before: XfrmTunnel, after: XfrmTunnel): MoveOperation[] {
  const migrations = [
    ...migrationsOf(before, before.outbound, after.outbound, "out"),
    ...migrationsOf(before, before.inbound, after.inbound, "in"),
  ];
  const moved = before.policies.map((policy) => movedPolicy(policy, before, after));
  const { added, changed, removed } = planPolicies(moved, after.policies);
  const isBlock = ({ action }: XfrmPolicy) => action === "block";
  const opens = (policy: XfrmPolicy) => !isBlock(policy);
  return [
    ...added.filter(isBlock).map((policy) => ({ kind: "add-policy", policy }) as const),
    ...changed.filter(isBlock).map((policy) => ({ kind: "update-policy", policy }) as const),
    ...removed.map((policy) => ({ kind: "delete-policy", policy }) as const),
    ...migrations,
    ...changed.filter(opens).map((policy) => ({ kind: "update-policy", policy }) as const),
    ...added.filter(opens).map((policy) => ({ kind: "add-policy", policy }) as const),
  ];
}

function migrationsOf(
  tunnel: XfrmTunnel,
  from: XfrmState,
  to: XfrmState,
  direction: "in" | "out",
): MoveOperation[] {
  if (placeOf(from) === placeOf(to)) return [];
  return tunnel.policies
    .filter((policy) => policy.direction === direction && names(policy, from))
    .map((policy) => ({
      kind: "migrate",
      policy,
      migration: {
        from: { source: from.source, destination: from.destination },
        to: { source: to.source, destination: to.destination },
        protocol: from.protocol,
        requestId: from.requestId,
        mode: from.mode,
      },
      encapsulation: to.encapsulation,
    }));
}

/** Whether MIGRATE of the policy moves the state. */
function names({ templates }: XfrmPolicy, { source, destination }: XfrmState): boolean {
  return templates.some(
    (template) => template.source === source && template.destination === destination,
  );
}

function movedPolicy(policy: XfrmPolicy, before: XfrmTunnel, after: XfrmTunnel): XfrmPolicy {
  const [from, to] =
    policy.direction === "out"
      ? [before.outbound, after.outbound]
      : [before.inbound, after.inbound];
  if (policy.direction === "forward" || !names(policy, from)) return policy;
  const { source, destination } = to;
  const templates = policy.templates.map((template) => ({ ...template, source, destination }));
  return { ...policy, templates };
}

function placeOf({ source, destination, encapsulation }: XfrmState): string {
  const { sourcePort, destinationPort } = encapsulation ?? {};
  return JSON.stringify([source, destination, sourcePort, destinationPort]);
}
