/**
 * A tunnel that stands gets other outer addresses, or is held, or let go. Pure.
 *
 * What sends moves by a successor that goes on above the old state's numbers. MIGRATE would copy the state with its
 * number while the old one goes on sending until it is deleted, and both would use the same numbers. Where the
 * destination differs the successor is made first, then the policies are turned to it, then the old state goes: no
 * packet finds no state. With the same destination and SPI there cannot be two, so the old one goes first, and what is
 * sent in between is lost (XfrmOutNoStates).
 *
 * What receives moves by MIGRATE: it takes the policy's template and the state it names along, and the state's window
 * and counters with it. Other ports of ESP in UDP are no move at all but a change of the state.
 */

import { planPolicies, portsOf, successorOf, type XfrmOperation } from "./plan.ts";
import type { Migration, PolicyId, XfrmPolicy } from "./policy-message.ts";
import type { EncapsulationTemplate, PresentState, XfrmState } from "./state-message.ts";
import type { WantedXfrm } from "./tunnel-xfrm.ts";

export type MoveOperation =
  | XfrmOperation
  | {
      readonly kind: "migrate";
      readonly policy: PolicyId;
      readonly migration: Migration;
      readonly encapsulation: EncapsulationTemplate | undefined;
    };

/** What sends and gets a successor, which needs each as it stands. */
export function succeededStates(before: WantedXfrm, after: WantedXfrm): XfrmState[] {
  return sendersOf(before, after).flatMap(({ from, to }) => (isSucceeded(from, to) ? [from] : []));
}

/**
 * Nothing to do gives nothing. What blocks comes first, what opens last. `standing`: the outbound states as they stand,
 * where they are succeeded.
 */
export function planMove(
  before: WantedXfrm,
  after: WantedXfrm,
  standing: readonly PresentState[] = [],
): MoveOperation[] {
  const outbound = sendersOf(before, after).map((sender) => outboundSteps(sender, standing));
  const moved = before.policies.map((policy) => movedPolicy(policy, before, after));
  const { added, changed, removed } = planPolicies(moved, after.policies);
  const isBlock = ({ action }: XfrmPolicy) => action === "block";
  const opens = (policy: XfrmPolicy) => !isBlock(policy);
  return [
    ...added.filter(isBlock).map((policy) => ({ kind: "add-policy", policy }) as const),
    ...changed.filter(isBlock).map((policy) => ({ kind: "update-policy", policy }) as const),
    ...removed.map((policy) => ({ kind: "delete-policy", policy }) as const),
    ...inboundSteps(before, after),
    ...outbound.flatMap(({ first }) => first),
    ...changed.filter(opens).map((policy) => ({ kind: "update-policy", policy }) as const),
    ...added.filter(opens).map((policy) => ({ kind: "add-policy", policy }) as const),
    ...outbound.flatMap(({ last }) => last),
  ];
}

/** A state that sends, before and after the move. */
interface Sender {
  readonly from: XfrmState;
  readonly to: XfrmState;
}

function sendersOf(before: WantedXfrm, after: WantedXfrm): Sender[] {
  const moves = [
    [before.outbound, after.outbound],
    [before.multicast, after.multicast],
  ] as const;
  return moves.flatMap(([from, to]) =>
    from === undefined || to === undefined ? [] : [{ from, to }],
  );
}

function isSucceeded(from: XfrmState, to: XfrmState): boolean {
  return addressesOf(from) !== addressesOf(to);
}

/** What comes before the policies are turned to the state's new place, and what after. */
function outboundSteps(
  { from, to }: Sender,
  standing: readonly PresentState[],
): { readonly first: XfrmOperation[]; readonly last: XfrmOperation[] } {
  if (!isSucceeded(from, to)) return { first: portsChanged(from, to), last: [] };
  const present = standing.find(
    ({ spi, requestId }) => spi === from.spi && requestId === from.requestId,
  );
  if (present === undefined) throw new Error("a state is succeeded that nobody has read");
  const added = { kind: "add-state", state: successorOf(present, to) } as const;
  const deleted = { kind: "delete-state", state: from } as const;
  return from.destination === to.destination
    ? { first: [deleted, added], last: [] }
    : { first: [added], last: [deleted] };
}

function inboundSteps(before: WantedXfrm, after: WantedXfrm): MoveOperation[] {
  const { inbound: from, policies } = before;
  const { inbound: to } = after;
  if (from === undefined || to === undefined) return [];
  if (addressesOf(from) === addressesOf(to)) return portsChanged(from, to);
  return policies
    .filter((policy) => policy.direction === "in" && names(policy, from))
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

/** The kernel takes new ports in place; of the state's counters nothing is in the message. */
function portsChanged(from: XfrmState, to: XfrmState): XfrmOperation[] {
  if (portsOf(from) === portsOf(to)) return [];
  return [{ kind: "update-state", state: to }];
}

/** Whether MIGRATE of the policy moves the state. */
function names({ templates }: XfrmPolicy, { source, destination }: XfrmState): boolean {
  return templates.some(
    (template) => template.source === source && template.destination === destination,
  );
}

function movedPolicy(policy: XfrmPolicy, before: WantedXfrm, after: WantedXfrm): XfrmPolicy {
  const [from, to] = [before.inbound, after.inbound];
  if (from === undefined || to === undefined) return policy;
  if (policy.direction !== "in" || !names(policy, from)) return policy;
  const { source, destination } = to;
  const templates = policy.templates.map((template) => ({ ...template, source, destination }));
  return { ...policy, templates };
}

function addressesOf({ source, destination }: XfrmState): string {
  return `${source} ${destination}`;
}
