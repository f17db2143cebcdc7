/**
 * IKE_AUTH in a session: each end proves who it is; with it come the home's link (RFC 5739) and the first Child SA. From
 * here on the session is established, even when there is no Child SA. RFC 7296 sections 1.2, 2.15, 2.19.
 */

import { MalformedError } from "../../errors.ts";
import { type Instant, later } from "../../time.ts";
import { authenticate, distrust, type SignedParts } from "../authentication.ts";
import { acceptChild, answerChild } from "../child-sa.ts";
import {
  type AuthRequest,
  buildIkeAuthRequest,
  buildIkeAuthResponse,
  type ChildPart,
  certificatesOf,
  processIkeAuthRequest,
  processIkeAuthResponse,
  refusal,
} from "../exchanges/ike-auth.ts";
import { isSameIdentification } from "../identity.ts";
import type { IkeSa } from "../ike-sa.ts";
import type { Nonces } from "../keys.ts";
import {
  type Assignment,
  acceptConfiguration,
  grantLink,
  HOME_PROPOSES,
  linkLocalAddress,
  requestConfiguration,
} from "../link.ts";
import { childProposals } from "../proposals.ts";
import { addressSelector, EVERYTHING, prefixSelector } from "../selectors.ts";
import type { ChildSa, Directory, PeerPolicy } from "../session-types.ts";
import { identificationPayload, type Payload } from "../wire/message.ts";
import type { Configuration } from "../wire/payloads/configuration.ts";
import { NotifyType } from "../wire/payloads/notify.ts";
import type { TrafficSelector } from "../wire/payloads/traffic-selectors.ts";
import type { SessionContext } from "./context.ts";
import type { SaRecord, Transcript } from "./state.ts";

/** The home asks. */
export function requestAuthentication(
  session: SessionContext,
  transcript: Transcript,
  now: Instant,
): void {
  const record = session.ikeSas.current;
  if (session.role.kind !== "home" || record === undefined) return;
  const { options } = session.role;
  const identification = identificationPayload("IDi", options.identity);
  const spi = session.ports.allocateSpi();
  const payloads = buildIkeAuthRequest({
    identification,
    wanted: identificationPayload("IDr", options.peerIdentity),
    authentication: authenticate(
      options.credential,
      signedBy("initiator", record.sa, transcript, identification.body),
    ),
    certificates: certificatesOf(options.credential),
    initialContact: options.initialContact,
    configuration: requestConfiguration(options.link),
    trust: options.trust,
    child: {
      proposals: childProposals(session.settings.childSuites, spi, { withGroups: false }),
      initiatorSelectors: HOME_PROPOSES,
      responderSelectors: [EVERYTHING],
    },
  });
  session.request(record, { kind: "auth", spi }, payloads, now);
}

/** The gateway is asked. Throws `MalformedError`. */
export function processAuthentication(
  session: SessionContext,
  record: SaRecord,
  asked: { readonly payloads: readonly Payload[]; readonly wallTime: number },
  now: Instant,
): Payload[] {
  const { phase, role } = session;
  if (role.kind !== "gateway" || phase.kind !== "authenticating") {
    throw new MalformedError("ikev2", "unexpected-exchange", "IKE_AUTH by a gateway");
  }
  const { directory } = role;
  const { transcript } = phase;
  const request = processIkeAuthRequest(asked.payloads);
  const peer = request.identification.identification;
  const policy = directory.findPeer(peer, request.wanted?.identification);
  const proof = {
    authentication: request.authentication,
    identification: peer,
    certificates: request.certificates,
    parts: signedBy("initiator", record.sa, transcript, request.identification.body),
    wallTime: asked.wallTime,
  };
  const why = policy === undefined ? "unknown-identity" : distrust(policy.trust, proof);
  if (policy === undefined || why !== undefined) {
    session.closing = { kind: "not-authentic", why: why ?? "unknown-identity" };
    return refusal(NotifyType.authenticationFailed);
  }
  session.phase = { kind: "established" };
  session.policy = policy;
  const { authLifetime } = policy;
  if (authLifetime !== undefined) session.endsAt = later(now, authLifetime * 1000);
  const identification = identificationPayload("IDr", policy.identity);
  const granted = grant(session, record, { request, policy, directory, nonces: transcript.nonces });
  const { initialContact } = request;
  const { assignment, nat } = session;
  const { suite } = record.sa;
  session.emit({ kind: "established", peer, suite, initialContact, assignment, nat });
  if (granted.sa !== undefined) session.addChild(granted.sa, { outbound: "deferred" }, now);
  return buildIkeAuthResponse({
    identification,
    authentication: authenticate(
      policy.credential,
      signedBy("responder", record.sa, transcript, identification.body),
    ),
    certificates: certificatesOf(policy.credential),
    configuration: granted.configuration,
    child: granted.child,
    authLifetime,
  });
}

/** The gateway has answered. Throws `MalformedError`. */
export function authenticationAnswered(
  session: SessionContext,
  record: SaRecord,
  answer: {
    readonly spi: number;
    readonly payloads: readonly Payload[];
    readonly wallTime: number;
  },
  now: Instant,
): void {
  const { phase, role, settings } = session;
  if (role.kind !== "home" || phase.kind !== "authenticating") return;
  const { options } = role;
  const { transcript } = phase;
  const response = processIkeAuthResponse(answer.payloads);
  if (typeof response === "number") {
    session.close({ kind: "refused", notifyType: response });
    return;
  }
  const peer = response.identification.identification;
  const why = isSameIdentification(peer, options.peerIdentity)
    ? distrust(options.trust, {
        authentication: response.authentication,
        identification: peer,
        certificates: response.certificates,
        parts: signedBy("responder", record.sa, transcript, response.identification.body),
        wallTime: answer.wallTime,
      })
    : "unknown-identity";
  if (why !== undefined) {
    session.close({ kind: "not-authentic", why });
    return;
  }
  session.phase = { kind: "established" };
  if (settings.keepaliveMs > 0 && session.nat?.local === true) {
    session.peer.keepAliveFrom(now, settings.keepaliveMs);
  }
  const { configuration } = response;
  session.assignment =
    configuration === undefined ? undefined : acceptConfiguration(options.link, configuration);
  const { assignment, nat } = session;
  const { suite } = record.sa;
  session.emit({ kind: "established", peer, suite, initialContact: false, assignment, nat });
  if (response.authLifetime !== undefined) {
    session.emit({ kind: "reauthenticate", withinMs: response.authLifetime * 1000 });
  }
  const childRefused = (notifyType: number) =>
    session.emit({ kind: "child-refused", notifyType, rekeyed: undefined });
  if (typeof response.child === "number") {
    session.tasks.add({ kind: "close" });
    childRefused(response.child);
    return;
  }
  const sa = acceptFirstChild(session, record, response.child, { ...answer, transcript });
  if (assignment === undefined || sa === undefined) {
    // Nothing to send from, or something we did not ask for: the SA cannot be used.
    session.tasks.add({ kind: "close" });
    childRefused(NotifyType.internalAddressFailure);
    return;
  }
  session.allowed = { local: homeSelectors(assignment), remote: [EVERYTHING] };
  session.addChild(sa, { outbound: "now" }, now);
}

function acceptFirstChild(
  session: SessionContext,
  record: SaRecord,
  child: ChildPart,
  ours: { readonly spi: number; readonly transcript: Transcript },
): ChildSa | undefined {
  return acceptChild(session.childMaker(record), child, {
    spi: ours.spi,
    nonces: ours.transcript.nonces,
    withGroups: false,
    proposed: { local: HOME_PROPOSES, remote: [EVERYTHING] },
  });
}

interface Granted {
  readonly configuration: Configuration | undefined;
  readonly sa: ChildSa | undefined;
  readonly child: ChildPart | number;
}

/** The gateway's part: the link and the first Child SA, or why not. */
function grant(
  session: SessionContext,
  record: SaRecord,
  asked: {
    readonly request: AuthRequest;
    readonly policy: PeerPolicy;
    readonly directory: Directory;
    readonly nonces: Nonces;
  },
): Granted {
  const { request, policy, directory, nonces } = asked;
  const refuse = (child: number): Granted => ({ configuration: undefined, sa: undefined, child });
  if (request.configuration === undefined) return refuse(NotifyType.failedCpRequired);
  const { identification } = request.identification;
  const link = grantLink(request.configuration, policy.link, (requested) =>
    directory.claimLink(identification, requested),
  );
  if (link === undefined) return refuse(NotifyType.internalAddressFailure);
  session.assignment = link.assignment;
  session.allowed = { local: [EVERYTHING], remote: link.homeSelectors };
  const made = answerChild(session.childMaker(record), request.child, undefined, session.allowed, {
    nonces,
    withGroups: false,
  });
  if (typeof made === "number") return refuse(made);
  // There is no key exchange of its own that could be of the wrong group.
  if ("invalidKe" in made) return refuse(NotifyType.noProposalChosen);
  return { configuration: link.reply, sa: made.sa, child: made.child };
}

function signedBy(
  end: "initiator" | "responder",
  sa: IkeSa,
  transcript: Transcript,
  identification: Uint8Array,
): SignedParts {
  const isInitiator = end === "initiator";
  return {
    message: isInitiator ? transcript.request : transcript.response,
    nonce: isInitiator ? transcript.nonces.responder : transcript.nonces.initiator,
    identification,
    prf: sa.suite.prf,
    key: isInitiator ? sa.keys.pi : sa.keys.pr,
  };
}

function homeSelectors(assignment: Assignment): readonly TrafficSelector[] {
  if (assignment.kind === "address") return [addressSelector(assignment.address)];
  return [
    addressSelector(linkLocalAddress(assignment.localInterfaceId)),
    ...assignment.prefixes.map(prefixSelector),
  ];
}
