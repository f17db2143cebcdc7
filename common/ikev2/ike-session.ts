/**
 * Everything between two ends: the IKE SA, its successors, the Child SAs. A home's session begins with `start`; a
 * gateway's is made by the responder after IKE_SA_INIT. From then on they are the same: either may rekey, delete
 * and ask.
 *
 * The life of a home's session: IKE_SA_INIT, perhaps again with a cookie or another group; IKE_AUTH, with which the
 * first Child SA and the link's configuration come; then it is established. Tasks wait in a queue, since there
 * is one request at a time on an IKE SA. A Child SA is rekeyed by making another, then deleting the old; the
 * IKE SA likewise, and the new one inherits all Child SAs. Both ends may begin the same rekey at once: then both make
 * their SA, and the one that was made with the lowest of the four nonces is deleted by who made it (RFC 7296
 * section 2.8.1). What may not happen at the same time is answered with TEMPORARY_FAILURE and tried again
 * later (section 2.25).
 *
 * RFC 7296; the link by RFC 5739.
 */

import { MalformedError } from "../errors.ts";
import { earliest, type Instant, later } from "../time.ts";
import type { Group, IkeSuite } from "./algorithms.ts";
import { authenticate, distrust, type SignedParts } from "./authentication.ts";
import {
  acceptChild,
  answerChild,
  type ChildMaker,
  type ChildSelectors,
  isOfGroup,
} from "./child-sa.ts";
import {
  buildChildRequest,
  buildChildResponse,
  buildIkeRekey,
  type ChildRequest,
  childSaNotFound,
  type IkeRekeyRequest,
  invalidKePayload,
  processCreateChildSaRequest,
  processCreateChildSaResponse,
} from "./exchanges/create-child-sa.ts";
import {
  type AuthRequest,
  buildIkeAuthRequest,
  buildIkeAuthResponse,
  type ChildPart,
  certificatesOf,
  processIkeAuthRequest,
  processIkeAuthResponse,
  refusal,
} from "./exchanges/ike-auth.ts";
import {
  buildIkeSaInitRequest,
  type InitiatorStart,
  processIkeSaInitResponse,
} from "./exchanges/ike-sa-init.ts";
import { buildInformational, processInformational } from "./exchanges/informational.ts";
import { isSameIdentification } from "./identity.ts";
import { IkeSa, type Received } from "./ike-sa.ts";
import { beginKeyAgreement } from "./key-agreement.ts";
import {
  deriveIkeKeys,
  type IkeKeys,
  initialSkeyseed,
  type Nonces,
  rekeyedSkeyseed,
} from "./keys.ts";
import {
  type Assignment,
  acceptConfiguration,
  grantLink,
  HOME_PROPOSES,
  linkLocalAddress,
  requestConfiguration,
} from "./link.ts";
import type { NatVerdict, Path } from "./nat-detection.ts";
import { childProposals, chooseIke, chosenIkeProposal, ikeProposals } from "./proposals.ts";
import { Retransmission } from "./retransmission.ts";
import {
  addressSelector,
  compareOctets,
  EVERYTHING,
  MULTICAST,
  prefixSelector,
} from "./selectors.ts";
import type {
  AcceptedInit,
  ChildRecord,
  PendingExchange,
  Phase,
  QueuedTask,
  SaRecord,
  SessionRole,
  Task,
  Transcript,
} from "./session-state.ts";
import type {
  ChildSa,
  CloseReason,
  Directory,
  MessageInput,
  PeerPolicy,
  SessionEffect,
  SessionInput,
  SessionPorts,
  SessionSettings,
} from "./session-types.ts";
import {
  decodeIkeHeader,
  ExchangeType,
  formatIkeSpi,
  HEADER_LENGTH,
  IKE_SPI_LENGTH,
  type IkeHeader,
  type IkeSpi,
  ZERO_SPI,
} from "./wire/header.ts";
import { decodePayloads, findError, identificationPayload, type Payload } from "./wire/message.ts";
import { decodePayloadChain } from "./wire/payload-chain.ts";
import { NotifyType } from "./wire/payloads/notify.ts";
import type { TrafficSelector } from "./wire/payloads/traffic-selectors.ts";

/** Where IKE goes once a NAT is known, RFC 7296 section 2.23. */
const IKE_PORT = 500;
const NAT_TRAVERSAL_PORT = 4500;
/** Octets; at least half the PRF's key and 128 bits, section 2.10. */
export const NONCE_LENGTH = 32;
/** How often IKE_SA_INIT is begun again for cookies and groups before it is given up. */
const MAXIMUM_RESTARTS = 5;
/** How long a responder waits for IKE_AUTH. */
const HALF_OPEN_MS = 30_000;
/** TEMPORARY_FAILURE: again after this, and up to as much more, so that the ends do not keep step. */
const TEMPORARY_RETRY_MS = 1_000;
/** How long a replaced SA is kept that the peer should have deleted. */
const REPLACED_MS = 60_000;
/** What an authenticated peer can make us hold. */
const MAXIMUM_CHILDREN = 8;

export class IkeSession {
  readonly #role: SessionRole;
  readonly #settings: SessionSettings;
  readonly #ports: SessionPorts;
  #phase: Phase = { kind: "idle" };
  #path: Path | undefined;
  #encapsulated = false;
  #nat: NatVerdict;
  #records: SaRecord[] = [];
  #children: ChildRecord[] = [];
  #tasks: QueuedTask[] = [];
  #policy: PeerPolicy | undefined;
  #assignment: Assignment | undefined;
  /** What a further Child SA may have. */
  #allowed: ChildSelectors = { local: [], remote: [] };
  #heardAt: Instant | undefined;
  #keepaliveAt: Instant | undefined;
  #effects: SessionEffect[] = [];
  /** Set by a request, done once its answer is on its way. */
  #closing: CloseReason | undefined;
  #gone: SaRecord | undefined;

  constructor(role: SessionRole, settings: SessionSettings, ports: SessionPorts) {
    this.#role = role;
    this.#settings = settings;
    this.#ports = ports;
    if (role.kind === "home") this.#path = role.path;
  }

  /** A gateway's session, after IKE_SA_INIT. */
  static accept(
    directory: Directory,
    init: AcceptedInit,
    context: { settings: SessionSettings; ports: SessionPorts; now: Instant },
  ): { readonly session: IkeSession; readonly effects: SessionEffect[] } {
    const role: SessionRole = { kind: "gateway", directory };
    const session = new IkeSession(role, context.settings, context.ports);
    session.#accepted(init, context.now);
    return { session, effects: session.#take() };
  }

  get isEstablished(): boolean {
    return this.#phase.kind === "established";
  }

  get isClosed(): boolean {
    return this.#phase.kind === "closed";
  }

  get path(): Path | undefined {
    return this.#path;
  }

  get children(): readonly ChildSa[] {
    return this.#children.map((child) => child.sa);
  }

  /** When to call `handleDeadline`, if nothing else happens first. */
  get deadline(): Instant | undefined {
    const phase = this.#phase;
    if (phase.kind === "closed") return undefined;
    let deadline: Instant | undefined;
    if (phase.kind === "init") deadline = phase.retransmission.deadline;
    if (phase.kind === "authenticating") deadline = phase.expiresAt;
    if (phase.kind === "established") deadline = this.#keepaliveAt;
    for (const { sa, overdueAt } of this.#records) {
      deadline = earliest(earliest(deadline, sa.deadline), overdueAt);
    }
    for (const { overdueAt } of this.#children) deadline = earliest(deadline, overdueAt);
    if (this.#current?.sa.isWaiting === false) {
      for (const { notBefore } of this.#tasks) deadline = earliest(deadline, notBefore);
      deadline = earliest(earliest(deadline, this.#probeAt), this.#ikeRekeyAt);
    }
    return deadline;
  }

  handle(input: SessionInput, now: Instant): SessionEffect[] {
    if (this.#phase.kind === "closed") return [];
    switch (input.kind) {
      case "start":
        this.#start(now);
        break;
      case "message":
        this.#receive(input, now);
        break;
      case "rekey-child":
        this.#enqueue({ kind: "rekey-child", spi: input.spi });
        break;
      case "rekey-ike":
        this.#enqueue({ kind: "rekey-ike" });
        break;
      case "create-child":
      case "close":
        this.#enqueue(input);
        break;
      case "delete-child":
        this.#enqueue({ kind: "delete-children", spis: [input.spi] });
        break;
      case "probe":
        this.#enqueue({ kind: "information" });
        break;
      case "ask-reauthentication":
        this.#enqueue({ kind: "information", authLifetime: input.seconds });
        break;
      case "moved":
        this.#move(input.path, now);
        break;
      case "abandon":
        this.#close({ kind: "abandoned" });
        break;
    }
    this.#runTasks(now);
    return this.#take();
  }

  handleDeadline(now: Instant): SessionEffect[] {
    const phase = this.#phase;
    if (phase.kind === "init" && phase.retransmission.deadline <= now) {
      const messages = phase.retransmission.handleDeadline(now);
      if (messages === undefined) {
        this.#close(
          phase.refused === undefined
            ? { kind: "timeout" }
            : { kind: "refused", notifyType: phase.refused },
        );
      } else this.#send(messages);
    }
    if (
      phase.kind === "authenticating" &&
      phase.expiresAt !== undefined &&
      phase.expiresAt <= now
    ) {
      this.#close({ kind: "half-open" });
    }
    for (const record of [...this.#records]) {
      this.#repeat(record, now);
      if (isDue(record.overdueAt, now) && this.#records.includes(record)) this.#forget(record);
    }
    for (const child of this.#children) {
      if (child.overdueAt === undefined || child.overdueAt > now) continue;
      child.overdueAt = undefined;
      this.#enqueue({ kind: "delete-children", spis: [child.sa.inbound.spi] });
    }
    if (isDue(this.#keepaliveAt, now)) this.#keepAlive(now);
    const current = this.#current;
    if (current !== undefined && !current.sa.isWaiting) {
      if (isDue(this.#ikeRekeyAt, now)) this.#enqueue({ kind: "rekey-ike" });
      else if (isDue(this.#probeAt, now)) this.#enqueue({ kind: "information" });
    }
    this.#runTasks(now);
    return this.#take();
  }

  // ---- time

  get #current(): SaRecord | undefined {
    return this.#records.find((record) => record.state === "current");
  }

  get #probeAt(): Instant | undefined {
    const { probeIntervalMs } = this.#settings;
    if (probeIntervalMs === 0 || this.#heardAt === undefined || !this.isEstablished) {
      return undefined;
    }
    return later(this.#heardAt, probeIntervalMs);
  }

  get #ikeRekeyAt(): Instant | undefined {
    const { ikeLifetimeMs } = this.#settings;
    const current = this.#current;
    if (ikeLifetimeMs === 0 || current === undefined || !this.isEstablished) return undefined;
    if (this.#tasks.some(({ task }) => task.kind === "rekey-ike")) return undefined;
    return later(current.bornAt, ikeLifetimeMs);
  }

  /** RFC 3948 section 4: only who is behind a NAT keeps its mapping alive. */
  #keepAlive(now: Instant): void {
    const { keepaliveMs } = this.#settings;
    if (this.#path === undefined || !this.isEstablished) return;
    this.#emit({ kind: "keepalive", path: this.#path });
    this.#keepaliveAt = later(now, keepaliveMs);
  }

  #repeat(record: SaRecord, now: Instant): void {
    const repetition = record.sa.handleDeadline(now);
    if (repetition?.kind === "repeat") this.#send(repetition.messages);
    if (repetition?.kind !== "gave-up") return;
    if (record.state === "current") {
      const asked = record.exchange?.kind === "delete-ike";
      this.#close(asked ? { kind: "asked" } : { kind: "timeout" });
    } else this.#forget(record);
  }

  // ---- IKE_SA_INIT of a home

  #start(now: Instant): void {
    if (this.#role.kind !== "home" || this.#phase.kind !== "idle") return;
    const [suite] = this.#settings.ikeSuites;
    if (suite === undefined) throw new RangeError("no suite");
    const spi = this.#newIkeSpi();
    this.#emit({ kind: "listen", spi });
    this.#ask(
      {
        spi,
        suites: this.#settings.ikeSuites,
        agreement: beginKeyAgreement(suite.group, this.#ports.random),
        nonce: this.#ports.random(NONCE_LENGTH),
        path: this.#role.path,
        ...(this.#settings.forceEncapsulation ? { disguise: this.#ports.random(20) } : {}),
      },
      0,
      now,
    );
  }

  #ask(start: InitiatorStart, restarts: number, now: Instant): void {
    const request = buildIkeSaInitRequest(start);
    const retransmission = new Retransmission([request], this.#settings.times, now);
    const refused = undefined;
    this.#phase = { kind: "init", start, request, retransmission, restarts, refused };
    this.#send([request]);
  }

  #answered(header: IkeHeader, message: Uint8Array, now: Instant): void {
    const phase = this.#phase;
    if (phase.kind !== "init" || !header.response || header.exchange !== ExchangeType.ikeSaInit) {
      this.#emit({ kind: "dropped", reason: "unexpected-response" });
      return;
    }
    const { start } = phase;
    const chain = decodePayloadChain(header.nextPayload, message.subarray(HEADER_LENGTH));
    const { payloads, unsupportedCritical } = decodePayloads(chain.payloads);
    if (unsupportedCritical.length > 0) {
      this.#emit({ kind: "dropped", reason: "malformed" });
      return;
    }
    const answer = processIkeSaInitResponse(header, payloads, start);
    switch (answer.kind) {
      case "cookie":
      case "other-group": {
        if (phase.restarts === MAXIMUM_RESTARTS) return;
        const next =
          answer.kind === "cookie"
            ? { ...start, cookie: answer.cookie }
            : { ...start, agreement: beginKeyAgreement(answer.group, this.#ports.random) };
        this.#ask(next, phase.restarts + 1, now);
        break;
      }
      case "refused":
        // Anyone can send this (section 2.21.1): it is told, and the real answer is waited for.
        this.#phase = { ...phase, refused: answer.notifyType };
        this.#emit({ kind: "hint", notifyType: answer.notifyType });
        break;
      case "accepted": {
        const nonces = { initiator: start.nonce, responder: answer.nonce };
        const transcript = { request: phase.request, response: message, nonces };
        this.#establishKeys(
          {
            isInitiator: true,
            initiatorSpi: start.spi,
            responderSpi: answer.responderSpi,
            hello: answer,
            agreement: start.agreement,
            transcript,
          },
          now,
        );
        const isTranslated = answer.nat?.local === true || answer.nat?.remote === true;
        if (isTranslated || this.#settings.forceEncapsulation) this.#float();
        this.#phase = { kind: "authenticating", transcript, expiresAt: undefined };
        this.#authenticate(transcript, now);
        break;
      }
    }
  }

  /** To the port where UDP encapsulation happens, section 2.23. */
  #float(): void {
    const path = this.#path;
    if (path === undefined || path.remote.port !== IKE_PORT) return;
    this.#encapsulated = true;
    this.#path = {
      local: { ...path.local, port: NAT_TRAVERSAL_PORT },
      remote: { ...path.remote, port: NAT_TRAVERSAL_PORT },
    };
  }

  #accepted(init: AcceptedInit, now: Instant): void {
    this.#path = init.path;
    this.#encapsulated = init.encapsulated;
    this.#establishKeys({ isInitiator: false, ...init }, now);
    this.#phase = {
      kind: "authenticating",
      transcript: init.transcript,
      expiresAt: later(now, HALF_OPEN_MS),
    };
    this.#emit({ kind: "listen", spi: init.responderSpi });
  }

  /** Throws `MalformedError` `public-value`. */
  #establishKeys(
    init: Omit<AcceptedInit, "path" | "encapsulated"> & { readonly isInitiator: boolean },
    now: Instant,
  ): void {
    const { suite } = init.hello.chosen;
    const { nonces } = init.transcript;
    const secret = init.agreement.sharedSecret(init.hello.publicValue);
    this.#nat = init.hello.nat;
    this.#addRecord(
      {
        isInitiator: init.isInitiator,
        initiatorSpi: init.initiatorSpi,
        responderSpi: init.responderSpi,
        suite,
        keys: deriveIkeKeys({
          suite,
          skeyseed: initialSkeyseed(suite.prf, nonces, secret),
          nonces,
          initiatorSpi: init.initiatorSpi,
          responderSpi: init.responderSpi,
        }),
        // IKE_SA_INIT was 0 of the initiator; the responder has not asked anything yet.
        firstMessageIds: init.isInitiator ? { ours: 1, peers: 0 } : { ours: 0, peers: 1 },
        fragmentation: init.hello.fragmentation,
      },
      "current",
      now,
    );
  }

  // ---- messages

  #receive(input: MessageInput, now: Instant): void {
    try {
      const header = decodeIkeHeader(input.message);
      const record = this.#records.find(
        ({ sa }) =>
          sa.initiatorSpi === header.initiatorSpi && sa.responderSpi === header.responderSpi,
      );
      if (record === undefined) this.#answered(header, input.message, now);
      else this.#received(record, record.sa.receive(header, input.message), input, now);
    } catch (error) {
      if (!(error instanceof MalformedError)) throw error;
      this.#emit({ kind: "dropped", reason: "malformed" });
    }
  }

  #received(record: SaRecord, received: Received, input: MessageInput, now: Instant): void {
    if (received.kind === "drop") {
      this.#emit({ kind: "dropped", reason: received.reason });
      if (received.reason === "not-encrypted") this.#hint(record, input.message);
    }
    if (received.kind === "drop" || received.kind === "fragment") return;
    record.isConfirmed = true;
    this.#heardAt = now;
    if (received.kind === "repeated") {
      this.#sendTo(input, received.answer);
      return;
    }
    if (received.kind === "response") {
      this.#processResponse(record, received.payloads, input, now);
      return;
    }
    if (received.kind === "invalid") {
      if (!received.response) {
        this.#sendTo(
          input,
          record.sa.respond(received.exchange, refusal(NotifyType.invalidSyntax)),
        );
      }
      // Section 2.21.3: a peer that breaks the format is not spoken to any more.
      this.#close({ kind: "protocol-error", code: received.error.code });
      return;
    }
    this.#follow(input);
    const [critical] = received.unsupportedCritical;
    const answer =
      critical === undefined
        ? this.#processRequest(record, received.exchange, received.payloads, input, now)
        : refusal(NotifyType.unsupportedCriticalPayload, Uint8Array.of(critical));
    this.#sendTo(input, record.sa.respond(received.exchange, answer));
    this.#afterRequest();
  }

  /** An answer in the clear, such as INVALID_IKE_SPI of a gateway that has begun anew. Anyone can send it. */
  #hint(record: SaRecord, message: Uint8Array): void {
    const { nextPayload } = decodeIkeHeader(message);
    const chain = decodePayloadChain(nextPayload, message.subarray(HEADER_LENGTH));
    const error = findError(decodePayloads(chain.payloads).payloads);
    if (error === undefined) return;
    if (record.exchange?.kind === "delete-ike" && error.type === NotifyType.invalidIkeSpi) {
      // What we want to be rid of is not there: the answer to our delete was lost.
      if (record.state === "current") this.#close({ kind: "asked" });
      else this.#forget(record);
      return;
    }
    // A new IKE SA of which the peer has not heard yet is unknown to it for a good reason.
    if (record.isConfirmed) this.#emit({ kind: "hint", notifyType: error.type });
  }

  /** A fresh, authentic request came from elsewhere: that is where the peer is (section 2.23). */
  #follow(input: MessageInput): void {
    const before = this.#path;
    const { path } = input;
    if (this.#role.kind !== "gateway" || before === undefined) return;
    this.#encapsulated = input.encapsulated;
    this.#path = path;
    if (
      before.remote.address !== path.remote.address ||
      before.remote.port !== path.remote.port ||
      before.local.address !== path.local.address
    ) {
      this.#emit({ kind: "peer-moved", path });
    }
  }

  /** What has to wait until the answer is on its way. */
  #afterRequest(): void {
    if (this.#closing !== undefined) this.#close(this.#closing);
    if (this.#gone !== undefined) this.#forget(this.#gone);
    this.#gone = undefined;
  }

  #processRequest(
    record: SaRecord,
    exchange: number,
    payloads: readonly Payload[],
    input: MessageInput,
    now: Instant,
  ): Payload[] {
    try {
      if (exchange === ExchangeType.ikeAuth && this.#phase.kind === "authenticating") {
        return this.#processAuth(record, payloads, input.wallTime);
      }
      if (exchange === ExchangeType.createChildSa && this.#phase.kind === "established") {
        const request = processCreateChildSaRequest(payloads);
        return request.kind === "ike"
          ? this.#processIkeRekey(record, request, now)
          : this.#processChild(record, request, now);
      }
      if (exchange === ExchangeType.informational) {
        return this.#processInformation(record, payloads, now);
      }
      this.#closing = { kind: "protocol-error", code: "unexpected-exchange" };
    } catch (error) {
      if (!(error instanceof MalformedError)) throw error;
      this.#closing = { kind: "protocol-error", code: error.code };
    }
    return refusal(NotifyType.invalidSyntax);
  }

  #processResponse(
    record: SaRecord,
    payloads: readonly Payload[],
    input: MessageInput,
    now: Instant,
  ): void {
    const { exchange } = record;
    record.exchange = undefined;
    try {
      switch (exchange?.kind) {
        case "auth":
          this.#authAnswered(record, exchange.spi, payloads, input.wallTime);
          if (this.#settings.keepaliveMs > 0 && this.#nat?.local === true) {
            this.#keepaliveAt = later(now, this.#settings.keepaliveMs);
          }
          break;
        case "child":
          this.#childAnswered(record, exchange, payloads, now);
          break;
        case "ike":
          this.#ikeRekeyAnswered(record, exchange, payloads, now);
          break;
        case "delete-children":
          this.#removeChildren(exchange.spis);
          break;
        case "delete-ike":
          if (record.state === "current") this.#close({ kind: "asked" });
          else this.#forget(record);
          break;
        case "information":
        case undefined:
          break;
      }
    } catch (error) {
      if (!(error instanceof MalformedError)) throw error;
      // Section 2.21: no answer to an answer, but what it was about is at an end.
      this.#deleteIkeSa(record, now);
      if (record.state === "current" || this.#current === undefined) {
        this.#close({ kind: "protocol-error", code: error.code });
      }
    }
  }

  // ---- IKE_AUTH

  #authenticate(transcript: Transcript, now: Instant): void {
    const record = this.#current;
    if (this.#role.kind !== "home" || record === undefined) return;
    const { options } = this.#role;
    const identification = identificationPayload("IDi", options.identity);
    const spi = this.#ports.allocateSpi();
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
        proposals: childProposals(this.#settings.childSuites, spi, { withGroups: false }),
        initiatorSelectors: HOME_PROPOSES,
        responderSelectors: [EVERYTHING],
      },
    });
    record.exchange = { kind: "auth", spi };
    this.#send(record.sa.request(ExchangeType.ikeAuth, payloads, now));
  }

  /** The gateway's part. */
  #processAuth(record: SaRecord, payloads: readonly Payload[], wallTime: number): Payload[] {
    const phase = this.#phase;
    if (this.#role.kind !== "gateway" || phase.kind !== "authenticating") {
      throw new MalformedError("ikev2", "unexpected-exchange", "IKE_AUTH by a gateway");
    }
    const { directory } = this.#role;
    const request = processIkeAuthRequest(payloads);
    const peer = request.identification.identification;
    const policy = directory.findPeer(peer, request.wanted?.identification);
    const { transcript } = phase;
    const proof = {
      authentication: request.authentication,
      identification: peer,
      certificates: request.certificates,
      parts: signedBy("initiator", record.sa, transcript, request.identification.body),
      wallTime,
    };
    const why = policy === undefined ? "unknown-identity" : distrust(policy.trust, proof);
    if (policy === undefined || why !== undefined) {
      this.#closing = { kind: "not-authentic", why: why ?? "unknown-identity" };
      return refusal(NotifyType.authenticationFailed);
    }
    this.#phase = { kind: "established" };
    this.#policy = policy;
    const identification = identificationPayload("IDr", policy.identity);
    const granted = this.#grant(record, request, policy, directory, transcript.nonces);
    this.#emit({
      kind: "established",
      peer,
      initialContact: request.initialContact,
      assignment: this.#assignment,
      nat: this.#nat,
    });
    if (granted.record !== undefined) this.#created(granted.record, undefined, "deferred");
    return buildIkeAuthResponse({
      identification,
      authentication: authenticate(
        policy.credential,
        signedBy("responder", record.sa, transcript, identification.body),
      ),
      certificates: certificatesOf(policy.credential),
      configuration: granted.configuration,
      child: granted.child,
      authLifetime: policy.authLifetime,
    });
  }

  /** The link and the first Child SA, or why not. */
  #grant(
    record: SaRecord,
    request: AuthRequest,
    policy: PeerPolicy,
    directory: Directory,
    nonces: Nonces,
  ) {
    const none = { configuration: undefined, record: undefined };
    if (request.configuration === undefined) {
      return { ...none, child: NotifyType.failedCpRequired as number };
    }
    const grant = grantLink(request.configuration, policy.link, (requested) =>
      directory.claimLink(request.identification.identification, requested),
    );
    if (grant === undefined) {
      return { ...none, child: NotifyType.internalAddressFailure as number };
    }
    this.#assignment = grant.assignment;
    this.#allowed = { local: [EVERYTHING], remote: grant.homeSelectors };
    const made = answerChild(this.#maker(record), request.child, undefined, this.#allowed, {
      nonces,
      withGroups: false,
    });
    if (typeof made === "number") return { ...none, child: made };
    // There is no key exchange of its own that could be of the wrong group.
    if ("invalidKe" in made) return { ...none, child: NotifyType.noProposalChosen as number };
    return { configuration: grant.reply, record: recordOf(made.sa), child: made.child };
  }

  /** The home's part. */
  #authAnswered(
    record: SaRecord,
    spi: number,
    payloads: readonly Payload[],
    wallTime: number,
  ): void {
    const phase = this.#phase;
    if (this.#role.kind !== "home" || phase.kind !== "authenticating") return;
    const { options } = this.#role;
    const { transcript } = phase;
    const response = processIkeAuthResponse(payloads);
    if (typeof response === "number") {
      this.#close({ kind: "refused", notifyType: response });
      return;
    }
    const peer = response.identification.identification;
    const why = isSameIdentification(peer, options.peerIdentity)
      ? distrust(options.trust, {
          authentication: response.authentication,
          identification: peer,
          certificates: response.certificates,
          parts: signedBy("responder", record.sa, transcript, response.identification.body),
          wallTime,
        })
      : "unknown-identity";
    if (why !== undefined) {
      this.#close({ kind: "not-authentic", why });
      return;
    }
    this.#phase = { kind: "established" };
    const { configuration } = response;
    const assignment =
      configuration === undefined ? undefined : acceptConfiguration(options.link, configuration);
    this.#assignment = assignment;
    const established = {
      kind: "established",
      peer,
      initialContact: false,
      assignment,
      nat: this.#nat,
    } as const;
    this.#emit(established);
    if (response.authLifetime !== undefined) {
      this.#emit({ kind: "reauthenticate", withinMs: response.authLifetime * 1000 });
    }
    if (typeof response.child === "number") {
      this.#emit({ kind: "child-refused", notifyType: response.child, rekeyed: undefined });
      return;
    }
    if (assignment !== undefined) {
      this.#allowed = { local: homeSelectors(assignment), remote: [EVERYTHING] };
    }
    const accepted = acceptChild(this.#maker(record), response.child, {
      spi,
      nonces: transcript.nonces,
      withGroups: false,
      proposed: { local: HOME_PROPOSES, remote: [EVERYTHING] },
    });
    // Nothing to send from, or something we did not ask for: the SA cannot be used.
    if (assignment === undefined || accepted === undefined) {
      this.#enqueue({ kind: "close" });
      this.#emit({
        kind: "child-refused",
        notifyType: NotifyType.internalAddressFailure,
        rekeyed: undefined,
      });
      return;
    }
    this.#created(recordOf(accepted), undefined, "now");
  }

  // ---- CREATE_CHILD_SA for Child SAs

  #requestChild(record: SaRecord, task: Task, now: Instant): void {
    if (task.kind !== "rekey-child" && task.kind !== "create-child") return;
    const rekeyed = task.kind === "rekey-child" ? this.#childOf(task.spi) : undefined;
    if (task.kind === "rekey-child" && rekeyed?.state !== "installed") return;
    const selectors =
      task.kind === "create-child"
        ? { local: task.localSelectors, remote: task.remoteSelectors }
        : {
            local: rekeyed?.sa.localSelectors ?? [],
            remote: rekeyed?.sa.remoteSelectors ?? [],
          };
    const wanted = task.kind === "rekey-child" ? task.group : undefined;
    const group = wanted ?? this.#settings.childSuites[0]?.group;
    const suites = this.#settings.childSuites.filter((suite) => suite.group === group);
    const agreement =
      group === undefined ? undefined : beginKeyAgreement(group, this.#ports.random);
    const spi = this.#ports.allocateSpi();
    const nonce = this.#ports.random(NONCE_LENGTH);
    const child: ChildPart = {
      proposals: childProposals(suites, spi, { withGroups: true }),
      initiatorSelectors: selectors.local,
      responderSelectors: selectors.remote,
    };
    if (rekeyed !== undefined) rekeyed.state = "rekeying";
    record.exchange = { kind: "child", task, spi, nonce, agreement, child, rekeyed };
    const payloads = buildChildRequest({
      child,
      nonce,
      agreement,
      rekeyed: rekeyed?.sa.inbound.spi,
      linkId: this.#linkId,
    });
    this.#send(record.sa.request(ExchangeType.createChildSa, payloads, now));
  }

  #processChild(record: SaRecord, request: ChildRequest, now: Instant): Payload[] {
    const old =
      request.rekeyed === undefined
        ? undefined
        : this.#children.find((child) => child.sa.outbound.spi === request.rekeyed);
    const refused = this.#refusalOfChild(record, request, old);
    if (refused !== undefined) return refused;
    const nonce = this.#ports.random(NONCE_LENGTH);
    const nonces = { initiator: request.nonce, responder: nonce };
    const allowed =
      old === undefined
        ? this.#allowedFurther
        : { local: old.sa.localSelectors, remote: old.sa.remoteSelectors };
    const made = answerChild(this.#maker(record), request.child, request.keyExchange, allowed, {
      nonces,
      withGroups: true,
    });
    if (typeof made === "number") return refusal(made);
    if ("invalidKe" in made) return [invalidKePayload(made.invalidKe)];
    const { agreement, child } = made;
    const next = recordOf(made.sa);
    this.#created(next, old?.sa.inbound.spi, "deferred");
    if (old !== undefined) {
      old.successor = next;
      if (old.state === "rekeying") old.rival = { record: next, nonces };
      else {
        old.state = "replaced";
        old.overdueAt = later(now, REPLACED_MS);
      }
    }
    return buildChildResponse({ child, nonce, agreement });
  }

  /** Section 2.25, and RFC 5739 section 4.3. */
  #refusalOfChild(
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
    // Without the Link ID it is about the real interface, for which nobody may ask anything.
    const linkId = this.#linkId;
    const isOfLink =
      linkId === undefined ||
      (request.linkId !== undefined && compareOctets(linkId, request.linkId) === 0);
    if (!isOfLink) return refusal(NotifyType.tsUnacceptable);
    if (this.#children.length >= MAXIMUM_CHILDREN) return refusal(NotifyType.noAdditionalSas);
    return undefined;
  }

  #childAnswered(
    record: SaRecord,
    exchange: Extract<PendingExchange, { kind: "child" }>,
    payloads: readonly Payload[],
    now: Instant,
  ): void {
    const { rekeyed } = exchange;
    const response = processCreateChildSaResponse(payloads);
    if (response.kind === "refused") {
      this.#childRefused(exchange, response.notifyType, response.group, now);
      return;
    }
    if (response.kind === "ike") throw new MalformedError("ikev2", "wrong-protocol", "not ESP");
    const nonces = { initiator: exchange.nonce, responder: response.nonce };
    const accepted = acceptChild(this.#maker(record), response.child, {
      spi: exchange.spi,
      nonces,
      withGroups: true,
      proposed: {
        local: exchange.child.initiatorSelectors,
        remote: exchange.child.responderSelectors,
      },
      ...(exchange.agreement === undefined ? {} : { agreement: exchange.agreement }),
      ...(response.keyExchange === undefined ? {} : { keyExchange: response.keyExchange }),
    });
    if (accepted === undefined) {
      // The peer has an SA that we cannot use.
      if (rekeyed?.state === "rekeying") rekeyed.state = "installed";
      this.#enqueue({ kind: "delete-children", spis: [exchange.spi] });
      this.#emit({
        kind: "child-refused",
        notifyType: NotifyType.noProposalChosen,
        rekeyed: rekeyed?.sa.inbound.spi,
      });
      return;
    }
    const made = recordOf(accepted);
    this.#created(made, rekeyed?.sa.inbound.spi, "now", rekeyed?.rival === undefined);
    if (rekeyed === undefined) return;
    this.#settleChildRekey(rekeyed, made, nonces, now);
  }

  /** Two rekeys of one SA at once, section 2.8.1; or just ours. */
  #settleChildRekey(old: ChildRecord, ours: ChildRecord, nonces: Nonces, now: Instant): void {
    const { rival } = old;
    old.rival = undefined;
    if (rival !== undefined && compareOctets(lowest(nonces), lowest(rival.nonces)) < 0) {
      // Ours was made with the lowest nonce: it goes, and the peer deletes the old one.
      this.#enqueueFirst({ kind: "delete-children", spis: [ours.sa.inbound.spi] });
      ours.state = "deleting";
      old.state = "replaced";
      old.overdueAt = later(now, REPLACED_MS);
      return;
    }
    if (rival !== undefined) {
      // The peer deletes the one it has made; ours is used.
      rival.record.state = "replaced";
      rival.record.overdueAt = later(now, REPLACED_MS);
      old.successor = undefined;
      this.#emit({ kind: "child-outbound", spi: ours.sa.inbound.spi });
    }
    if (!this.#children.includes(old)) return;
    old.state = "deleting";
    old.overdueAt = undefined;
    this.#enqueueFirst({ kind: "delete-children", spis: [old.sa.inbound.spi] });
  }

  #childRefused(
    exchange: Extract<PendingExchange, { kind: "child" }>,
    notifyType: number,
    group: Group | undefined,
    now: Instant,
  ): void {
    const { rekeyed, task } = exchange;
    const { rival } = rekeyed ?? {};
    if (rekeyed !== undefined) rekeyed.rival = undefined;
    if (rekeyed !== undefined && rival !== undefined) {
      // The peer's rekey of the same SA holds.
      rekeyed.state = "replaced";
      rekeyed.overdueAt = later(now, REPLACED_MS);
      return;
    }
    if (rekeyed?.state === "rekeying") rekeyed.state = "installed";
    const isGone = rekeyed !== undefined && !this.#children.includes(rekeyed);
    if (isGone) return;
    switch (notifyType) {
      case NotifyType.temporaryFailure:
        this.#enqueueLater(task, now);
        return;
      case NotifyType.childSaNotFound:
        if (rekeyed === undefined) break;
        // The peer does not have it: nor have we, and it is made anew (section 2.25).
        this.#removeChildren([rekeyed.sa.inbound.spi]);
        this.#enqueue({
          kind: "create-child",
          localSelectors: rekeyed.sa.localSelectors,
          remoteSelectors: rekeyed.sa.remoteSelectors,
        });
        return;
      case NotifyType.invalidKePayload: {
        const isOurs = this.#settings.childSuites.some((suite) => suite.group === group);
        const isNew = group !== undefined && group !== exchange.agreement?.group;
        if (task.kind !== "rekey-child" || !isOurs || !isNew) break;
        this.#enqueueFirst({ ...task, group });
        return;
      }
    }
    this.#emit({ kind: "child-refused", notifyType, rekeyed: rekeyed?.sa.inbound.spi });
  }

  /** What a Child SA is made with. */
  #maker({ sa }: SaRecord): ChildMaker {
    return {
      suites: this.#settings.childSuites,
      random: this.#ports.random,
      allocateSpi: this.#ports.allocateSpi,
      prf: sa.suite.prf,
      d: sa.keys.d,
      encapsulation: this.#isTranslated || this.#settings.forceEncapsulation ? "udp" : "esp",
    };
  }

  #created(
    child: ChildRecord,
    replaces: number | undefined,
    outbound: "now" | "deferred",
    isAlone = true,
  ): void {
    this.#children.push(child);
    this.#emit({
      kind: "child-created",
      child: child.sa,
      replaces,
      // With a rival it is not known yet which of the two stays.
      outbound: isAlone ? outbound : "deferred",
    });
  }

  #removeChildren(spis: readonly number[]): void {
    for (const spi of spis) {
      const child = this.#childOf(spi);
      if (child === undefined) continue;
      this.#children = this.#children.filter((one) => one !== child);
      const { successor } = child;
      if (successor !== undefined && this.#children.includes(successor)) {
        this.#emit({ kind: "child-outbound", spi: successor.sa.inbound.spi });
      }
      this.#emit({ kind: "child-deleted", spi });
    }
  }

  // ---- CREATE_CHILD_SA for the IKE SA

  #requestIkeRekey(record: SaRecord, task: Task, now: Instant): void {
    if (task.kind !== "rekey-ike") return;
    const group = task.group ?? record.sa.suite.group;
    // What is in use goes first, so that the group of the first key exchange is likely right.
    const suites = [{ ...record.sa.suite, group }, ...this.#settings.ikeSuites].filter(
      (suite, index, all) => all.findIndex((one) => isSameSuite(one, suite)) === index,
    );
    const agreement = beginKeyAgreement(group, this.#ports.random);
    const nonce = this.#ports.random(NONCE_LENGTH);
    const spi = this.#newIkeSpi();
    record.exchange = { kind: "ike", task, spi, nonce, agreement, suites };
    const payloads = buildIkeRekey({ proposals: ikeProposals(suites, spi), nonce, agreement });
    this.#send(record.sa.request(ExchangeType.createChildSa, payloads, now));
  }

  #processIkeRekey(record: SaRecord, request: IkeRekeyRequest, now: Instant): Payload[] {
    const pending = record.exchange?.kind;
    const isBusy =
      record.state !== "current" ||
      pending === "child" ||
      pending === "delete-children" ||
      pending === "delete-ike" ||
      record.rival !== undefined;
    if (isBusy) return refusal(NotifyType.temporaryFailure);
    const chosen = chooseIke(request.proposals, this.#settings.ikeSuites);
    if (chosen === undefined || chosen.spi.length !== IKE_SPI_LENGTH) {
      return refusal(NotifyType.noProposalChosen);
    }
    if (!isOfGroup(request.keyExchange, chosen.suite.group)) {
      return [invalidKePayload(chosen.suite.group)];
    }
    const agreement = beginKeyAgreement(chosen.suite.group, this.#ports.random);
    const nonce = this.#ports.random(NONCE_LENGTH);
    const spi = this.#newIkeSpi();
    const nonces = { initiator: request.nonce, responder: nonce };
    const next = this.#addSuccessor(
      record,
      {
        isInitiator: false,
        initiatorSpi: formatIkeSpi(chosen.spi),
        responderSpi: spi,
        suite: chosen.suite,
        nonces,
        secret: agreement.sharedSecret(request.keyExchange.publicValue),
      },
      now,
    );
    if (pending === "ike") record.rival = { record: next, nonces };
    else this.#succeed(record, next, now);
    return buildIkeRekey({ proposals: [chosenIkeProposal(chosen, spi)], nonce, agreement });
  }

  #ikeRekeyAnswered(
    record: SaRecord,
    exchange: Extract<PendingExchange, { kind: "ike" }>,
    payloads: readonly Payload[],
    now: Instant,
  ): void {
    const response = processCreateChildSaResponse(payloads);
    const { rival } = record;
    record.rival = undefined;
    if (response.kind === "refused") {
      if (rival !== undefined) this.#succeed(record, rival.record, now);
      else this.#ikeRekeyRefused(exchange, response.notifyType, response.group, now);
      return;
    }
    if (response.kind === "child") throw new MalformedError("ikev2", "wrong-protocol", "not IKE");
    const { proposals, keyExchange } = response;
    const chosen = proposals.length === 1 ? chooseIke(proposals, exchange.suites) : undefined;
    if (chosen === undefined || !isOfGroup(keyExchange, exchange.agreement.group)) {
      throw new MalformedError("ikev2", "unacceptable-proposal", "rekey of the IKE SA");
    }
    const nonces = { initiator: exchange.nonce, responder: response.nonce };
    const ours = this.#addSuccessor(
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
    if (rival !== undefined && compareOctets(lowest(nonces), lowest(rival.nonces)) < 0) {
      // Ours was made with the lowest nonce: it goes, and the peer deletes the old one.
      this.#succeed(record, rival.record, now);
      this.#deleteIkeSa(ours, now);
      return;
    }
    if (rival !== undefined) rival.record.overdueAt = later(now, REPLACED_MS);
    this.#succeed(record, ours, now);
    this.#deleteIkeSa(record, now);
  }

  #ikeRekeyRefused(
    exchange: Extract<PendingExchange, { kind: "ike" }>,
    notifyType: number,
    group: Group | undefined,
    now: Instant,
  ): void {
    if (notifyType === NotifyType.temporaryFailure) {
      this.#enqueueLater(exchange.task, now);
      return;
    }
    const isOurs = exchange.suites.some((suite) => suite.group === group);
    if (group !== undefined && isOurs && group !== exchange.agreement.group) {
      this.#enqueueFirst({ kind: "rekey-ike", group });
      return;
    }
    this.#emit({ kind: "hint", notifyType });
  }

  #addSuccessor(
    record: SaRecord,
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
    const { sa } = record;
    const old = { prf: sa.suite.prf, d: sa.keys.d };
    const skeyseed = rekeyedSkeyseed(old, next.nonces, next.secret);
    const keys = deriveIkeKeys({ ...next, skeyseed });
    const added = this.#addRecord(
      {
        ...next,
        keys,
        // A new IKE SA counts from zero, section 2.18.
        firstMessageIds: { ours: 0, peers: 0 },
        fragmentation: sa.fragmentation,
      },
      "candidate",
      now,
    );
    this.#emit({ kind: "listen", spi: added.sa.localSpi });
    return added;
  }

  /** From here on `next` is the IKE SA; the Child SAs are its own. */
  #succeed(old: SaRecord, next: SaRecord, now: Instant): void {
    old.state = "replaced";
    old.overdueAt = later(now, REPLACED_MS);
    next.state = "current";
    this.#emit({ kind: "ike-rekeyed" });
  }

  #addRecord(
    options: {
      readonly isInitiator: boolean;
      readonly initiatorSpi: IkeSpi;
      readonly responderSpi: IkeSpi;
      readonly suite: IkeSuite;
      readonly keys: IkeKeys;
      readonly firstMessageIds: { readonly ours: number; readonly peers: number };
      readonly fragmentation: boolean;
    },
    state: SaRecord["state"],
    now: Instant,
  ): SaRecord {
    const { fragmentLimit, times } = this.#settings;
    const sa = new IkeSa({ ...options, fragmentLimit, times, random: this.#ports.random });
    const record: SaRecord = {
      sa,
      bornAt: now,
      state,
      exchange: undefined,
      isConfirmed: false,
      overdueAt: undefined,
      rival: undefined,
    };
    this.#records.push(record);
    if (this.#settings.revealKeys) {
      const { initiatorSpi, responderSpi, suite, keys } = options;
      this.#emit({ kind: "keys", initiatorSpi, responderSpi, suite, keys });
    }
    return record;
  }

  #deleteIkeSa(record: SaRecord, now: Instant): void {
    if (record.sa.isWaiting) return;
    if (record.state !== "current") record.state = "closing";
    record.exchange = { kind: "delete-ike" };
    const payloads = buildInformational({ deletesIkeSa: true });
    this.#send(record.sa.request(ExchangeType.informational, payloads, now));
  }

  #forget(record: SaRecord): void {
    this.#records = this.#records.filter((one) => one !== record);
    this.#emit({ kind: "unlisten", spi: record.sa.localSpi });
  }

  // ---- INFORMATIONAL

  #processInformation(record: SaRecord, payloads: readonly Payload[], now: Instant): Payload[] {
    const information = processInformational(payloads);
    if (this.#phase.kind !== "established") {
      if (information.deletesIkeSa) this.#closing = { kind: "by-peer" };
      return [];
    }
    if (information.deletesIkeSa) {
      this.#deletedByPeer(record, now);
      return [];
    }
    if (information.authLifetime !== undefined && this.#role.kind === "home") {
      this.#emit({ kind: "reauthenticate", withinMs: information.authLifetime * 1000 });
    }
    const deleted: number[] = [];
    for (const peerSpi of information.deletedChildren) {
      const child = this.#children.find((one) => one.sa.outbound.spi === peerSpi);
      if (child === undefined) continue;
      // Both delete it at once: each says so without naming it again (section 2.25.1).
      if (child.state !== "deleting") deleted.push(child.sa.inbound.spi);
      this.#removeChildren([child.sa.inbound.spi]);
    }
    return buildInformational({ deletedChildren: deleted });
  }

  #deletedByPeer(record: SaRecord, now: Instant): void {
    const { rival } = record;
    if (record.state === "current" && rival !== undefined) {
      // We were rekeying too; the peer's SA has won before our answer came (section 2.25.2).
      record.exchange = undefined;
      this.#succeed(record, rival.record, now);
    }
    if (record.state === "current") this.#closing = { kind: "by-peer" };
    else this.#gone = record;
  }

  // ---- tasks

  #runTasks(now: Instant): void {
    for (;;) {
      const current = this.#current;
      if (this.#phase.kind !== "established" || current === undefined || current.sa.isWaiting) {
        this.#closeEarly();
        return;
      }
      const index = this.#tasks.findIndex(({ notBefore }) => isDue(notBefore ?? now, now));
      const [next] = index < 0 ? [] : this.#tasks.splice(index, 1);
      if (next === undefined) return;
      this.#run(current, next.task, now);
    }
  }

  /** Before there is an IKE SA there is nobody to say goodbye to. */
  #closeEarly(): void {
    const isEarly = this.#phase.kind !== "established" && this.#phase.kind !== "closed";
    if (isEarly && this.#tasks.some(({ task }) => task.kind === "close")) {
      this.#close({ kind: "asked" });
    }
  }

  #run(record: SaRecord, task: Task, now: Instant): void {
    switch (task.kind) {
      case "rekey-child":
      case "create-child":
        this.#requestChild(record, task, now);
        break;
      case "rekey-ike":
        this.#requestIkeRekey(record, task, now);
        break;
      case "delete-children": {
        const spis = task.spis;
        const payloads = buildInformational({ deletedChildren: spis });
        for (const spi of spis) {
          const child = this.#childOf(spi);
          if (child !== undefined) child.state = "deleting";
        }
        record.exchange = { kind: "delete-children", spis };
        this.#send(record.sa.request(ExchangeType.informational, payloads, now));
        break;
      }
      case "information": {
        const { authLifetime } = task;
        const payloads = buildInformational(authLifetime === undefined ? {} : { authLifetime });
        record.exchange = { kind: "information" };
        this.#send(record.sa.request(ExchangeType.informational, payloads, now));
        break;
      }
      case "close":
        this.#deleteIkeSa(record, now);
        break;
    }
  }

  #enqueue(task: Task): void {
    this.#tasks.push({ task, notBefore: undefined });
  }

  #enqueueFirst(task: Task): void {
    this.#tasks.unshift({ task, notBefore: undefined });
  }

  #enqueueLater(task: Task, now: Instant): void {
    const [jitter = 0] = this.#ports.random(1);
    const waitMs = TEMPORARY_RETRY_MS * (1 + jitter / 256);
    this.#tasks.push({ task, notBefore: later(now, waitMs) });
  }

  // ---- the rest

  #move(path: Partial<Path>, now: Instant): void {
    if (this.#path === undefined) return;
    this.#path = { ...this.#path, ...path };
    const phase = this.#phase;
    if (phase.kind === "init") {
      // The hashes of NAT detection hold the old address: ask anew.
      this.#ask({ ...phase.start, path: this.#path }, phase.restarts, now);
      return;
    }
    for (const { sa } of this.#records) this.#send(sa.repeatNow(now));
    const current = this.#current;
    // A request tells a gateway where its home is now.
    if (this.#role.kind === "home" && current?.sa.isWaiting === false) {
      this.#enqueue({ kind: "information" });
    }
  }

  #close(reason: CloseReason): void {
    if (this.#phase.kind === "closed") return;
    this.#removeChildren(this.#children.map(({ sa }) => sa.inbound.spi));
    const spis = this.#records.map(({ sa }) => sa.localSpi);
    if (this.#phase.kind === "init") spis.push(this.#phase.start.spi);
    this.#phase = { kind: "closed" };
    this.#records = [];
    this.#tasks = [];
    for (const spi of new Set(spis)) this.#emit({ kind: "unlisten", spi });
    this.#emit({ kind: "closed", reason });
  }

  get #linkId(): Uint8Array | undefined {
    return this.#assignment?.kind === "link" ? this.#assignment.linkId : undefined;
  }

  get #isTranslated(): boolean {
    return this.#nat?.local === true || this.#nat?.remote === true;
  }

  get #allowedFurther(): ChildSelectors {
    const { local, remote } = this.#allowed;
    if (this.#policy?.multicast !== true) return this.#allowed;
    return { local, remote: [...remote, MULTICAST] };
  }

  #childOf(spi: number): ChildRecord | undefined {
    return this.#children.find((child) => child.sa.inbound.spi === spi);
  }

  #newIkeSpi(): IkeSpi {
    const spi = formatIkeSpi(this.#ports.random(IKE_SPI_LENGTH));
    return spi === ZERO_SPI ? this.#newIkeSpi() : spi;
  }

  #send(messages: readonly Uint8Array[]): void {
    const path = this.#path;
    if (path === undefined) return;
    for (const message of messages) {
      this.#emit({ kind: "send", path, encapsulated: this.#encapsulated, message });
    }
  }

  /** An answer goes where the request came from (section 2.11). */
  #sendTo({ path, encapsulated }: MessageInput, messages: readonly Uint8Array[]): void {
    for (const message of messages) this.#emit({ kind: "send", path, encapsulated, message });
  }

  #emit(effect: SessionEffect): void {
    this.#effects.push(effect);
  }

  #take(): SessionEffect[] {
    const effects = this.#effects;
    this.#effects = [];
    return effects;
  }
}

function recordOf(sa: ChildSa): ChildRecord {
  return {
    sa,
    state: "installed",
    successor: undefined,
    rival: undefined,
    overdueAt: undefined,
  };
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

function lowest({ initiator, responder }: Nonces): Uint8Array {
  return compareOctets(initiator, responder) < 0 ? initiator : responder;
}

function isSameSuite(a: IkeSuite, b: IkeSuite): boolean {
  return a.encryption === b.encryption && a.prf === b.prf && a.group === b.group;
}

function isDue(deadline: Instant | undefined, now: Instant): boolean {
  return deadline !== undefined && deadline <= now;
}
