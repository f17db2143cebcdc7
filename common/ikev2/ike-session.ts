/**
 * Everything between two ends: the IKE SA, its successors, the Child SAs. A home's session begins with `start`; a
 * gateway's is made by the responder after IKE_SA_INIT. From then on they are the same: either may rekey, delete
 * and ask.
 *
 * The life of a home's session: IKE_SA_INIT, perhaps again with a cookie or another group; IKE_AUTH, with which the
 * first Child SA and the link's configuration come; then it is established. Tasks wait in a queue, since there
 * is one request at a time on an IKE SA. A Child SA is rekeyed by making another, then deleting the old; the
 * IKE SA likewise, and the new one inherits all Child SAs.
 *
 * Here messages find their IKE SA, requests and answers their exchange, and deadlines whoever set them. What each
 * exchange then does is in a file of its own: `session/ike-sa-init.ts`, `ike-auth.ts`, `create-child-sa.ts`,
 * `ike-rekey.ts`, `informational.ts`; what they share is in `session/context.ts`.
 *
 * RFC 7296; the link by RFC 5739.
 */

import { MalformedError } from "../errors.ts";
import { earliest, type Instant, later } from "../time.ts";
import { processCreateChildSaRequest } from "./exchanges/create-child-sa.ts";
import { refusal } from "./exchanges/ike-auth.ts";
import type { Received } from "./ike-sa.ts";
import type { Path } from "./nat-detection.ts";
import { SessionContext } from "./session/context.ts";
import { childAnswered, processChild, requestChild } from "./session/create-child-sa.ts";
import { authenticationAnswered, processAuthentication } from "./session/ike-auth.ts";
import { ikeRekeyAnswered, processIkeRekey, requestIkeRekey } from "./session/ike-rekey.ts";
import {
  initAccepted,
  initAnswered,
  repeatInit,
  restartInit,
  startInit,
} from "./session/ike-sa-init.ts";
import {
  ikeDeleted,
  processInformation,
  requestChildDelete,
  requestIkeDelete,
  requestInformation,
} from "./session/informational.ts";
import type { AcceptedInit, SaRecord, SessionRole, Task } from "./session/state.ts";
import type {
  ChildSa,
  Directory,
  HomeOptions,
  MessageInput,
  SessionEffect,
  SessionInput,
  SessionPorts,
  SessionSettings,
} from "./session-types.ts";
import { decodeIkeHeader, ExchangeType, HEADER_LENGTH } from "./wire/header.ts";
import { decodePayloads, findError, type Payload } from "./wire/message.ts";
import { decodePayloadChain } from "./wire/payload-chain.ts";
import { NotifyType } from "./wire/payloads/notify.ts";

/** A home that was asked to prove anew who it is has so much longer than it was told. */
const REAUTHENTICATION_GRACE_MS = 30_000;

/** What a session is made with. */
export interface SessionParts {
  readonly settings: SessionSettings;
  readonly ports: SessionPorts;
}

export class IkeSession {
  readonly #session: SessionContext;

  private constructor(
    role: SessionRole,
    at: { readonly path: Path; readonly encapsulated: boolean },
    parts: SessionParts,
  ) {
    this.#session = new SessionContext(role, at, parts);
  }

  /** A home's session; it begins with `start`. */
  static ofHome(options: HomeOptions, path: Path, parts: SessionParts): IkeSession {
    return new IkeSession({ kind: "home", options }, { path, encapsulated: false }, parts);
  }

  /** A gateway's session, after IKE_SA_INIT. Throws `MalformedError` `public-value`. */
  static accept(
    directory: Directory,
    init: AcceptedInit,
    parts: SessionParts & { readonly now: Instant },
  ): { readonly session: IkeSession; readonly effects: SessionEffect[] } {
    const session = new IkeSession({ kind: "gateway", directory }, init, parts);
    initAccepted(session.#session, init, parts.now);
    return { session, effects: session.#session.takeEffects() };
  }

  get isEstablished(): boolean {
    return this.#session.phase.kind === "established";
  }

  get isClosed(): boolean {
    return this.#session.phase.kind === "closed";
  }

  get path(): Path {
    return this.#session.peer.path;
  }

  get children(): readonly ChildSa[] {
    return this.#session.children.all.map(({ sa }) => sa);
  }

  /** When to call `handleDeadline`, if nothing else happens first. */
  get deadline(): Instant | undefined {
    const { phase, peer, ikeSas, children, tasks } = this.#session;
    if (phase.kind === "closed") return undefined;
    let deadline: Instant | undefined;
    if (phase.kind === "init") deadline = phase.retransmission.deadline;
    if (phase.kind === "authenticating") deadline = phase.expiresAt;
    if (phase.kind === "established") deadline = peer.keepaliveAt;
    for (const { sa, overdueAt } of ikeSas.all) {
      deadline = earliest(earliest(deadline, sa.deadline), overdueAt);
    }
    for (const { overdueAt } of children.all) deadline = earliest(deadline, overdueAt);
    if (ikeSas.current?.sa.isWaiting === false) {
      deadline = earliest(deadline, tasks.deadline);
      deadline = earliest(deadline, children.rekeyAt);
      deadline = earliest(earliest(deadline, this.#probeAt), this.#ikeRekeyAt);
    }
    return earliest(deadline, this.#session.endsAt);
  }

  handle(input: SessionInput, now: Instant): SessionEffect[] {
    const { tasks, phase } = this.#session;
    if (phase.kind === "closed") return [];
    switch (input.kind) {
      case "start":
        startInit(this.#session, now);
        break;
      case "message":
        this.#receive(input, now);
        break;
      case "rekey-child":
        tasks.add({ kind: "rekey-child", spi: input.spi });
        break;
      case "rekey-ike":
        tasks.add({ kind: "rekey-ike" });
        break;
      case "create-child":
      case "close":
        tasks.add(input);
        break;
      case "delete-child":
        tasks.add({ kind: "delete-children", spis: [input.spi] });
        break;
      case "probe":
        tasks.add({ kind: "information" });
        break;
      case "ask-reauthentication":
        tasks.add({ kind: "information", authLifetime: input.seconds });
        this.#session.endsAt = earliest(
          this.#session.endsAt,
          later(now, 1_000 * input.seconds + REAUTHENTICATION_GRACE_MS),
        );
        break;
      case "moved":
        this.#move(input.path, now);
        break;
      case "abandon":
        this.#session.close({ kind: "abandoned" });
        break;
    }
    this.#runTasks(now);
    return this.#session.takeEffects();
  }

  handleDeadline(now: Instant): SessionEffect[] {
    const { phase, peer, ikeSas, children, tasks, settings } = this.#session;
    if (phase.kind === "init" && phase.retransmission.deadline <= now) {
      repeatInit(this.#session, phase, now);
    }
    if (phase.kind === "authenticating" && isDue(phase.expiresAt, now)) {
      this.#session.close({ kind: "half-open" });
    }
    for (const record of [...ikeSas.all]) {
      this.#repeat(record, now);
      if (isDue(record.overdueAt, now) && ikeSas.includes(record)) ikeSas.forget(record);
    }
    for (const spi of children.takeOverdue(now))
      tasks.add({ kind: "delete-children", spis: [spi] });
    if (isDue(peer.keepaliveAt, now) && this.isEstablished) {
      peer.keepAlive(now, settings.keepaliveMs);
    }
    this.#endInTime(now);
    if (ikeSas.current?.sa.isWaiting === false) {
      this.#age(now);
      if (isDue(this.#ikeRekeyAt, now)) tasks.add({ kind: "rekey-ike" });
      else if (isDue(this.#probeAt, now)) tasks.add({ kind: "information" });
    }
    this.#runTasks(now);
    return this.#session.takeEffects();
  }

  // ---- time

  get #probeAt(): Instant | undefined {
    const { settings, heardAt } = this.#session;
    const { probeIntervalMs } = settings;
    if (probeIntervalMs === 0 || heardAt === undefined || !this.isEstablished) return undefined;
    return later(heardAt, probeIntervalMs);
  }

  get #ikeRekeyAt(): Instant | undefined {
    const { settings, ikeSas, tasks } = this.#session;
    const { ikeLifetimeMs } = settings;
    const { current } = ikeSas;
    if (ikeLifetimeMs === 0 || current === undefined || !this.isEstablished) return undefined;
    return tasks.has("rekey-ike") ? undefined : later(current.bornAt, ikeLifetimeMs);
  }

  #age(now: Instant): void {
    const { children, childLifetimeMs = 0, tasks } = this.#session;
    for (const spi of children.takeOld(now, childLifetimeMs)) {
      tasks.add({ kind: "rekey-child", spi });
    }
  }

  /** The peer has not proven anew who it is (RFC 4478): whether it answers or not, its packets end here. */
  #endInTime(now: Instant): void {
    const { children, ikeSas, tasks, endsAt } = this.#session;
    if (!isDue(endsAt, now)) return;
    this.#session.endsAt = undefined;
    if (ikeSas.current?.sa.isWaiting === true) {
      this.#session.close({ kind: "asked" });
      return;
    }
    children.removeAll();
    tasks.add({ kind: "close" });
  }

  #repeat(record: SaRecord, now: Instant): void {
    const repetition = record.sa.handleDeadline(now);
    if (repetition?.kind === "repeat") this.#session.peer.send(repetition.messages);
    if (repetition?.kind !== "gave-up") return;
    if (record.state === "current") {
      const asked = record.exchange?.kind === "delete-ike";
      this.#session.close(asked ? { kind: "asked" } : { kind: "timeout" });
    } else this.#session.ikeSas.forget(record);
  }

  // ---- messages

  #receive(input: MessageInput, now: Instant): void {
    try {
      const header = decodeIkeHeader(input.message);
      const record = this.#session.ikeSas.find(header);
      if (record === undefined) initAnswered(this.#session, header, input.message, now);
      else this.#received(record, record.sa.receive(header, input.message), input, now);
    } catch (error) {
      if (!(error instanceof MalformedError)) throw error;
      this.#session.emit({ kind: "dropped", reason: "malformed" });
    }
  }

  #received(record: SaRecord, received: Received, input: MessageInput, now: Instant): void {
    const { peer } = this.#session;
    if (received.kind === "drop") {
      this.#session.emit({ kind: "dropped", reason: received.reason });
      if (received.reason === "not-encrypted") this.#hint(record, input.message);
    }
    if (received.kind === "drop" || received.kind === "fragment") return;
    record.isConfirmed = true;
    this.#session.heardAt = now;
    if (received.kind === "repeated") {
      peer.answer(input, received.answer);
      return;
    }
    if (received.kind === "response") {
      this.#processResponse(record, received.payloads, input, now);
      return;
    }
    if (received.kind === "invalid") {
      if (!received.response) {
        const answer = refusal(NotifyType.invalidSyntax);
        peer.answer(input, record.sa.respond(received.exchange, answer));
      }
      // Section 2.21.3: a peer that breaks the format is not spoken to any more.
      this.#session.close({ kind: "protocol-error", code: received.error.code });
      return;
    }
    if (this.#session.role.kind === "gateway") peer.follow(input);
    const [critical] = received.unsupportedCritical;
    const answer =
      critical === undefined
        ? this.#processRequest(record, received, input, now)
        : refusal(NotifyType.unsupportedCriticalPayload, Uint8Array.of(critical));
    peer.answer(input, record.sa.respond(received.exchange, answer));
    this.#afterRequest();
  }

  /** An answer in the clear, such as INVALID_IKE_SPI of a gateway that has begun anew. Anyone can send it. */
  #hint(record: SaRecord, message: Uint8Array): void {
    const { nextPayload } = decodeIkeHeader(message);
    const chain = decodePayloadChain(nextPayload, message.subarray(HEADER_LENGTH));
    const error = findError(decodePayloads(chain.payloads).payloads);
    if (error === undefined) return;
    const isUnknown = error.type === NotifyType.invalidIkeSpi;
    if (isUnknown && record.exchange?.kind === "delete-ike") {
      // What we want to be rid of is not there: the answer to our delete was lost, or the IKE SA.
      ikeDeleted(this.#session, record, "lost-by-peer");
      return;
    }
    if (isUnknown && this.#session.tasks.has("close")) {
      // Nor is what we would be rid of as soon as it answers. Asking on, it would take the hints for its successor.
      this.#session.close({ kind: "lost-by-peer" });
      return;
    }
    // A rekeyed IKE SA of which the peer has not heard yet is unknown to it for a good reason; one that it has just
    // agreed to is not.
    const isKnown = record.isConfirmed || record.exchange?.kind === "auth";
    if (isKnown) this.#session.emit({ kind: "hint", notifyType: error.type });
  }

  /** What has to wait until the answer is on its way. */
  #afterRequest(): void {
    const { closing, gone } = this.#session;
    if (closing !== undefined) this.#session.close(closing);
    if (gone !== undefined) this.#session.ikeSas.forget(gone);
    this.#session.gone = undefined;
  }

  #processRequest(
    record: SaRecord,
    { exchange, payloads }: { readonly exchange: number; readonly payloads: readonly Payload[] },
    input: MessageInput,
    now: Instant,
  ): Payload[] {
    const session = this.#session;
    const phase = session.phase.kind;
    try {
      if (exchange === ExchangeType.ikeAuth && phase === "authenticating") {
        const { wallTime } = input;
        return processAuthentication(session, record, { payloads, wallTime }, now);
      }
      if (exchange === ExchangeType.createChildSa && phase === "established") {
        const request = processCreateChildSaRequest(payloads);
        return request.kind === "ike"
          ? processIkeRekey(session, record, request, now)
          : processChild(session, record, request, now);
      }
      if (exchange === ExchangeType.informational) {
        return processInformation(session, record, payloads, now);
      }
      session.closing = { kind: "protocol-error", code: "unexpected-exchange" };
    } catch (error) {
      if (!(error instanceof MalformedError)) throw error;
      session.closing = { kind: "protocol-error", code: error.code };
    }
    return refusal(NotifyType.invalidSyntax);
  }

  #processResponse(
    record: SaRecord,
    payloads: readonly Payload[],
    input: MessageInput,
    now: Instant,
  ): void {
    const session = this.#session;
    const { exchange } = record;
    record.exchange = undefined;
    try {
      switch (exchange?.kind) {
        case "auth": {
          const answer = { spi: exchange.spi, payloads, wallTime: input.wallTime };
          authenticationAnswered(session, record, answer, now);
          break;
        }
        case "child":
          childAnswered(session, record, { exchange, payloads }, now);
          break;
        case "ike":
          ikeRekeyAnswered(session, record, { exchange, payloads }, now);
          break;
        case "delete-children":
          session.children.remove(exchange.spis);
          break;
        case "delete-ike":
          ikeDeleted(session, record, "asked");
          break;
        case "information":
        case undefined:
          break;
      }
    } catch (error) {
      if (!(error instanceof MalformedError)) throw error;
      // Section 2.21: no answer to an answer, but what it was about is at an end.
      requestIkeDelete(session, record, now);
      if (record.state === "current" || session.ikeSas.current === undefined) {
        session.close({ kind: "protocol-error", code: error.code });
      }
    }
  }

  // ---- tasks

  #runTasks(now: Instant): void {
    for (;;) {
      const { phase, ikeSas, tasks } = this.#session;
      const { current } = ikeSas;
      if (phase.kind !== "established" || current === undefined || current.sa.isWaiting) break;
      const task = tasks.take(now);
      if (task === undefined) return;
      this.#run(current, task, now);
    }
    // Before there is an IKE SA there is nobody to say goodbye to.
    if (!this.isEstablished && this.#session.tasks.has("close")) {
      this.#session.close({ kind: "asked" });
    }
  }

  #run(record: SaRecord, task: Task, now: Instant): void {
    const session = this.#session;
    switch (task.kind) {
      case "rekey-child":
      case "create-child":
        requestChild(session, record, task, now);
        break;
      case "rekey-ike":
        requestIkeRekey(session, record, task, now);
        break;
      case "delete-children":
        requestChildDelete(session, record, task.spis, now);
        break;
      case "information":
        requestInformation(session, record, task, now);
        break;
      case "close":
        requestIkeDelete(session, record, now);
        break;
    }
  }

  #move(path: Partial<Path>, now: Instant): void {
    const { peer, phase, ikeSas, role, tasks } = this.#session;
    peer.move(path);
    if (phase.kind === "init") {
      restartInit(this.#session, phase, now);
      return;
    }
    // To a home that moves and moves, and never answers, a gateway gives no more time than to others.
    const isHome = role.kind === "home";
    for (const { sa } of ikeSas.all) peer.send(isHome ? sa.repeatNow(now) : sa.pending);
    // A request tells a gateway where its home is now.
    if (isHome && ikeSas.current?.sa.isWaiting === false) tasks.add({ kind: "information" });
  }
}

function isDue(deadline: Instant | undefined, now: Instant): boolean {
  return deadline !== undefined && deadline <= now;
}
