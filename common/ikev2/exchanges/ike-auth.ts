/** IKE_AUTH: who is who, the first Child SA, the home's configuration. RFC 7296 sections 1.2, 2.15, 2.19. */

import { MalformedError } from "../../errors.ts";
import type { Credential, Trust } from "../authentication.ts";
import {
  findError,
  findNotify,
  findPayload,
  type IdentificationPayload,
  notify,
  type Payload,
} from "../wire/message.ts";
import type { Authentication } from "../wire/payloads/authentication.ts";
import { type Certificate, CertificateEncoding } from "../wire/payloads/certificate.ts";
import type { Configuration } from "../wire/payloads/configuration.ts";
import { NotifyType } from "../wire/payloads/notify.ts";
import type { Proposal } from "../wire/payloads/security-association.ts";
import type { TrafficSelector } from "../wire/payloads/traffic-selectors.ts";
import { certificateRequests } from "./certificate-requests.ts";

const NOTHING = new Uint8Array(0);

/** The part of either message that makes a Child SA. */
export interface ChildPart {
  readonly proposals: readonly Proposal[];
  readonly initiatorSelectors: readonly TrafficSelector[];
  readonly responderSelectors: readonly TrafficSelector[];
}

export interface AuthRequest {
  readonly identification: IdentificationPayload<"IDi">;
  /** Whom the initiator wants to speak to. */
  readonly wanted: IdentificationPayload<"IDr"> | undefined;
  readonly authentication: Authentication;
  readonly certificates: readonly Certificate[];
  /** These are all the IKE SAs there are between the two, section 2.4. */
  readonly initialContact: boolean;
  readonly configuration: Configuration | undefined;
  readonly child: ChildPart;
}

export function buildIkeAuthRequest(request: AuthRequest & { readonly trust: Trust }): Payload[] {
  return [
    request.identification,
    ...certificatePayloads(request.certificates),
    ...(request.initialContact ? [notify(NotifyType.initialContact)] : []),
    ...(request.trust.kind === "authorities" ? certificateRequests(request.trust.authorities) : []),
    ...(request.wanted === undefined ? [] : [request.wanted]),
    { kind: "AUTH", ...request.authentication },
    // Configuration goes before the SA, section 2.19.
    ...(request.configuration === undefined
      ? []
      : [{ kind: "CP", configuration: request.configuration } as const]),
    ...childPayloads(request.child),
  ];
}

/**
 * Throws `MalformedError` `missing-payload`, also when there is no AUTH: that asks for EAP, which hometun does
 * not do, or for childless IKE SAs, which it does not offer.
 */
export function processIkeAuthRequest(payloads: readonly Payload[]): AuthRequest {
  const identification = findPayload(payloads, "IDi");
  const authentication = findPayload(payloads, "AUTH");
  const child = childPart(payloads);
  if (identification === undefined || authentication === undefined || child === undefined) {
    throw missingPayload();
  }
  return {
    identification,
    wanted: findPayload(payloads, "IDr"),
    authentication,
    certificates: payloads.filter((payload) => payload.kind === "CERT"),
    initialContact: findNotify(payloads, NotifyType.initialContact) !== undefined,
    configuration: findPayload(payloads, "CP")?.configuration,
    child,
  };
}

export interface AuthResponse {
  readonly identification: IdentificationPayload<"IDr">;
  readonly authentication: Authentication;
  readonly certificates: readonly Certificate[];
  readonly configuration: Configuration | undefined;
  /** A Child SA, or the number of the notification that says why there is none (section 1.2). */
  readonly child: ChildPart | number;
  /** Seconds until the initiator shall authenticate again, RFC 4478. */
  readonly authLifetime: number | undefined;
}

export function buildIkeAuthResponse(response: AuthResponse): Payload[] {
  const { child, configuration, authLifetime } = response;
  return [
    response.identification,
    ...certificatePayloads(response.certificates),
    { kind: "AUTH", ...response.authentication },
    ...(configuration === undefined ? [] : [{ kind: "CP", configuration } as const]),
    ...(authLifetime === undefined ? [] : [authLifetimePayload(authLifetime)]),
    ...(typeof child === "number" ? [notify(child)] : childPayloads(child)),
  ];
}

/** A response, or the number of the error that took the place of all the rest. Throws `MalformedError`. */
export function processIkeAuthResponse(payloads: readonly Payload[]): AuthResponse | number {
  const identification = findPayload(payloads, "IDr");
  const authentication = findPayload(payloads, "AUTH");
  const error = findError(payloads)?.type;
  if (identification === undefined || authentication === undefined) {
    if (error === undefined) throw missingPayload();
    return error;
  }
  const child = childPart(payloads) ?? error;
  if (child === undefined) throw missingPayload();
  return {
    identification,
    authentication,
    certificates: payloads.filter((payload) => payload.kind === "CERT"),
    configuration: findPayload(payloads, "CP")?.configuration,
    child,
    authLifetime: authLifetimeOf(payloads),
  };
}

export function childPayloads(child: ChildPart): Payload[] {
  return [
    { kind: "SA", proposals: child.proposals },
    { kind: "TSi", selectors: child.initiatorSelectors },
    { kind: "TSr", selectors: child.responderSelectors },
  ];
}

export function childPart(payloads: readonly Payload[]): ChildPart | undefined {
  const proposals = findPayload(payloads, "SA")?.proposals;
  const initiatorSelectors = findPayload(payloads, "TSi")?.selectors;
  const responderSelectors = findPayload(payloads, "TSr")?.selectors;
  if (proposals === undefined) return undefined;
  if (initiatorSelectors === undefined || responderSelectors === undefined) return undefined;
  return { proposals, initiatorSelectors, responderSelectors };
}

/** AUTH_LIFETIME, RFC 4478 section 3. */
export function authLifetimePayload(seconds: number): Payload {
  const data = new Uint8Array(4);
  new DataView(data.buffer).setUint32(0, seconds);
  return notify(NotifyType.authLifetime, data);
}

export function authLifetimeOf(payloads: readonly Payload[]): number | undefined {
  const data = findNotify(payloads, NotifyType.authLifetime)?.data;
  if (data?.length !== 4) return undefined;
  return new DataView(data.buffer, data.byteOffset).getUint32(0);
}

/** The certificates that go with a credential. */
export function certificatesOf(credential: Credential): Certificate[] {
  if (credential.kind === "shared-key") return [];
  return credential.certificates.map((data) => ({
    encoding: CertificateEncoding.x509Signature,
    data,
  }));
}

function certificatePayloads(certificates: readonly Certificate[]): Payload[] {
  return certificates.map((certificate) => ({ kind: "CERT", ...certificate }));
}

function missingPayload(): MalformedError {
  return new MalformedError("ikev2", "missing-payload", "IKE_AUTH lacks a payload");
}

/** AUTHENTICATION_FAILED and the like: a response that is one notification. */
export function refusal(type: number, data: Uint8Array = NOTHING): Payload[] {
  return [notify(type, data)];
}
