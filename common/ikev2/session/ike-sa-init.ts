/**
 * IKE_SA_INIT in a session: asked by a home, perhaps again with a cookie or another group, until the keys of the IKE
 * SA are there. A gateway's part is the responder's, which makes a session only then. RFC 7296 sections 1.2, 2.6.
 */

import { type Instant, later } from "../../time.ts";
import {
  buildIkeSaInitRequest,
  type InitiatorStart,
  processIkeSaInitResponse,
} from "../exchanges/ike-sa-init.ts";
import { beginKeyAgreement } from "../key-agreement.ts";
import { deriveIkeKeys, initialSkeyseed } from "../keys.ts";
import { Retransmission } from "../retransmission.ts";
import { ExchangeType, HEADER_LENGTH, type IkeHeader } from "../wire/header.ts";
import { decodePayloads } from "../wire/message.ts";
import { decodePayloadChain } from "../wire/payload-chain.ts";
import { NONCE_LENGTH, type SessionContext } from "./context.ts";
import { requestAuthentication } from "./ike-auth.ts";
import type { AcceptedInit, Phase } from "./state.ts";

/** How often IKE_SA_INIT is begun again for cookies and groups before it is given up. */
const MAXIMUM_RESTARTS = 5;
/** How long a responder waits for IKE_AUTH. */
const HALF_OPEN_MS = 30_000;
const DISGUISE_LENGTH = 20; // octets, of a hash that shall not match (RFC 7296 section 2.23)

type InitPhase = Extract<Phase, { kind: "init" }>;

/** A home begins. */
export function startInit(session: SessionContext, now: Instant): void {
  const { settings, ports } = session;
  if (session.role.kind !== "home" || session.phase.kind !== "idle") return;
  const [suite] = settings.ikeSuites;
  if (suite === undefined) throw new RangeError("no suite");
  const spi = session.ikeSas.newSpi();
  session.emit({ kind: "listen", spi });
  const start = {
    spi,
    suites: settings.ikeSuites,
    agreement: beginKeyAgreement(suite.group, ports.random),
    nonce: ports.random(NONCE_LENGTH),
    path: session.peer.path,
    ...(settings.forceEncapsulation ? { disguise: ports.random(DISGUISE_LENGTH) } : {}),
  };
  ask(session, start, 0, now);
}

/** Our address is another: the hashes of NAT detection hold the old one, so it is asked anew. */
export function restartInit(session: SessionContext, phase: InitPhase, now: Instant): void {
  ask(session, { ...phase.start, path: session.peer.path }, phase.restarts, now);
}

export function repeatInit(session: SessionContext, phase: InitPhase, now: Instant): void {
  const messages = phase.retransmission.handleDeadline(now);
  if (messages !== undefined) session.peer.send(messages);
  else if (phase.refused === undefined) session.close({ kind: "timeout" });
  else session.close({ kind: "refused", notifyType: phase.refused });
}

/** A message that is of none of the IKE SAs. Throws `MalformedError`. */
export function initAnswered(
  session: SessionContext,
  header: IkeHeader,
  message: Uint8Array,
  now: Instant,
): void {
  const { phase } = session;
  if (phase.kind !== "init" || !header.response || header.exchange !== ExchangeType.ikeSaInit) {
    session.emit({ kind: "dropped", reason: "unexpected-response" });
    return;
  }
  const { start, restarts } = phase;
  const chain = decodePayloadChain(header.nextPayload, message.subarray(HEADER_LENGTH));
  const { payloads, unsupportedCritical } = decodePayloads(chain.payloads);
  if (unsupportedCritical.length > 0) {
    session.emit({ kind: "dropped", reason: "malformed" });
    return;
  }
  const answer = processIkeSaInitResponse(header, payloads, start);
  switch (answer.kind) {
    case "cookie":
    case "other-group": {
      if (restarts === MAXIMUM_RESTARTS) return;
      const next =
        answer.kind === "cookie"
          ? { ...start, cookie: answer.cookie }
          : { ...start, agreement: beginKeyAgreement(answer.group, session.ports.random) };
      ask(session, next, restarts + 1, now);
      break;
    }
    case "refused":
      // Anyone can send this (section 2.21.1): it is told, and the real answer is waited for.
      session.phase = { ...phase, refused: answer.notifyType };
      session.emit({ kind: "hint", notifyType: answer.notifyType });
      break;
    case "accepted": {
      const nonces = { initiator: start.nonce, responder: answer.nonce };
      const transcript = { request: phase.request, response: message, nonces };
      const { responderSpi } = answer;
      const { spi: initiatorSpi, agreement } = start;
      const init = { initiatorSpi, responderSpi, hello: answer, agreement, transcript };
      establishKeys(session, { isInitiator: true, ...init }, now);
      const isTranslated = answer.nat?.local === true || answer.nat?.remote === true;
      if (isTranslated || session.settings.forceEncapsulation) session.peer.float();
      session.phase = { kind: "authenticating", transcript, expiresAt: undefined };
      requestAuthentication(session, transcript, now);
      break;
    }
  }
}

/** A gateway's session begins here, after its responder has answered. Throws `MalformedError` `public-value`. */
export function initAccepted(session: SessionContext, init: AcceptedInit, now: Instant): void {
  establishKeys(session, { isInitiator: false, ...init }, now);
  const { transcript, responderSpi } = init;
  const expiresAt = later(now, HALF_OPEN_MS);
  session.phase = { kind: "authenticating", transcript, expiresAt };
  session.emit({ kind: "listen", spi: responderSpi });
}

function ask(session: SessionContext, start: InitiatorStart, restarts: number, now: Instant): void {
  const request = buildIkeSaInitRequest(start);
  const retransmission = new Retransmission([request], session.settings.times, now);
  session.phase = { kind: "init", start, request, retransmission, restarts, refused: undefined };
  session.peer.send([request]);
}

/** Throws `MalformedError` `public-value`. */
function establishKeys(
  session: SessionContext,
  init: Omit<AcceptedInit, "path" | "encapsulated"> & { readonly isInitiator: boolean },
  now: Instant,
): void {
  const { isInitiator, initiatorSpi, responderSpi, hello } = init;
  const { suite } = hello.chosen;
  const { nonces } = init.transcript;
  const secret = init.agreement.sharedSecret(hello.publicValue);
  const skeyseed = initialSkeyseed(suite.prf, nonces, secret);
  session.nat = hello.nat;
  session.ikeSas.add(
    {
      isInitiator,
      initiatorSpi,
      responderSpi,
      suite,
      keys: deriveIkeKeys({ suite, skeyseed, nonces, initiatorSpi, responderSpi }),
      // IKE_SA_INIT was 0 of the initiator; the responder has not asked anything yet.
      firstMessageIds: isInitiator ? { ours: 1, peers: 0 } : { ours: 0, peers: 1 },
      fragmentation: hello.fragmentation,
    },
    "current",
    now,
  );
}
