/** IKE_SA_INIT: algorithms, key agreement, nonces. RFC 7296 sections 1.2, 2.6 (cookies), 2.7, 2.23. */

import type { X509Certificate } from "node:crypto";
import { ByteReader } from "../../bytes/reader.ts";
import { ByteWriter } from "../../bytes/writer.ts";
import { MalformedError } from "../../errors.ts";
import { GROUPS, type Group, groupOf, type IkeSuite } from "../algorithms.ts";
import { SIGNATURE_HASHES } from "../authentication.ts";
import type { KeyAgreement } from "../key-agreement.ts";
import { detectNat, type NatVerdict, natDetectionPayloads, type Path } from "../nat-detection.ts";
import { type ChosenIke, chooseIke, chosenIkeProposal, ikeProposals } from "../proposals.ts";
import { ExchangeType, type IkeHeader, type IkeSpi, ZERO_SPI } from "../wire/header.ts";
import {
  encodeClearMessage,
  findError,
  findNotify,
  findPayload,
  notify,
  type Payload,
} from "../wire/message.ts";
import { NotifyType } from "../wire/payloads/notify.ts";
import { certificateRequests } from "./certificate-requests.ts";

/** What the initiator chose before it asks. */
export interface InitiatorStart {
  readonly spi: IkeSpi;
  readonly suites: readonly IkeSuite[];
  readonly agreement: KeyAgreement;
  readonly nonce: Uint8Array;
  readonly path: Path;
  /** What the responder wants to have back first, section 2.6. */
  readonly cookie?: Uint8Array;
  /** Stands in for our address so that the peer finds a NAT. */
  readonly disguise?: Uint8Array;
}

/** What both know of the other after IKE_SA_INIT. */
export interface Hello {
  readonly chosen: ChosenIke;
  readonly publicValue: Uint8Array;
  readonly nonce: Uint8Array;
  readonly nat: NatVerdict;
  /** RFC 7383 section 2.3. */
  readonly fragmentation: boolean;
}

export function buildIkeSaInitRequest(start: InitiatorStart): Uint8Array {
  const { spi, agreement, cookie } = start;
  const spis = { initiatorSpi: spi, responderSpi: ZERO_SPI };
  const payloads: Payload[] = [
    // A cookie goes first, section 2.6.
    ...(cookie === undefined ? [] : [notify(NotifyType.cookie, cookie)]),
    { kind: "SA", proposals: ikeProposals(start.suites) },
    keyExchange(agreement),
    { kind: "Nonce", nonce: start.nonce },
    ...natDetectionPayloads(spis, start.path, start.disguise),
    ...capabilities(),
  ];
  return encodeClearMessage(
    {
      ...spis,
      exchange: ExchangeType.ikeSaInit,
      fromInitiator: true,
      response: false,
      messageId: 0,
    },
    payloads,
  );
}

export type InitAnswer =
  | { readonly kind: "cookie"; readonly cookie: Uint8Array }
  /** The responder wants another group, one of ours. */
  | { readonly kind: "other-group"; readonly group: Group }
  /** Not authenticated, so not to be believed at once (section 2.21.1). */
  | { readonly kind: "refused"; readonly notifyType: number }
  | ({ readonly kind: "accepted"; readonly responderSpi: IkeSpi } & Hello);

/** Throws `MalformedError` `missing-payload`, `unacceptable-proposal` or `public-value-group`. */
export function processIkeSaInitResponse(
  header: IkeHeader,
  payloads: readonly Payload[],
  start: InitiatorStart,
): InitAnswer {
  const cookie = findNotify(payloads, NotifyType.cookie);
  if (cookie !== undefined) return { kind: "cookie", cookie: cookie.data };
  const error = findError(payloads);
  if (error !== undefined) {
    const group =
      error.type === NotifyType.invalidKePayload
        ? groupOf(new ByteReader("ikev2", error.data).u16())
        : undefined;
    const offered = start.suites.some((suite) => suite.group === group);
    if (group === undefined || !offered || group === start.agreement.group) {
      return { kind: "refused", notifyType: error.type };
    }
    return { kind: "other-group", group };
  }
  const { proposals, group, publicValue, nonce } = required(payloads);
  const chosen = proposals.length === 1 ? chooseIke(proposals, start.suites) : undefined;
  if (chosen === undefined) throw malformed("unacceptable-proposal");
  if (group !== GROUPS[chosen.suite.group].transform || start.agreement.group !== groupOf(group)) {
    throw malformed("public-value-group");
  }
  if (header.responderSpi === ZERO_SPI) throw malformed("zero-spi");
  return {
    kind: "accepted",
    responderSpi: header.responderSpi,
    chosen,
    publicValue,
    nonce,
    nat: detectNat(payloads, header, start.path),
    fragmentation: hasFragmentation(payloads),
  };
}

export type InitRequest =
  | { readonly kind: "refuse"; readonly notification: Payload }
  | ({ readonly kind: "accept" } & Hello);

/** The responder's judgement of a request. Throws `MalformedError` `missing-payload`. */
export function processIkeSaInitRequest(
  header: IkeHeader,
  payloads: readonly Payload[],
  options: { readonly suites: readonly IkeSuite[]; readonly path: Path },
): InitRequest {
  const { proposals, group, publicValue, nonce } = required(payloads);
  const chosen = chooseIke(proposals, options.suites);
  if (chosen === undefined) {
    return { kind: "refuse", notification: notify(NotifyType.noProposalChosen) };
  }
  const wanted = GROUPS[chosen.suite.group].transform;
  if (group !== wanted) {
    const data = new ByteWriter().u16(wanted).finish();
    return { kind: "refuse", notification: notify(NotifyType.invalidKePayload, data) };
  }
  return {
    kind: "accept",
    chosen,
    publicValue,
    nonce,
    nat: detectNat(payloads, header, options.path),
    fragmentation: hasFragmentation(payloads),
  };
}

export function buildIkeSaInitResponse(options: {
  readonly initiatorSpi: IkeSpi;
  readonly responderSpi: IkeSpi;
  readonly hello: Hello;
  readonly agreement: KeyAgreement;
  readonly nonce: Uint8Array;
  readonly path: Path;
  readonly disguise?: Uint8Array;
  /** Whose certificates we believe. */
  readonly authorities: readonly X509Certificate[];
}): Uint8Array {
  const payloads: Payload[] = [
    { kind: "SA", proposals: [chosenIkeProposal(options.hello.chosen)] },
    keyExchange(options.agreement),
    { kind: "Nonce", nonce: options.nonce },
    ...(options.hello.nat === undefined
      ? []
      : natDetectionPayloads(options, options.path, options.disguise)),
    ...certificateRequests(options.authorities),
    ...capabilities(),
  ];
  return answer(options, payloads);
}

/** COOKIE, or a refusal: an answer that keeps no state, with a zero responder SPI. */
export function buildStatelessResponse(header: IkeHeader, notification: Payload): Uint8Array {
  return answer({ initiatorSpi: header.initiatorSpi, responderSpi: ZERO_SPI }, [notification]);
}

function answer(
  spis: { readonly initiatorSpi: IkeSpi; readonly responderSpi: IkeSpi },
  payloads: readonly Payload[],
): Uint8Array {
  const { initiatorSpi, responderSpi } = spis;
  return encodeClearMessage(
    {
      initiatorSpi,
      responderSpi,
      exchange: ExchangeType.ikeSaInit,
      fromInitiator: false,
      response: true,
      messageId: 0,
    },
    payloads,
  );
}

function keyExchange({ group, publicValue }: KeyAgreement): Payload {
  return { kind: "KE", group: GROUPS[group].transform, publicValue };
}

function capabilities(): Payload[] {
  return [
    notify(NotifyType.ikev2FragmentationSupported),
    notify(NotifyType.signatureHashAlgorithms, SIGNATURE_HASHES),
  ];
}

function hasFragmentation(payloads: readonly Payload[]): boolean {
  return findNotify(payloads, NotifyType.ikev2FragmentationSupported) !== undefined;
}

function required(payloads: readonly Payload[]) {
  const proposals = findPayload(payloads, "SA")?.proposals;
  const exchange = findPayload(payloads, "KE");
  const nonce = findPayload(payloads, "Nonce")?.nonce;
  if (proposals === undefined || exchange === undefined || nonce === undefined) {
    throw malformed("missing-payload");
  }
  return { proposals, nonce, group: exchange.group, publicValue: exchange.publicValue };
}

function malformed(code: string): MalformedError {
  return new MalformedError("ikev2", code, `IKE_SA_INIT: ${code}`);
}
