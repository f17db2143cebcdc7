/**
 * The gateway's front: it finds the session for each message, and decides whether a stranger's IKE_SA_INIT is
 * worth a session. Until IKE_AUTH a session is half open: there is a limit to these, in all and for each address,
 * and from a threshold on a stranger must show with a cookie that it is where it says (RFC 7296 section 2.6). So must
 * who seems to begin more often than one source may; who shows it and goes on is not heard for a while. Thus nobody is
 * shut out by others that use his address.
 */

import { createHmac, timingSafeEqual } from "node:crypto";
import { ByteWriter } from "../bytes/writer.ts";
import { MalformedError } from "../errors.ts";
import { type Ipv4Address, ipv4Octets } from "../ip/address.ts";
import { type RateLimit, TokenBucket } from "../rate-limit.ts";
import { earliest, type Instant, later } from "../time.ts";
import { DeadlineQueue } from "./deadline-queue.ts";
import {
  buildIkeSaInitResponse,
  buildStatelessResponse,
  processIkeSaInitRequest,
} from "./exchanges/ike-sa-init.ts";
import { formatIdentification } from "./identity.ts";
import { IkeSession } from "./ike-session.ts";
import { beginKeyAgreement } from "./key-agreement.ts";
import type { Path } from "./nat-detection.ts";
import { compareOctets } from "./selectors.ts";
import { NONCE_LENGTH } from "./session/context.ts";
import type {
  Directory,
  MessageInput,
  SessionEffect,
  SessionInput,
  SessionPorts,
  SessionSettings,
} from "./session-types.ts";
import { type SourceRates, SourceThrottle, type SourceVerdict } from "./source-throttle.ts";
import {
  decodeIkeHeader,
  decodeLaterIkeHeader,
  ExchangeType,
  formatIkeSpi,
  HEADER_LENGTH,
  IKE_SPI_LENGTH,
  type IkeHeader,
  type IkeSpi,
  ikeSpiOctets,
  ZERO_SPI,
} from "./wire/header.ts";
import {
  decodePayloads,
  encodeClearMessage,
  findNotify,
  findPayload,
  notify,
} from "./wire/message.ts";
import { decodePayloadChain, type GenericPayload, PayloadType } from "./wire/payload-chain.ts";
import type { Identification } from "./wire/payloads/identification.ts";
import { NotifyType } from "./wire/payloads/notify.ts";

/** One session of this responder, for as long as the process lives. */
export type SessionId = number & { readonly __brand: "SessionId" };

export interface ResponderLimits {
  /** From so many half-open sessions on a cookie is asked for. */
  readonly cookieThreshold: number;
  readonly maximumHalfOpen: number;
  readonly maximumHalfOpenPerAddress: number;
  readonly maximumSessions: number;
  /** Of one identity; the oldest end when it has more. A home that proves itself anew has two for a moment. */
  readonly maximumSessionsPerIdentity: number;
  /** IKE_SA_INIT of one source: beyond it cookies are asked for, and those that have one count by themselves. */
  readonly rates: SourceRates;
}

export const DEFAULT_LIMITS: ResponderLimits = {
  // After a power cut a thousand come at once, and a cookie makes each of them ask twice.
  cookieThreshold: 1_024,
  maximumHalfOpen: 2_048,
  // Homes behind one NAT share an address.
  maximumHalfOpenPerAddress: 64,
  maximumSessions: 20_000,
  maximumSessionsPerIdentity: 4,
  rates: { perAddress: { rate: 100, burst: 200 }, perNetwork: { rate: 400, burst: 1_000 } },
};

/** A cookie is good for one to two of these. */
const COOKIE_SECRET_MS = 60_000;
const COOKIE_SECRET_LENGTH = 32; // octets
const COOKIE_VERSION_LENGTH = 1; // octets
/** Answers to strangers, section 2.21.4: thousands of homes ask after a restart. */
const STRANGER_ANSWER_LIMIT: RateLimit = { rate: 500, burst: 500 };

export type StrangerDrop =
  | "half-open-limit"
  | "address-limit"
  | "session-limit"
  | "malformed"
  | Exclude<SourceVerdict, "pass">;

export type ResponderInput =
  | MessageInput
  /** Anything else that is meant for one session. */
  | {
      readonly kind: "session";
      readonly id: SessionId;
      readonly input: Exclude<SessionInput, { kind: "start" | "message" }>;
    };

export type ResponderEffect =
  | Extract<SessionEffect, { kind: "send" | "keepalive" }>
  /** Of one session; `send`, `listen` and `unlisten` are never among these. */
  | { readonly kind: "session"; readonly id: SessionId; readonly effect: SessionEffect }
  | { readonly kind: "stranger-dropped"; readonly reason: StrangerDrop }
  | { readonly kind: "cookie-sent" };

interface HalfOpen {
  readonly request: Uint8Array;
  readonly response: Uint8Array;
  readonly address: Ipv4Address;
  readonly key: string;
}

interface CookieSecret {
  readonly version: number;
  readonly secret: Uint8Array;
}

export class IkeResponder {
  readonly #directory: Directory;
  readonly #settings: SessionSettings;
  readonly #ports: SessionPorts;
  readonly #limits: ResponderLimits;
  /** Bounded by `maximumSessions`. */
  readonly #sessions = new Map<SessionId, IkeSession>();
  readonly #bySpi = new Map<IkeSpi, SessionId>();
  /** Bounded by `maximumHalfOpen`. */
  readonly #halfOpen = new Map<SessionId, HalfOpen>();
  /** The same by what makes a repeated IKE_SA_INIT the same: address, port and SPI. */
  readonly #halfOpenByKey = new Map<string, SessionId>();
  /** How many of them each address has. */
  readonly #halfOpenByAddress = new Map<Ipv4Address, number>();
  /** Who has shown with a cookie where he is, and who has not. */
  readonly #shown: SourceThrottle;
  readonly #claimed: SourceThrottle;
  readonly #byIdentity = new Map<string, Set<SessionId>>();
  readonly #identities = new Map<SessionId, string>();
  readonly #deadlines = new DeadlineQueue<SessionId>();
  #secrets: CookieSecret[] = [];
  #secretUntil: Instant | undefined;
  readonly #strangerAnswers = new TokenBucket(STRANGER_ANSWER_LIMIT);
  #nextId = 1;

  constructor(options: {
    readonly directory: Directory;
    readonly settings: SessionSettings;
    readonly ports: SessionPorts;
    readonly limits?: ResponderLimits;
  }) {
    this.#directory = options.directory;
    this.#settings = options.settings;
    this.#ports = options.ports;
    this.#limits = options.limits ?? DEFAULT_LIMITS;
    this.#shown = new SourceThrottle(this.#limits.rates);
    this.#claimed = new SourceThrottle(this.#limits.rates);
  }

  /** When to call `handleDeadline`, if nothing else happens first. */
  get deadline(): Instant | undefined {
    return earliest(this.#deadlines.earliest, undefined);
  }

  get sessionCount(): number {
    return this.#sessions.size;
  }

  get halfOpenCount(): number {
    return this.#halfOpen.size;
  }

  handle(input: ResponderInput, now: Instant): ResponderEffect[] {
    if (input.kind === "session") return this.#toSession(input.id, input.input, now);
    try {
      return this.#receive(input, now);
    } catch (error) {
      if (!(error instanceof MalformedError)) throw error;
      return [{ kind: "stranger-dropped", reason: "malformed" }];
    }
  }

  handleDeadline(now: Instant): ResponderEffect[] {
    const effects: ResponderEffect[] = [];
    for (const id of this.#deadlines.takeDue(now)) {
      const session = this.#sessions.get(id);
      if (session !== undefined) effects.push(...this.#done(id, session.handleDeadline(now)));
    }
    return effects;
  }

  #toSession(id: SessionId, input: SessionInput, now: Instant): ResponderEffect[] {
    const session = this.#sessions.get(id);
    return session === undefined ? [] : this.#done(id, session.handle(input, now));
  }

  #receive(input: MessageInput, now: Instant): ResponderEffect[] {
    const laterHeader = decodeLaterIkeHeader(input.message);
    if (laterHeader !== undefined) {
      return this.#answerStranger(laterHeader, NotifyType.invalidMajorVersion, input, now);
    }
    const header = decodeIkeHeader(input.message);
    // Our SPI is the one of our part: a rekey that the home did not begin makes us the initiator.
    const local = header.fromInitiator ? header.responderSpi : header.initiatorSpi;
    const id = this.#bySpi.get(local);
    if (id !== undefined) return this.#toSession(id, input, now);
    const isInit =
      header.fromInitiator &&
      !header.response &&
      header.exchange === ExchangeType.ikeSaInit &&
      header.responderSpi === ZERO_SPI &&
      header.messageId === 0;
    if (isInit) return this.#meet(header, input, now);
    return this.#answerStranger(header, NotifyType.invalidIkeSpi, input, now);
  }

  /** A stranger's IKE_SA_INIT. */
  #meet(header: IkeHeader, input: MessageInput, now: Instant): ResponderEffect[] {
    const { path, encapsulated, message } = input;
    const answer = (octets: Uint8Array): ResponderEffect => ({
      kind: "send",
      path,
      encapsulated,
      message: octets,
    });
    const key = `${path.remote.address} ${path.remote.port} ${header.initiatorSpi}`;
    const known = this.#halfOpenByKey.get(key);
    const halfOpen = known === undefined ? undefined : this.#halfOpen.get(known);
    if (halfOpen !== undefined) {
      const isSame = compareOctets(halfOpen.request, message) === 0;
      return isSame ? [answer(halfOpen.response)] : [];
    }
    const chain = decodePayloadChain(header.nextPayload, message.subarray(HEADER_LENGTH));
    // The rest of it is looked at when its sender has shown where he is.
    const first = decodePayloads(chain.payloads.filter(isNonceOrNotify)).payloads;
    const nonce = findPayload(first, "Nonce")?.nonce;
    if (nonce === undefined) return [{ kind: "stranger-dropped", reason: "malformed" }];
    const { address } = path.remote;
    const cookie = findNotify(first, NotifyType.cookie)?.data;
    const about = { nonce, address, spi: header.initiatorSpi };
    const isShown = cookie !== undefined && this.#isGoodCookie(cookie, about, now);
    if (!isShown && this.#wantsCookie(address, now)) {
      const wanted = this.#cookie(this.#secret(now), about);
      return [
        answer(buildStatelessResponse(header, notify(NotifyType.cookie, wanted))),
        { kind: "cookie-sent" },
      ];
    }
    const verdict = isShown ? this.#shown.take(address, now) : "pass";
    const refusal = verdict === "pass" ? this.#limitReached(address) : verdict;
    if (refusal !== undefined) return [{ kind: "stranger-dropped", reason: refusal }];
    const { payloads, unsupportedCritical } = decodePayloads(chain.payloads);
    const [critical] = unsupportedCritical;
    if (critical !== undefined) {
      const data = Uint8Array.of(critical);
      return [
        answer(buildStatelessResponse(header, notify(NotifyType.unsupportedCriticalPayload, data))),
      ];
    }
    const request = processIkeSaInitRequest(header, payloads, {
      suites: this.#settings.ikeSuites,
      path,
    });
    if (request.kind === "refuse") {
      return [answer(buildStatelessResponse(header, request.notification))];
    }
    const agreement = beginKeyAgreement(request.chosen.suite.group, this.#ports.random);
    const ourNonce = this.#ports.random(NONCE_LENGTH);
    const responderSpi = this.#newSpi();
    const { initiatorSpi } = header;
    const response = buildIkeSaInitResponse({
      initiatorSpi,
      responderSpi,
      hello: request,
      agreement,
      nonce: ourNonce,
      path,
      authorities: this.#directory.authorities,
      ...(this.#settings.forceEncapsulation ? { disguise: this.#ports.random(20) } : {}),
    });
    const { session, effects } = IkeSession.accept(
      this.#directory,
      {
        initiatorSpi,
        responderSpi,
        hello: request,
        agreement,
        transcript: {
          request: message,
          response,
          nonces: { initiator: nonce, responder: ourNonce },
        },
        path,
        encapsulated,
      },
      { settings: this.#settings, ports: this.#ports, now },
    );
    const id = this.#nextId++ as SessionId;
    this.#sessions.set(id, session);
    this.#halfOpen.set(id, { request: message, response, address, key });
    this.#halfOpenByAddress.set(address, this.#halfOpenOf(address) + 1);
    this.#halfOpenByKey.set(key, id);
    return [answer(response), ...this.#done(id, effects)];
  }

  #limitReached(address: Ipv4Address): StrangerDrop | undefined {
    const { maximumSessions, maximumHalfOpen, maximumHalfOpenPerAddress } = this.#limits;
    if (this.#sessions.size >= maximumSessions) return "session-limit";
    if (this.#halfOpen.size >= maximumHalfOpen) return "half-open-limit";
    return this.#halfOpenOf(address) >= maximumHalfOpenPerAddress ? "address-limit" : undefined;
  }

  #wantsCookie(address: Ipv4Address, now: Instant): boolean {
    if (this.#halfOpen.size >= this.#limits.cookieThreshold) return true;
    return this.#claimed.take(address, now) !== "pass";
  }

  #halfOpenOf(address: Ipv4Address): number {
    return this.#halfOpenByAddress.get(address) ?? 0;
  }

  /**
   * In the clear: INVALID_IKE_SPI, which a home takes as a hint that we have begun anew (section 2.21.4), or
   * INVALID_MAJOR_VERSION (section 2.5). Responses are not answered.
   */
  #answerStranger(
    header: IkeHeader,
    type: number,
    { path, encapsulated }: { readonly path: Path; readonly encapsulated: boolean },
    now: Instant,
  ): ResponderEffect[] {
    if (header.response || !this.#strangerAnswers.take(now)) return [];
    const message = encodeClearMessage(
      {
        initiatorSpi: header.initiatorSpi,
        responderSpi: header.responderSpi,
        exchange: header.exchange,
        fromInitiator: !header.fromInitiator,
        response: true,
        messageId: header.messageId,
      },
      [notify(type)],
    );
    return [{ kind: "send", path, encapsulated, message }];
  }

  /** Books what a session did. */
  #done(id: SessionId, effects: readonly SessionEffect[]): ResponderEffect[] {
    const session = this.#sessions.get(id);
    const out: ResponderEffect[] = [];
    for (const effect of effects) {
      switch (effect.kind) {
        case "send":
        case "keepalive":
          out.push(effect);
          break;
        case "listen":
          this.#bySpi.set(effect.spi, id);
          break;
        case "unlisten":
          this.#bySpi.delete(effect.spi);
          break;
        case "established":
          this.#noLongerHalfOpen(id);
          if (effect.initialContact) out.push(...this.#abandonOthers(effect.peer));
          this.#remember(id, formatIdentification(effect.peer));
          out.push(...this.#abandonOldest(effect.peer));
          out.push({ kind: "session", id, effect });
          break;
        default:
          out.push({ kind: "session", id, effect });
      }
    }
    if (session === undefined) return out;
    this.#deadlines.set(id, session.deadline);
    if (session.isClosed) {
      this.#noLongerHalfOpen(id);
      this.#forgetIdentity(id);
      this.#sessions.delete(id);
    }
    return out;
  }

  /** The home says that it knows of no other IKE SA (section 2.4). */
  #abandonOthers(peer: Identification): ResponderEffect[] {
    return this.#abandon(this.#sessionsOf(peer));
  }

  /** One home must not take what is there for all. */
  #abandonOldest(peer: Identification): ResponderEffect[] {
    const sessions = this.#sessionsOf(peer);
    const most = this.#limits.maximumSessionsPerIdentity;
    return this.#abandon(sessions.slice(0, Math.max(0, sessions.length - most)));
  }

  /** The oldest first. */
  #sessionsOf(peer: Identification): readonly SessionId[] {
    return [...(this.#byIdentity.get(formatIdentification(peer)) ?? [])];
  }

  #abandon(sessions: readonly SessionId[]): ResponderEffect[] {
    return sessions.flatMap((other) => {
      const session = this.#sessions.get(other);
      // `abandon` says nothing to anyone and needs no time.
      return session === undefined
        ? []
        : this.#done(other, session.handle({ kind: "abandon" }, 0 as Instant));
    });
  }

  #remember(id: SessionId, identity: string): void {
    this.#identities.set(id, identity);
    const all = this.#byIdentity.get(identity) ?? new Set();
    this.#byIdentity.set(identity, all.add(id));
  }

  #forgetIdentity(id: SessionId): void {
    const identity = this.#identities.get(id);
    if (identity === undefined) return;
    this.#identities.delete(id);
    const all = this.#byIdentity.get(identity);
    all?.delete(id);
    if (all?.size === 0) this.#byIdentity.delete(identity);
  }

  #noLongerHalfOpen(id: SessionId): void {
    const halfOpen = this.#halfOpen.get(id);
    if (halfOpen === undefined) return;
    this.#halfOpen.delete(id);
    this.#halfOpenByKey.delete(halfOpen.key);
    const left = this.#halfOpenOf(halfOpen.address) - 1;
    if (left > 0) this.#halfOpenByAddress.set(halfOpen.address, left);
    else this.#halfOpenByAddress.delete(halfOpen.address);
  }

  // ---- cookies

  #secret(now: Instant): CookieSecret {
    const [newest] = this.#secrets;
    if (newest !== undefined && this.#secretUntil !== undefined && now < this.#secretUntil) {
      return newest;
    }
    // One that has not been used for long is not the one before.
    const isRecent =
      this.#secretUntil !== undefined && now < later(this.#secretUntil, COOKIE_SECRET_MS);
    const next = {
      version: ((newest?.version ?? 0) + 1) & 0xff,
      secret: this.#ports.random(COOKIE_SECRET_LENGTH),
    };
    this.#secrets = newest !== undefined && isRecent ? [next, newest] : [next];
    this.#secretUntil = later(now, COOKIE_SECRET_MS);
    return next;
  }

  #isGoodCookie(
    cookie: Uint8Array,
    about: { nonce: Uint8Array; address: Ipv4Address; spi: IkeSpi },
    now: Instant,
  ): boolean {
    this.#secret(now);
    const secret = this.#secrets.find(({ version }) => version === cookie[0]);
    if (secret === undefined) return false;
    const expected = this.#cookie(secret, about);
    return cookie.length === expected.length && timingSafeEqual(cookie, expected);
  }

  /** Section 2.6: which secret, then a hash of the nonce, the address, the SPI and the secret. */
  #cookie(
    { version, secret }: CookieSecret,
    about: { nonce: Uint8Array; address: Ipv4Address; spi: IkeSpi },
  ): Uint8Array {
    const hmac = createHmac("sha256", secret)
      .update(about.nonce)
      .update(ipv4Octets(about.address))
      .update(ikeSpiOctets(about.spi))
      .digest();
    const cookie = new ByteWriter().u8(version).octets(hmac).finish();
    return cookie.subarray(0, COOKIE_VERSION_LENGTH + hmac.length);
  }

  #newSpi(): IkeSpi {
    const spi = formatIkeSpi(this.#ports.random(IKE_SPI_LENGTH));
    return spi === ZERO_SPI || this.#bySpi.has(spi) ? this.#newSpi() : spi;
  }
}

function isNonceOrNotify({ type }: GenericPayload): boolean {
  return type === PayloadType.nonce || type === PayloadType.notify;
}
