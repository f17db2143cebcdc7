/** Payloads with their meaning: from the generic chain to values and back. RFC 7296 sections 2.5 and 3. */

import { encodeIkeHeader, HEADER_LENGTH, type IkeHeader } from "./header.ts";
import { encodePayloadChain, type GenericPayload, PayloadType } from "./payload-chain.ts";
import {
  type Authentication,
  decodeAuthentication,
  encodeAuthentication,
} from "./payloads/authentication.ts";
import { type Certificate, decodeCertificate, encodeCertificate } from "./payloads/certificate.ts";
import {
  type CertificateRequest,
  decodeCertificateRequest,
  encodeCertificateRequest,
} from "./payloads/certificate-request.ts";
import {
  type Configuration,
  decodeConfiguration,
  encodeConfiguration,
} from "./payloads/configuration.ts";
import { type Delete, decodeDelete, encodeDelete } from "./payloads/delete.ts";
import {
  decodeIdentification,
  encodeIdentification,
  type Identification,
} from "./payloads/identification.ts";
import { decodeKeyExchange, encodeKeyExchange, type KeyExchange } from "./payloads/key-exchange.ts";
import { decodeNonce, encodeNonce } from "./payloads/nonce.ts";
import { decodeNotify, encodeNotify, isErrorType, type Notify } from "./payloads/notify.ts";
import {
  decodeSecurityAssociation,
  encodeSecurityAssociation,
  type Proposal,
} from "./payloads/security-association.ts";
import {
  decodeTrafficSelectors,
  encodeTrafficSelectors,
  type TrafficSelector,
} from "./payloads/traffic-selectors.ts";
import { decodeVendorId, encodeVendorId } from "./payloads/vendor-id.ts";

/** One payload; the kinds are the RFC's abbreviations. */
export type Payload =
  | { readonly kind: "SA"; readonly proposals: readonly Proposal[] }
  | ({ readonly kind: "KE" } & KeyExchange)
  | { readonly kind: "Nonce"; readonly nonce: Uint8Array }
  | IdentificationPayload<"IDi">
  | IdentificationPayload<"IDr">
  | ({ readonly kind: "AUTH" } & Authentication)
  | ({ readonly kind: "CERT" } & Certificate)
  | ({ readonly kind: "CERTREQ" } & CertificateRequest)
  | ({ readonly kind: "N" } & Notify)
  | ({ readonly kind: "D" } & Delete)
  | { readonly kind: "V"; readonly vendorId: Uint8Array }
  | { readonly kind: "TSi"; readonly selectors: readonly TrafficSelector[] }
  | { readonly kind: "TSr"; readonly selectors: readonly TrafficSelector[] }
  | ({ readonly kind: "CP" } & { readonly configuration: Configuration });

export interface IdentificationPayload<K extends "IDi" | "IDr"> {
  readonly kind: K;
  readonly identification: Identification;
  /** As it came, reserved octets included: that is what is authenticated (RFC 7296 section 2.15). */
  readonly body: Uint8Array;
}

export interface DecodedPayloads {
  readonly payloads: readonly Payload[];
  /** Types of payloads we do not know but must: refused with UNSUPPORTED_CRITICAL_PAYLOAD (section 2.5). */
  readonly unsupportedCritical: readonly number[];
}

/** Payloads we do not know are left out. Throws `MalformedError` for one that does not obey its format. */
export function decodePayloads(chain: readonly GenericPayload[]): DecodedPayloads {
  const payloads: Payload[] = [];
  const unsupportedCritical: number[] = [];
  for (const generic of chain) {
    const payload = decodePayload(generic);
    if (payload !== undefined) payloads.push(payload);
    else if (generic.critical) unsupportedCritical.push(generic.type);
  }
  return { payloads, unsupportedCritical };
}

/** The octets of the chain; `firstPayloadType` says what goes before them. */
export function encodePayloads(payloads: readonly Payload[]): Uint8Array {
  return encodePayloadChain(payloads.map(genericPayload));
}

/** What the header, or the Encrypted payload, names as its next payload. */
export function firstPayloadType(payloads: readonly Payload[]): number {
  const [first] = payloads;
  return first === undefined ? PayloadType.none : TYPES[first.kind];
}

/** A whole message in the clear: IKE_SA_INIT, or an answer outside any IKE SA. */
export function encodeClearMessage(
  header: Omit<IkeHeader, "nextPayload" | "length">,
  payloads: readonly Payload[],
): Uint8Array {
  const body = encodePayloads(payloads);
  const length = HEADER_LENGTH + body.length;
  const message = new Uint8Array(length);
  message.set(encodeIkeHeader({ ...header, nextPayload: firstPayloadType(payloads), length }));
  message.set(body, HEADER_LENGTH);
  return message;
}

/** The first payload of a kind, if there is one. */
export function findPayload<K extends Payload["kind"]>(
  payloads: readonly Payload[],
  kind: K,
): Extract<Payload, { kind: K }> | undefined {
  return payloads.find((payload) => payload.kind === kind) as
    | Extract<Payload, { kind: K }>
    | undefined;
}

/** All notifications of a type. */
export function findNotifies(payloads: readonly Payload[], type: number): readonly Notify[] {
  return payloads.filter((payload) => payload.kind === "N").filter((n) => n.type === type);
}

export function findNotify(payloads: readonly Payload[], type: number): Notify | undefined {
  return findNotifies(payloads, type)[0];
}

/** The first notification of an error, if there is one. */
export function findError(payloads: readonly Payload[]): Notify | undefined {
  return payloads
    .filter((payload) => payload.kind === "N")
    .find((notify) => isErrorType(notify.type));
}

const NOTHING = new Uint8Array(0);

const TYPES: Readonly<Record<Payload["kind"], number>> = {
  SA: PayloadType.securityAssociation,
  KE: PayloadType.keyExchange,
  Nonce: PayloadType.nonce,
  IDi: PayloadType.initiatorIdentification,
  IDr: PayloadType.responderIdentification,
  AUTH: PayloadType.authentication,
  CERT: PayloadType.certificate,
  CERTREQ: PayloadType.certificateRequest,
  N: PayloadType.notify,
  D: PayloadType.delete,
  V: PayloadType.vendorId,
  TSi: PayloadType.initiatorTrafficSelectors,
  TSr: PayloadType.responderTrafficSelectors,
  CP: PayloadType.configuration,
};

export function notify(
  type: number,
  data: Uint8Array = NOTHING,
  about: { protocol: number; spi: Uint8Array } = { protocol: 0, spi: NOTHING },
): Payload {
  return { kind: "N", ...about, type, data };
}

export function identificationPayload<K extends "IDi" | "IDr">(
  kind: K,
  identification: Identification,
): IdentificationPayload<K> {
  return { kind, identification, body: encodeIdentification(identification) };
}

function decodePayload({ type, body }: GenericPayload): Payload | undefined {
  switch (type) {
    case PayloadType.securityAssociation:
      return { kind: "SA", proposals: decodeSecurityAssociation(body) };
    case PayloadType.keyExchange:
      return { kind: "KE", ...decodeKeyExchange(body) };
    case PayloadType.nonce:
      return { kind: "Nonce", nonce: decodeNonce(body) };
    case PayloadType.initiatorIdentification:
      return { kind: "IDi", identification: decodeIdentification(body), body };
    case PayloadType.responderIdentification:
      return { kind: "IDr", identification: decodeIdentification(body), body };
    case PayloadType.authentication:
      return { kind: "AUTH", ...decodeAuthentication(body) };
    case PayloadType.certificate:
      return { kind: "CERT", ...decodeCertificate(body) };
    case PayloadType.certificateRequest:
      return { kind: "CERTREQ", ...decodeCertificateRequest(body) };
    case PayloadType.notify:
      return { kind: "N", ...decodeNotify(body) };
    case PayloadType.delete:
      return { kind: "D", ...decodeDelete(body) };
    case PayloadType.vendorId:
      return { kind: "V", vendorId: decodeVendorId(body) };
    case PayloadType.initiatorTrafficSelectors:
      return { kind: "TSi", selectors: decodeTrafficSelectors(body) };
    case PayloadType.responderTrafficSelectors:
      return { kind: "TSr", selectors: decodeTrafficSelectors(body) };
    case PayloadType.configuration:
      return { kind: "CP", configuration: decodeConfiguration(body) };
    default:
      return undefined;
  }
}

/** No payload of RFC 7296 is sent with the critical bit (section 2.5). */
function genericPayload(payload: Payload): GenericPayload {
  return { type: TYPES[payload.kind], critical: false, body: encodeBody(payload) };
}

function encodeBody(payload: Payload): Uint8Array {
  switch (payload.kind) {
    case "SA":
      return encodeSecurityAssociation(payload.proposals);
    case "KE":
      return encodeKeyExchange(payload);
    case "Nonce":
      return encodeNonce(payload.nonce);
    case "IDi":
    case "IDr":
      return payload.body;
    case "AUTH":
      return encodeAuthentication(payload);
    case "CERT":
      return encodeCertificate(payload);
    case "CERTREQ":
      return encodeCertificateRequest(payload);
    case "N":
      return encodeNotify(payload);
    case "D":
      return encodeDelete(payload);
    case "V":
      return encodeVendorId(payload.vendorId);
    case "TSi":
    case "TSr":
      return encodeTrafficSelectors(payload.selectors);
    case "CP":
      return encodeConfiguration(payload.configuration);
  }
}
