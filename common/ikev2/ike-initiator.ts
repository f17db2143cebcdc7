/**
 * The home's front: there is always a session, or soon will be. When one ends, another begins after a pause that
 * grows; when it is time to authenticate again, the new session is made before the old one is deleted, on the same
 * link (RFC 5739 section 4.2), so that no packet is lost. When the gateway seems to have begun anew, a new session is
 * tried beside the old one: also when it seems to have done so between IKE_SA_INIT and IKE_AUTH, where a stranger may have
 * said it in its name, so that the doubted one may still be the first to get its answer.
 */

import { MalformedError } from "../errors.ts";
import { type RateLimit, TokenBucket } from "../rate-limit.ts";
import { earliest, type Instant, later } from "../time.ts";
import { invalidSpiIn } from "./exchanges/informational.ts";
import { IkeSession } from "./ike-session.ts";
import type { Path } from "./nat-detection.ts";
import { EVERYTHING, MULTICAST } from "./selectors.ts";
import type {
  CreateChildInput,
  HomeOptions,
  MessageInput,
  SessionEffect,
  SessionInput,
  SessionPorts,
  SessionSettings,
} from "./session-types.ts";
import { decodeIkeHeader, type IkeHeader, type IkeSpi } from "./wire/header.ts";
import { NotifyType } from "./wire/payloads/notify.ts";

/** The pauses between tries: doubled from the first to the longest, and up to half as much more at random. */
const FIRST_PAUSE_MS = 1_000;
const LONGEST_PAUSE_MS = 60_000;
/** Strangers can send hints: they make us try anew this often. A gateway may begin anew more than once. */
const HINT_LIMIT: RateLimit = { rate: 1 / 2, burst: 5 };
/** RFC 4478: authenticate again when this part of the time has passed, long before it is over. */
const REAUTHENTICATE_AT = 0.8;

const ASK_FOR_MULTICAST: CreateChildInput = {
  kind: "create-child",
  localSelectors: [MULTICAST],
  remoteSelectors: [EVERYTHING],
};

/** One session of this initiator, for as long as the process lives. */
export type AttemptId = number & { readonly __brand: "AttemptId" };

export type InitiatorInput =
  | { readonly kind: "start"; readonly path: Path }
  | MessageInput
  | { readonly kind: "rekey-child" | "delete-child"; readonly spi: number }
  | { readonly kind: "rekey-ike" | "probe" }
  | CreateChildInput
  /** A new session on the same link, then the old one is deleted. */
  | { readonly kind: "reauthenticate" }
  | { readonly kind: "moved"; readonly path: Partial<Path> }
  /** Not from the peer, or not authentic: the gateway may have begun anew. */
  | { readonly kind: "hint" }
  /** There is reason to think that the gateway can be reached now: do not wait out a pause. */
  | { readonly kind: "hurry" }
  | { readonly kind: "close" };

export type InitiatorEffect =
  | Extract<SessionEffect, { kind: "send" | "keepalive" }>
  | { readonly kind: "session"; readonly id: AttemptId; readonly effect: SessionEffect }
  /** No session; the next try comes in so many milliseconds. */
  | { readonly kind: "waiting"; readonly pauseMs: number };

interface Attempt {
  readonly id: AttemptId;
  readonly session: IkeSession;
  /** The gateway is said not to know it before it was even established: another was begun beside it. */
  isDoubted: boolean;
}

export class IkeInitiator {
  readonly #options: HomeOptions;
  readonly #settings: SessionSettings;
  readonly #ports: SessionPorts;
  #path: Path | undefined;
  /** The one in use first; beside it at most the one that shall follow it and those that are being deleted. */
  #attempts: Attempt[] = [];
  #inUse: AttemptId | undefined;
  readonly #bySpi = new Map<IkeSpi, AttemptId>();
  #linkId: Uint8Array | undefined;
  #failures = 0;
  #retryAt: Instant | undefined;
  #reauthenticateAt: Instant | undefined;
  readonly #hints = new TokenBucket(HINT_LIMIT);
  readonly #questions = new TokenBucket(HINT_LIMIT);
  #isClosing = false;
  #nextId = 1;
  #effects: InitiatorEffect[] = [];

  constructor(options: HomeOptions, settings: SessionSettings, ports: SessionPorts) {
    this.#options = options;
    this.#settings = settings;
    this.#ports = ports;
  }

  /** When to call `handleDeadline`, if nothing else happens first. */
  get deadline(): Instant | undefined {
    let deadline = earliest(this.#retryAt, this.#reauthenticateAt);
    for (const { session } of this.#attempts) deadline = earliest(deadline, session.deadline);
    return deadline;
  }

  handle(input: InitiatorInput, now: Instant): InitiatorEffect[] {
    switch (input.kind) {
      case "start":
        this.#path = input.path;
        this.#begin({ isFresh: true }, now);
        break;
      case "message":
        this.#receive(input, now);
        break;
      case "reauthenticate":
        this.#reauthenticate(now);
        break;
      case "hint":
        this.#hinted(now);
        break;
      case "moved":
        if (this.#path !== undefined) this.#path = { ...this.#path, ...input.path };
        this.#toAll(input, now);
        this.#hurry(now);
        break;
      case "hurry":
        // Who waits for an answer asks again.
        this.#toAll({ kind: "moved", path: {} }, now);
        this.#hurry(now);
        break;
      case "close":
        this.#isClosing = true;
        this.#retryAt = undefined;
        this.#toAll(input, now);
        break;
      case "rekey-child":
      case "delete-child":
        for (const { id, session } of [...this.#attempts]) {
          if (session.children.some(({ inbound }) => inbound.spi === input.spi)) {
            this.#toOne(id, input, now);
          }
        }
        break;
      case "rekey-ike":
      case "probe":
      case "create-child":
        if (this.#inUse !== undefined) this.#toOne(this.#inUse, input, now);
        break;
    }
    return this.#take();
  }

  handleDeadline(now: Instant): InitiatorEffect[] {
    if (this.#retryAt !== undefined && this.#retryAt <= now) {
      this.#retryAt = undefined;
      this.#begin({ isFresh: true }, now);
    }
    if (this.#reauthenticateAt !== undefined && this.#reauthenticateAt <= now) {
      this.#reauthenticateAt = undefined;
      this.#reauthenticate(now);
    }
    for (const { id, session } of [...this.#attempts]) {
      if (session.deadline !== undefined && session.deadline <= now) {
        this.#done(id, session, session.handleDeadline(now), now);
      }
    }
    return this.#take();
  }

  #hurry(now: Instant): void {
    if (this.#retryAt === undefined) return;
    this.#retryAt = undefined;
    this.#failures = 0;
    this.#begin({ isFresh: true }, now);
  }

  #begin(how: { readonly isFresh: boolean }, now: Instant): void {
    if (this.#path === undefined || this.#isClosing) return;
    const { link } = this.#options;
    const options: HomeOptions = {
      ...this.#options,
      initialContact: how.isFresh && this.#options.initialContact,
      link: this.#linkId === undefined ? link : { ...link, linkId: this.#linkId },
    };
    const parts = { settings: this.#settings, ports: this.#ports };
    const session = IkeSession.ofHome(options, this.#path, parts);
    const id = this.#nextId++ as AttemptId;
    this.#attempts.push({ id, session, isDoubted: false });
    this.#done(id, session, session.handle({ kind: "start" }, now), now);
  }

  /** Make before break. */
  #reauthenticate(now: Instant): void {
    if (this.#canReauthenticate) this.#begin({ isFresh: false }, now);
  }

  get #canReauthenticate(): boolean {
    const isUnderWay = this.#attempts.some(
      ({ session, isDoubted }) => !session.isEstablished && !isDoubted,
    );
    return this.#inUse !== undefined && !isUnderWay;
  }

  #hinted(now: Instant): void {
    if (this.#canReauthenticate && this.#hints.take(now)) this.#reauthenticate(now);
  }

  /** The gateway seems to have died after its first answer to this attempt. */
  #doubt(attempt: Attempt, now: Instant): void {
    if (attempt.isDoubted || attempt.session.isEstablished || !this.#hints.take(now)) return;
    this.#forgetDoubted(now); // one beside the newest is enough
    attempt.isDoubted = true;
    this.#begin({ isFresh: this.#inUse === undefined }, now);
  }

  #forgetDoubted(now: Instant): void {
    for (const { id, isDoubted } of [...this.#attempts]) {
      if (isDoubted && id !== this.#inUse) this.#toOne(id, { kind: "close" }, now);
    }
  }

  #receive(input: MessageInput, now: Instant): void {
    try {
      const header = decodeIkeHeader(input.message);
      const local = header.fromInitiator ? header.responderSpi : header.initiatorSpi;
      const id = this.#bySpi.get(local);
      if (id !== undefined) this.#toOne(id, input, now);
      else this.#heardInvalidSpi(header, input, now);
    } catch (error) {
      if (!(error instanceof MalformedError)) throw error;
    }
  }

  /** The gateway, or somebody in its name, says that it lost what we send with: it is asked (section 2.21.4). */
  #heardInvalidSpi(header: IkeHeader, { message, path }: MessageInput, now: Instant): void {
    const inUse = this.#attempts.find(({ id }) => id === this.#inUse);
    if (inUse === undefined || path.remote.address !== this.#path?.remote.address) return;
    const spi = invalidSpiIn(header, message);
    const isOurs = inUse.session.children.some(({ outbound }) => outbound.spi === spi);
    if (isOurs && this.#questions.take(now)) this.#toOne(inUse.id, { kind: "probe" }, now);
  }

  #toAll(input: SessionInput, now: Instant): void {
    for (const { id } of [...this.#attempts]) this.#toOne(id, input, now);
  }

  #toOne(id: AttemptId, input: SessionInput, now: Instant): void {
    const attempt = this.#attempts.find((one) => one.id === id);
    if (attempt === undefined) return;
    this.#done(id, attempt.session, attempt.session.handle(input, now), now);
  }

  #done(id: AttemptId, session: IkeSession, effects: readonly SessionEffect[], now: Instant): void {
    for (const effect of effects) {
      switch (effect.kind) {
        case "send":
        case "keepalive":
          this.#effects.push(effect);
          break;
        case "listen":
          this.#bySpi.set(effect.spi, id);
          break;
        case "unlisten":
          this.#bySpi.delete(effect.spi);
          break;
        case "child-outbound":
          if (!this.#isFollowed(id)) this.#effects.push({ kind: "session", id, effect });
          break;
        default:
          this.#effects.push({ kind: "session", id, effect: this.#asFollowed(id, effect) });
          this.#note(id, effect, now);
      }
    }
    if (session.isClosed) this.#ended(id, now);
  }

  /** Another is in use that was begun after it. */
  #isFollowed(id: AttemptId): boolean {
    return id < (this.#inUse ?? 0);
  }

  /** What a session on its way out still makes is not sent with. */
  #asFollowed(id: AttemptId, effect: SessionEffect): SessionEffect {
    const isLate = effect.kind === "child-created" && this.#isFollowed(id);
    return isLate ? { ...effect, outbound: "deferred" } : effect;
  }

  #note(id: AttemptId, effect: SessionEffect, now: Instant): void {
    if (effect.kind === "established" && effect.assignment?.kind === "link") {
      this.#linkId = effect.assignment.linkId;
    }
    if (effect.kind === "established") {
      const { reauthenticateMs } = this.#options;
      this.#reauthenticateAt =
        reauthenticateMs === undefined ? undefined : later(now, reauthenticateMs);
    }
    if (effect.kind === "reauthenticate") {
      const asked = later(now, effect.withinMs * REAUTHENTICATE_AT);
      this.#reauthenticateAt = earliest(this.#reauthenticateAt, asked);
    }
    const isInvalidSpi = effect.kind === "hint" && effect.notifyType === NotifyType.invalidIkeSpi;
    if (isInvalidSpi) this.#unknownToGateway(id, now);
    // One that was in use before may still have made another: it is on its way out.
    if (effect.kind === "child-created" && id > (this.#inUse ?? 0)) this.#use(id, now);
  }

  #unknownToGateway(id: AttemptId, now: Instant): void {
    if (id === this.#inUse) {
      this.#hinted(now);
      return;
    }
    const attempt = this.#attempts.find((one) => one.id === id);
    if (attempt !== undefined) this.#doubt(attempt, now);
  }

  /** The new session carries packets: the one before may go. */
  #use(id: AttemptId, now: Instant): void {
    const before = this.#inUse;
    this.#inUse = id;
    this.#failures = 0;
    // Before the gateway hears that the other is deleted, and what it sends to groups has nothing to go with.
    if (this.#options.multicast === true) this.#toOne(id, ASK_FOR_MULTICAST, now);
    if (before !== undefined) this.#toOne(before, { kind: "close" }, now);
    this.#forgetDoubted(now);
  }

  #ended(id: AttemptId, now: Instant): void {
    const isUnsuccessful = this.#inUse !== undefined && id > this.#inUse;
    this.#attempts = this.#attempts.filter((one) => one.id !== id);
    if (id === this.#inUse) this.#inUse = undefined;
    if (isUnsuccessful && !this.#isClosing) {
      // The one that it was to follow goes on; it is tried again.
      this.#reauthenticateAt = earliest(this.#reauthenticateAt, later(now, this.#pauseMs()));
    }
    const isAlone = this.#attempts.every(({ isDoubted }) => isDoubted);
    if (!isAlone || this.#isClosing || this.#retryAt !== undefined) return;
    const pauseMs = this.#pauseMs();
    this.#retryAt = later(now, pauseMs);
    this.#effects.push({ kind: "waiting", pauseMs });
  }

  /** Longer after each failure. */
  #pauseMs(): number {
    const [jitter = 0] = this.#ports.random(1);
    const pauseMs = Math.min(FIRST_PAUSE_MS * 2 ** this.#failures, LONGEST_PAUSE_MS);
    this.#failures += 1;
    return pauseMs * (1 + jitter / 512);
  }

  #take(): InitiatorEffect[] {
    const effects = this.#effects;
    this.#effects = [];
    return effects;
  }
}
