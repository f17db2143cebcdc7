/**
 * CREATE_CHILD_SA for the IKE SA: its successor has new keys and inherits all Child SAs; who made it deletes the old
 * one. When both ends make one at once the one made with the lowest of the four nonces goes (RFC 7296 sections 2.8.2,
 * 2.18, 2.25.2).
 */

import { MalformedError } from "../../errors.ts";
import { type Instant, later } from "../../time.ts";
import type { IkeSuite } from "../algorithms.ts";
import { isOfGroup } from "../child-sa.ts";
import {
  buildIkeRekey,
  type ChildRefusal,
  type IkeRekeyRequest,
  invalidKePayload,
  processCreateChildSaResponse,
} from "../exchanges/create-child-sa.ts";
import { refusal } from "../exchanges/ike-auth.ts";
import { beginKeyAgreement } from "../key-agreement.ts";
import { deriveIkeKeys, type Nonces, rekeyedSkeyseed } from "../keys.ts";
import { chooseIke, chosenIkeProposal, ikeProposals } from "../proposals.ts";
import { formatIkeSpi, IKE_SPI_LENGTH, type IkeSpi } from "../wire/header.ts";
import type { Payload } from "../wire/message.ts";
import { NotifyType } from "../wire/payloads/notify.ts";
import { NONCE_LENGTH, type SessionContext } from "./context.ts";
import { requestIkeDelete } from "./informational.ts";
import { isLowerThan } from "./rekey-collision.ts";
import { type PendingExchange, REPLACED_MS, type SaRecord, type Task } from "./state.ts";

/** What an authenticated peer can make us hold: those that it should have deleted are kept for a while. */
const MAXIMUM_IKE_SAS = 4;

type RekeyTask = Extract<Task, { kind: "rekey-ike" }>;
type PendingRekey = Extract<PendingExchange, { kind: "ike" }>;

export function requestIkeRekey(
  session: SessionContext,
  record: SaRecord,
  task: RekeyTask,
  now: Instant,
): void {
  const { settings, ports } = session;
  const group = task.group ?? record.sa.suite.group;
  // What is in use goes first, so that the group of the first key exchange is likely right.
  const suites = [{ ...record.sa.suite, group }, ...settings.ikeSuites].filter(
    (suite, index, all) => all.findIndex((one) => isSameSuite(one, suite)) === index,
  );
  const agreement = beginKeyAgreement(group, ports.random);
  const nonce = ports.random(NONCE_LENGTH);
  const spi = session.ikeSas.newSpi();
  const payloads = buildIkeRekey({ proposals: ikeProposals(suites, spi), nonce, agreement });
  const exchange = { kind: "ike", task, spi, nonce, agreement, suites } as const;
  session.request(record, exchange, payloads, now);
}

/** The peer asks. Throws `MalformedError`. */
export function processIkeRekey(
  session: SessionContext,
  record: SaRecord,
  request: IkeRekeyRequest,
  now: Instant,
): Payload[] {
  const { settings, ports, ikeSas } = session;
  const pending = record.exchange?.kind;
  const isBusy =
    record.state !== "current" ||
    pending === "child" ||
    pending === "delete-children" ||
    pending === "delete-ike" ||
    record.rival !== undefined ||
    ikeSas.all.length >= MAXIMUM_IKE_SAS;
  if (isBusy) return refusal(NotifyType.temporaryFailure);
  const chosen = chooseIke(request.proposals, settings.ikeSuites);
  if (chosen === undefined || chosen.spi.length !== IKE_SPI_LENGTH) {
    return refusal(NotifyType.noProposalChosen);
  }
  const { suite } = chosen;
  if (!isOfGroup(request.keyExchange, suite.group)) return [invalidKePayload(suite.group)];
  const agreement = beginKeyAgreement(suite.group, ports.random);
  const nonce = ports.random(NONCE_LENGTH);
  const spi = ikeSas.newSpi();
  const nonces = { initiator: request.nonce, responder: nonce };
  const next = addSuccessor(
    session,
    record,
    {
      isInitiator: false,
      initiatorSpi: formatIkeSpi(chosen.spi),
      responderSpi: spi,
      suite,
      nonces,
      secret: agreement.sharedSecret(request.keyExchange.publicValue),
    },
    now,
  );
  if (pending === "ike") record.rival = { record: next, nonces };
  else ikeSas.succeed(record, next, now);
  return buildIkeRekey({ proposals: [chosenIkeProposal(chosen, spi)], nonce, agreement });
}

/** The peer has answered. Throws `MalformedError`. */
export function ikeRekeyAnswered(
  session: SessionContext,
  record: SaRecord,
  answer: { readonly exchange: PendingRekey; readonly payloads: readonly Payload[] },
  now: Instant,
): void {
  const { ikeSas } = session;
  const { exchange } = answer;
  const response = processCreateChildSaResponse(answer.payloads);
  const { rival } = record;
  record.rival = undefined;
  if (response.kind === "refused") {
    if (rival !== undefined) ikeSas.succeed(record, rival.record, now);
    else rekeyRefused(session, record, { exchange, response }, now);
    return;
  }
  if (response.kind === "child") throw new MalformedError("ikev2", "wrong-protocol", "not IKE");
  const { proposals, keyExchange } = response;
  const chosen = proposals.length === 1 ? chooseIke(proposals, exchange.suites) : undefined;
  if (chosen === undefined || !isOfGroup(keyExchange, exchange.agreement.group)) {
    throw new MalformedError("ikev2", "unacceptable-proposal", "rekey of the IKE SA");
  }
  const nonces = { initiator: exchange.nonce, responder: response.nonce };
  const ours = addSuccessor(
    session,
    record,
    {
      isInitiator: true,
      initiatorSpi: exchange.spi,
      responderSpi: formatIkeSpi(chosen.spi),
      suite: chosen.suite,
      nonces,
      secret: exchange.agreement.sharedSecret(keyExchange.publicValue),
    },
    now,
  );
  if (rival !== undefined && isLowerThan(nonces, rival.nonces)) {
    // Ours was made with the lowest nonce: it goes, and the peer deletes the old one.
    ikeSas.succeed(record, rival.record, now);
    requestIkeDelete(session, ours, now);
    return;
  }
  if (rival !== undefined) rival.record.overdueAt = later(now, REPLACED_MS);
  ikeSas.succeed(record, ours, now);
  requestIkeDelete(session, record, now);
}

function rekeyRefused(
  session: SessionContext,
  record: SaRecord,
  { exchange, response }: { readonly exchange: PendingRekey; readonly response: ChildRefusal },
  now: Instant,
): void {
  const { notifyType, group } = response;
  if (notifyType === NotifyType.temporaryFailure) {
    session.tasks.addLater(exchange.task, now);
    return;
  }
  const isOurs = exchange.suites.some((suite) => suite.group === group);
  if (group !== undefined && isOurs && group !== exchange.agreement.group) {
    session.tasks.addFirst({ kind: "rekey-ike", group });
    return;
  }
  // It counts as young again, lest a peer that refuses be asked without end; a home makes another IKE SA instead.
  record.bornAt = now;
  session.emit({ kind: "hint", notifyType });
  if (session.role.kind === "home") session.emit({ kind: "reauthenticate", withinMs: 0 });
}

function addSuccessor(
  session: SessionContext,
  { sa }: SaRecord,
  next: {
    readonly isInitiator: boolean;
    readonly initiatorSpi: IkeSpi;
    readonly responderSpi: IkeSpi;
    readonly suite: IkeSuite;
    readonly nonces: Nonces;
    readonly secret: Uint8Array;
  },
  now: Instant,
): SaRecord {
  const old = { prf: sa.suite.prf, d: sa.keys.d };
  const skeyseed = rekeyedSkeyseed(old, next.nonces, next.secret);
  const keys = deriveIkeKeys({ ...next, skeyseed });
  // A new IKE SA counts from zero, section 2.18.
  const firstMessageIds = { ours: 0, peers: 0 };
  const parts = { ...next, keys, firstMessageIds, fragmentation: sa.fragmentation };
  const added = session.ikeSas.add(parts, "candidate", now);
  session.emit({ kind: "listen", spi: added.sa.localSpi });
  return added;
}

function isSameSuite(a: IkeSuite, b: IkeSuite): boolean {
  return a.encryption === b.encryption && a.prf === b.prf && a.group === b.group;
}
