/**
 * CREATE_CHILD_SA: another Child SA, the successor of one, the successor of the IKE SA. RFC 7296 sections 1.3, 2.8,
 * 2.17, 2.18; LINK_ID by RFC 5739 section 4.3.
 */

import { ByteReader } from "../../bytes/reader.ts";
import { ByteWriter } from "../../bytes/writer.ts";
import { MalformedError } from "../../errors.ts";
import { GROUPS, type Group, groupOf } from "../algorithms.ts";
import type { KeyAgreement } from "../key-agreement.ts";
import { findError, findNotify, findPayload, notify, type Payload } from "../wire/message.ts";
import type { KeyExchange } from "../wire/payloads/key-exchange.ts";
import { NotifyType } from "../wire/payloads/notify.ts";
import { type Proposal, ProtocolId } from "../wire/payloads/security-association.ts";
import { type ChildPart, childPart } from "./ike-auth.ts";

const ESP_SPI_LENGTH = 4; // octets

/** What a Child SA request asks; the answer has the same parts without `rekeyed` and `linkId`. */
export interface ChildRequest {
  readonly kind: "child";
  readonly child: ChildPart;
  readonly nonce: Uint8Array;
  readonly keyExchange: KeyExchange | undefined;
  /** Where the sender of the request receives on the SA that is to be replaced. */
  readonly rekeyed: number | undefined;
  readonly linkId: Uint8Array | undefined;
}

export interface IkeRekeyRequest {
  readonly kind: "ike";
  readonly proposals: readonly Proposal[];
  readonly nonce: Uint8Array;
  readonly keyExchange: KeyExchange;
}

export function buildChildRequest(request: {
  readonly child: ChildPart;
  readonly nonce: Uint8Array;
  readonly agreement: KeyAgreement | undefined;
  readonly rekeyed: number | undefined;
  readonly linkId: Uint8Array | undefined;
}): Payload[] {
  const { rekeyed, linkId } = request;
  return [
    ...(rekeyed === undefined ? [] : [rekeyPayload(rekeyed)]),
    ...(linkId === undefined ? [] : [notify(NotifyType.linkId, linkId)]),
    ...buildChildResponse(request),
  ];
}

export function buildChildResponse(response: {
  readonly child: ChildPart;
  readonly nonce: Uint8Array;
  readonly agreement: KeyAgreement | undefined;
}): Payload[] {
  const { child, nonce, agreement } = response;
  return [
    { kind: "SA", proposals: child.proposals },
    { kind: "Nonce", nonce },
    ...(agreement === undefined ? [] : [keyExchangePayload(agreement)]),
    { kind: "TSi", selectors: child.initiatorSelectors },
    { kind: "TSr", selectors: child.responderSelectors },
  ];
}

/** Request and response have one form. The proposals hold the SPIs. */
export function buildIkeRekey(message: {
  readonly proposals: readonly Proposal[];
  readonly nonce: Uint8Array;
  readonly agreement: KeyAgreement;
}): Payload[] {
  return [
    { kind: "SA", proposals: message.proposals },
    { kind: "Nonce", nonce: message.nonce },
    keyExchangePayload(message.agreement),
  ];
}

/** Throws `MalformedError` `missing-payload`. */
export function processCreateChildSaRequest(
  payloads: readonly Payload[],
): ChildRequest | IkeRekeyRequest {
  const proposals = findPayload(payloads, "SA")?.proposals;
  const nonce = findPayload(payloads, "Nonce")?.nonce;
  const keyExchange = findPayload(payloads, "KE");
  if (proposals === undefined || nonce === undefined) throw missingPayload();
  if (proposals.some((proposal) => proposal.protocol === ProtocolId.ike)) {
    if (keyExchange === undefined) throw missingPayload();
    return { kind: "ike", proposals, nonce, keyExchange };
  }
  const child = childPart(payloads);
  if (child === undefined) throw missingPayload();
  const rekeyed = findNotify(payloads, NotifyType.rekeySa);
  return {
    kind: "child",
    child,
    nonce,
    keyExchange,
    rekeyed: rekeyed === undefined ? undefined : espSpi(rekeyed.spi),
    linkId: findNotify(payloads, NotifyType.linkId)?.data,
  };
}

/** Why there is no SA: the notification's number, and the group INVALID_KE_PAYLOAD asks for. */
export interface ChildRefusal {
  readonly kind: "refused";
  readonly notifyType: number;
  readonly group: Group | undefined;
}

/** Throws `MalformedError` `missing-payload`. */
export function processCreateChildSaResponse(
  payloads: readonly Payload[],
): ChildRequest | IkeRekeyRequest | ChildRefusal {
  const error = findError(payloads);
  if (error === undefined) return processCreateChildSaRequest(payloads);
  const wantsGroup = error.type === NotifyType.invalidKePayload;
  return {
    kind: "refused",
    notifyType: error.type,
    group: wantsGroup ? groupOf(new ByteReader("ikev2", error.data).u16()) : undefined,
  };
}

/** INVALID_KE_PAYLOAD, section 1.3. */
export function invalidKePayload(group: Group): Payload {
  const data = new ByteWriter().u16(GROUPS[group].transform).finish();
  return notify(NotifyType.invalidKePayload, data);
}

/** CHILD_SA_NOT_FOUND names the SA as the request did, section 2.25. */
export function childSaNotFound(spi: number): Payload {
  return notify(NotifyType.childSaNotFound, new Uint8Array(0), espSa(spi));
}

function rekeyPayload(spi: number): Payload {
  return notify(NotifyType.rekeySa, new Uint8Array(0), espSa(spi));
}

function espSa(spi: number) {
  return { protocol: ProtocolId.esp, spi: new ByteWriter().u32(spi).finish() };
}

function espSpi(octets: Uint8Array): number {
  if (octets.length !== ESP_SPI_LENGTH) {
    throw new MalformedError("ikev2", "spi-length", `an ESP SPI of ${octets.length} octets`);
  }
  return new ByteReader("ikev2", octets).u32();
}

function keyExchangePayload({ group, publicValue }: KeyAgreement): Payload {
  return { kind: "KE", group: GROUPS[group].transform, publicValue };
}

function missingPayload(): MalformedError {
  return new MalformedError("ikev2", "missing-payload", "CREATE_CHILD_SA lacks a payload");
}
