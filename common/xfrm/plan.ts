/**
 * From the states and policies that stand to those that are wanted: operations in the order that works. Pure.
 *
 * A state's sequence number is the one thing that must never go back: under AES-GCM a number used twice lays the key
 * open. So a state that stands and has the right keys is kept, however it got there, and what differs in it is
 * changed by a new state that goes on well above the old one's numbers.
 */

import { sameAlgorithms } from "./algorithm.ts";
import type { PolicyId, PolicyTemplate, XfrmPolicy } from "./policy-message.ts";
import type { Selector } from "./selector.ts";
import type { PresentState, StateId, XfrmState } from "./state-message.ts";
import { isNowhere, type WantedXfrm } from "./tunnel-xfrm.ts";

/**
 * Numbers left unused by a new state in an old one's place: packets go out between reading one and deleting it, for as
 * long as this process is kept waiting there. A peer that has received none of 2^32 numbers is lost (RFC 4303 section
 * 2.2.1), so it cannot be much more: this outlasts 2 s of 100,000 packets each, and 16,000 moves that nobody heard of.
 */
export const SEQUENCE_SKIP = 262_144;

export interface PresentXfrm {
  readonly states: readonly PresentState[];
  readonly policies: readonly XfrmPolicy[];
}

export type XfrmOperation =
  | { readonly kind: "delete-policy"; readonly policy: PolicyId }
  | { readonly kind: "update-policy"; readonly policy: XfrmPolicy }
  | { readonly kind: "add-policy"; readonly policy: XfrmPolicy }
  | { readonly kind: "delete-state"; readonly state: StateId }
  | { readonly kind: "add-state"; readonly state: XfrmState }
  /** Other ports of ESP in UDP, or limits; numbers and counters stay. */
  | { readonly kind: "update-state"; readonly state: XfrmState };

/**
 * `present` holds hometun's own only; of it, what `wanted` does not hold is removed. Nothing to do gives nothing.
 *
 * The order: what packets could leave by goes before states do, and comes after them, so that no packet finds a
 * policy without its state. Policies that block are never missing in between: they are added first and removed last.
 */
export function planXfrm(present: PresentXfrm, wanted: readonly WantedXfrm[]): XfrmOperation[] {
  const states = planStates(present.states, wanted.flatMap(statesOf));
  const policies = planPolicies(
    present.policies,
    wanted.flatMap((tunnel) => tunnel.policies),
  );
  const removed = policies.removed.map((policy) => ({ kind: "delete-policy", policy }) as const);
  const isBlock = ({ action }: XfrmPolicy) => action === "block";
  return [
    ...policies.added.filter(isBlock).map((policy) => ({ kind: "add-policy", policy }) as const),
    ...policies.changed
      .filter(isBlock)
      .map((policy) => ({ kind: "update-policy", policy }) as const),
    ...removed.filter(({ policy }) => !isBlock(policy)),
    ...states.removed.map((state) => ({ kind: "delete-state", state }) as const),
    ...states.added.map((state) => ({ kind: "add-state", state }) as const),
    ...states.changed.map((state) => ({ kind: "update-state", state }) as const),
    ...policies.changed
      .filter((policy) => !isBlock(policy))
      .map((policy) => ({ kind: "update-policy", policy }) as const),
    ...policies.added
      .filter((policy) => !isBlock(policy))
      .map((policy) => ({ kind: "add-policy", policy }) as const),
    ...removed.filter(({ policy }) => isBlock(policy)),
  ];
}

/** All states of a tunnel. */
export function statesOf(wanted: WantedXfrm): XfrmState[] {
  const { outbound, multicast, inbound, negotiated = [] } = wanted;
  return [outbound, multicast, inbound, ...negotiated].filter((state) => state !== undefined);
}

/** The state that stands with a wanted one's keys, wherever it is attached. */
export function standingState(
  present: readonly PresentState[],
  wanted: Pick<XfrmState, "spi" | "interfaceId" | "algorithms">,
): PresentState | undefined {
  return present.find(
    (state) =>
      state.spi === wanted.spi &&
      state.interfaceId === wanted.interfaceId &&
      sameAlgorithms(state.algorithms, wanted.algorithms),
  );
}

/** `wanted`, going on above the numbers that `standing` has used or may still use until it is deleted. */
export function successorOf(standing: PresentState, wanted: XfrmState): XfrmState {
  const { replay, current, source, destination } = standing;
  if (replay === undefined) return wanted;
  // One that leads nowhere sends nothing.
  const isUnused = replay.sent === 0 && (isNowhere(source) || isNowhere(destination));
  const sent = isUnused ? 0 : replay.sent + SEQUENCE_SKIP;
  return { ...wanted, current, replay: { ...replay, sent } };
}

function planStates(present: readonly PresentState[], wanted: readonly XfrmState[]) {
  const removed = new Set(present);
  const added: XfrmState[] = [];
  const changed: XfrmState[] = [];
  const bySpi = new Map<number, PresentState[]>();
  for (const state of present) bySpi.set(state.spi, [...(bySpi.get(state.spi) ?? []), state]);
  for (const state of wanted) {
    const standing = standingState(bySpi.get(state.spi) ?? [], state);
    if (standing === undefined) {
      added.push(state);
    } else if (attachmentOf(standing) === attachmentOf(state)) {
      removed.delete(standing);
      if (portsOf(standing) !== portsOf(state)) changed.push(state);
    } else {
      added.push(successorOf(standing, state));
    }
  }
  return { removed: [...removed], added, changed };
}

/** All of a state but its keys, its counters, and what can be changed in place. */
function attachmentOf(state: XfrmState): string {
  return JSON.stringify([
    ...[state.source, state.destination, state.protocol, state.requestId, state.mode],
    ...[state.flags, selectorOf(state.selector), state.encapsulation?.type],
    state.replay?.window,
  ]);
}

/** Of ESP in UDP. The kernel takes others in place. */
export function portsOf({ encapsulation }: XfrmState): string {
  return `${encapsulation?.sourcePort} ${encapsulation?.destinationPort}`;
}

/** What differs, in no order. */
export function planPolicies(present: readonly XfrmPolicy[], wanted: readonly XfrmPolicy[]) {
  const standing = new Map(present.map((policy) => [policyKey(policy), policy]));
  const added: XfrmPolicy[] = [];
  const changed: XfrmPolicy[] = [];
  for (const policy of wanted) {
    const key = policyKey(policy);
    const before = standing.get(key);
    standing.delete(key);
    if (before === undefined) added.push(policy);
    else if (contentOf(before) !== contentOf(policy)) changed.push(policy);
  }
  return { removed: [...standing.values()], added, changed };
}

function policyKey({ direction, interfaceId, selector }: PolicyId): string {
  return JSON.stringify([direction, interfaceId, selectorOf(selector)]);
}

function contentOf({ action, priority, templates }: XfrmPolicy): string {
  const parts = (template: PolicyTemplate) => [
    ...[template.source, template.destination, template.protocol],
    ...[template.requestId, template.mode],
  ];
  return JSON.stringify([action, priority, templates.map(parts)]);
}

function selectorOf(selector: Selector): unknown[] {
  return [
    ...[selector.family, selector.source, selector.sourceLength],
    ...[selector.destination, selector.destinationLength, selector.protocol],
  ];
}
