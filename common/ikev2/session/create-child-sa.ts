/**
 * CREATE_CHILD_SA for Child SAs: another one, or the successor of one. Who makes a successor deletes the old one. When
 * both ends make one at the same time there are two: the one made with the lowest of the four nonces goes, deleted by
 * its maker, and the other's maker deletes the old one (RFC 7296 sections 2.8.1, 2.25.1). What may not happen now is
 * answered with TEMPORARY_FAILURE and tried again later (section 2.25). LINK_ID by RFC 5739 section 4.3.
 */

import { MalformedError } from "../../errors.ts";
import type { Instant } from "../../time.ts";
import type { ChildSuite, Group } from "../algorithms.ts";
import { acceptChild, answerChild } from "../child-sa.ts";
import {
  buildChildRequest,
  buildChildResponse,
  type ChildRefusal,
  type ChildRequest,
  childSaNotFound,
  invalidKePayload,
  processCreateChildSaResponse,
} from "../exchanges/create-child-sa.ts";
import { type ChildPart, refusal } from "../exchanges/ike-auth.ts";
import { beginKeyAgreement } from "../key-agreement.ts";
import type { Nonces } from "../keys.ts";
import { childProposals } from "../proposals.ts";
import type { Payload } from "../wire/message.ts";
import { NotifyType } from "../wire/payloads/notify.ts";
import { NONCE_LENGTH, type SessionContext } from "./context.ts";
import { isLowerThan } from "./rekey-collision.ts";
import type { ChildRecord, PendingExchange, SaRecord, Task } from "./state.ts";

/** Between requests for a rekey that the peer refuses. */
const REFUSED_PAUSE_MS = 60_000;

type ChildTask = Extract<Task, { kind: "rekey-child" | "create-child" }>;
type PendingChild = Extract<PendingExchange, { kind: "child" }>;

/** Nothing when the Child SA to be rekeyed is gone or is being replaced already. */
export function requestChild(
  session: SessionContext,
  record: SaRecord,
  task: ChildTask,
  now: Instant,
): void {
  const { settings, ports } = session;
  const rekeyed = task.kind === "rekey-child" ? session.children.find(task.spi) : undefined;
  const selectors = task.kind === "create-child" ? task : rekeyed?.sa;
  if (selectors === undefined) return;
  if (rekeyed !== undefined && rekeyed.state !== "installed") return;
  const wanted = task.group ?? likelyGroup(settings.childSuites, record.sa.suite.group);
  const group = wanted === "none" ? undefined : wanted;
  const suites = offeredFor(settings.childSuites, group);
  const agreement = group === undefined ? undefined : beginKeyAgreement(group, ports.random);
  const spi = ports.allocateSpi();
  const nonce = ports.random(NONCE_LENGTH);
  const child: ChildPart = {
    proposals: childProposals(suites, spi, { withGroups: true }),
    initiatorSelectors: selectors.localSelectors,
    responderSelectors: selectors.remoteSelectors,
  };
  if (rekeyed !== undefined) rekeyed.state = "rekeying";
  const payloads = buildChildRequest({
    child,
    nonce,
    agreement,
    rekeyed: rekeyed?.sa.inbound.spi,
    linkId: session.linkId,
  });
  const exchange = { kind: "child", task, spi, nonce, agreement, child, rekeyed } as const;
  session.request(record, exchange, payloads, now);
}

/** The peer is known to have the group of the IKE SA. */
function likelyGroup(suites: readonly ChildSuite[], known: Group): Group | undefined {
  return suites.some(({ group }) => group === known) ? known : suites[0]?.group;
}

/** All that we take, what fits the key exchange first; with another the peer asks for another key exchange. */
function offeredFor(suites: readonly ChildSuite[], group: Group | undefined): ChildSuite[] {
  const others = (suite: ChildSuite) => suite.group !== group && suite.group !== undefined;
  return [
    ...suites.filter((suite) => suite.group === group),
    ...(group === undefined ? [] : suites.filter(others)),
  ];
}

/** The peer asks. Throws `MalformedError`. */
export function processChild(
  session: SessionContext,
  record: SaRecord,
  request: ChildRequest,
  now: Instant,
): Payload[] {
  const { children } = session;
  const old = request.rekeyed === undefined ? undefined : children.findOutbound(request.rekeyed);
  const refused = refusalOf(session, record, request, old);
  if (refused !== undefined) return refused;
  const nonce = session.ports.random(NONCE_LENGTH);
  const nonces = { initiator: request.nonce, responder: nonce };
  const allowed =
    old === undefined
      ? session.allowedFurther
      : { local: old.sa.localSelectors, remote: old.sa.remoteSelectors };
  const made = answerChild(
    session.childMaker(record),
    request.child,
    request.keyExchange,
    allowed,
    { nonces, withGroups: true },
  );
  if (typeof made === "number") return refusal(made);
  if ("invalidKe" in made) return [invalidKePayload(made.invalidKe)];
  const { agreement, child } = made;
  const replaces = old?.sa.inbound.spi;
  const next = session.addChild(made.sa, { replaces, outbound: "deferred" }, now);
  if (old !== undefined) {
    old.successor = next;
    if (old.state === "rekeying") old.rival = { record: next, nonces };
    else children.replace(old, now);
  }
  return buildChildResponse({ child, nonce, agreement });
}

/** The peer has answered. Throws `MalformedError`. */
export function childAnswered(
  session: SessionContext,
  record: SaRecord,
  answer: { readonly exchange: PendingChild; readonly payloads: readonly Payload[] },
  now: Instant,
): void {
  const { exchange } = answer;
  const { rekeyed, agreement } = exchange;
  const response = processCreateChildSaResponse(answer.payloads);
  if (response.kind === "refused") {
    childRefused(session, exchange, response, now);
    return;
  }
  if (response.kind === "ike") throw new MalformedError("ikev2", "wrong-protocol", "not ESP");
  const { keyExchange } = response;
  const nonces = { initiator: exchange.nonce, responder: response.nonce };
  const accepted = acceptChild(session.childMaker(record), response.child, {
    spi: exchange.spi,
    nonces,
    withGroups: true,
    proposed: {
      local: exchange.child.initiatorSelectors,
      remote: exchange.child.responderSelectors,
    },
    ...(agreement === undefined ? {} : { agreement }),
    ...(keyExchange === undefined ? {} : { keyExchange }),
  });
  const replaces = rekeyed?.sa.inbound.spi;
  if (accepted === undefined) {
    // The peer has an SA that we cannot use.
    if (rekeyed?.state === "rekeying") rekeyed.state = "installed";
    session.tasks.add({ kind: "delete-children", spis: [exchange.spi] });
    const notifyType = NotifyType.noProposalChosen;
    session.emit({ kind: "child-refused", notifyType, rekeyed: replaces });
    return;
  }
  // With a rival it is not known yet which of the two stays.
  const outbound = rekeyed?.rival === undefined ? "now" : "deferred";
  const made = session.addChild(accepted, { replaces, outbound }, now);
  if (rekeyed !== undefined) settle(session, rekeyed, { made, nonces }, now);
}

/** Two rekeys of one SA at once, section 2.8.1; or just ours. */
function settle(
  session: SessionContext,
  old: ChildRecord,
  ours: { readonly made: ChildRecord; readonly nonces: Nonces },
  now: Instant,
): void {
  const { children, tasks } = session;
  const { rival } = old;
  const { spi } = ours.made.sa.inbound;
  old.rival = undefined;
  if (rival !== undefined && isLowerThan(ours.nonces, rival.nonces)) {
    // Ours was made with the lowest nonce: it goes, and the peer deletes the old one.
    tasks.addFirst({ kind: "delete-children", spis: [spi] });
    ours.made.state = "deleting";
    children.replace(old, now);
    return;
  }
  if (rival !== undefined) {
    // The peer deletes the one it has made; ours is used.
    children.replace(rival.record, now);
    old.successor = undefined;
    session.emit({ kind: "child-outbound", spi });
  }
  if (!children.includes(old)) return;
  old.state = "deleting";
  old.overdueAt = undefined;
  tasks.addFirst({ kind: "delete-children", spis: [old.sa.inbound.spi] });
}

/** Why the peer gets no Child SA: section 2.25, and RFC 5739 section 4.3. */
function refusalOf(
  session: SessionContext,
  record: SaRecord,
  request: ChildRequest,
  old: ChildRecord | undefined,
): Payload[] | undefined {
  const isBusy =
    record.state !== "current" ||
    record.exchange?.kind === "ike" ||
    record.exchange?.kind === "delete-ike";
  if (isBusy) return refusal(NotifyType.temporaryFailure);
  if (request.rekeyed !== undefined && old === undefined) {
    return [childSaNotFound(request.rekeyed)];
  }
  if (old?.state === "deleting" || old?.state === "replaced") {
    return refusal(NotifyType.temporaryFailure);
  }
  if (!session.isOfLink(request.linkId)) return refusal(NotifyType.tsUnacceptable);
  if (session.children.isFull) return refusal(NotifyType.noAdditionalSas);
  return undefined;
}

function childRefused(
  session: SessionContext,
  { rekeyed, task, agreement }: PendingChild,
  { notifyType, group }: ChildRefusal,
  now: Instant,
): void {
  const { children, tasks, settings } = session;
  const { rival } = rekeyed ?? {};
  if (rekeyed !== undefined) rekeyed.rival = undefined;
  if (rekeyed !== undefined && rival !== undefined) {
    // The peer's rekey of the same SA holds.
    children.replace(rekeyed, now);
    return;
  }
  if (rekeyed?.state === "rekeying") rekeyed.state = "installed";
  const isGone = rekeyed !== undefined && !children.includes(rekeyed);
  if (isGone) return;
  switch (notifyType) {
    case NotifyType.temporaryFailure:
      tasks.addLater(task, now);
      return;
    case NotifyType.childSaNotFound: {
      if (rekeyed === undefined) break;
      // The peer does not have it: nor have we, and it is made anew (section 2.25).
      const { inbound, localSelectors, remoteSelectors } = rekeyed.sa;
      children.remove([inbound.spi]);
      tasks.add({ kind: "create-child", localSelectors, remoteSelectors });
      return;
    }
    case NotifyType.noProposalChosen: {
      // Perhaps the peer agrees on keys no more than once for each IKE SA.
      const mayDoWithout = settings.childSuites.some((suite) => suite.group === undefined);
      if (agreement === undefined || !mayDoWithout) break;
      tasks.addFirst({ ...task, group: "none" });
      return;
    }
    case NotifyType.invalidKePayload: {
      const isOurs = settings.childSuites.some((suite) => suite.group === group);
      const isNew = group !== undefined && group !== agreement?.group;
      if (!isOurs || !isNew) break;
      tasks.addFirst({ ...task, group });
      return;
    }
  }
  // It is asked for again, but not at once.
  if (rekeyed !== undefined) children.young(rekeyed.sa.inbound.spi, REFUSED_PAUSE_MS, now);
  session.emit({ kind: "child-refused", notifyType, rekeyed: rekeyed?.sa.inbound.spi });
}
