/**
 * Making a Child SA, as the end that was asked and as the end that asked: the suite, the selectors, the group, the
 * keys. RFC 7296 sections 2.9, 2.17; no state of its own.
 */

import type { Encapsulation } from "../tunnel/tunnel.ts";
import { type ChildSuite, GROUPS, type Group, type Prf } from "./algorithms.ts";
import type { ChildRequest } from "./exchanges/create-child-sa.ts";
import type { ChildPart } from "./exchanges/ike-auth.ts";
import { beginKeyAgreement, type KeyAgreement, type RandomSource } from "./key-agreement.ts";
import { deriveChildKeys, type Nonces } from "./keys.ts";
import { type ChosenChild, chooseChild, chosenChildProposal } from "./proposals.ts";
import { isWithin, narrow } from "./selectors.ts";
import type { ChildSa } from "./session-types.ts";
import { NotifyType } from "./wire/payloads/notify.ts";
import type { TrafficSelector } from "./wire/payloads/traffic-selectors.ts";

/** What a Child SA is made with: of the session and of its IKE SA. */
export interface ChildMaker {
  readonly suites: readonly ChildSuite[];
  readonly random: RandomSource;
  readonly allocateSpi: () => number;
  readonly prf: Prf;
  /** SK_d. */
  readonly d: Uint8Array;
  readonly encapsulation: Encapsulation;
}

export interface ChildSelectors {
  readonly local: readonly TrafficSelector[];
  readonly remote: readonly TrafficSelector[];
}

export interface MadeChild {
  readonly sa: ChildSa;
  readonly agreement: KeyAgreement | undefined;
  /** For the answer. */
  readonly child: ChildPart;
}

/** As responder of the exchange. A number is the notification that refuses. */
export function answerChild(
  maker: ChildMaker,
  asked: ChildPart,
  keyExchange: ChildRequest["keyExchange"],
  allowed: ChildSelectors,
  options: { readonly nonces: Nonces; readonly withGroups: boolean },
): number | { readonly invalidKe: Group } | MadeChild {
  const { withGroups } = options;
  const chosen = chooseChild(asked.proposals, maker.suites, { withGroups });
  if (chosen === undefined) return NotifyType.noProposalChosen;
  const remote = narrow(asked.initiatorSelectors, allowed.remote);
  const local = narrow(asked.responderSelectors, allowed.local);
  if (remote.length === 0 || local.length === 0) return NotifyType.tsUnacceptable;
  const agreement =
    chosen.group === undefined ? undefined : beginKeyAgreement(chosen.group, maker.random);
  if (agreement !== undefined && !isOfGroup(keyExchange, agreement.group)) {
    return { invalidKe: agreement.group };
  }
  const spi = maker.allocateSpi();
  const secret =
    keyExchange === undefined ? undefined : agreement?.sharedSecret(keyExchange.publicValue);
  const sa = makeChild(maker, chosen, {
    spi,
    nonces: options.nonces,
    secret,
    weBegan: false,
    selectors: { local, remote },
  });
  return {
    sa,
    agreement,
    child: {
      proposals: [chosenChildProposal(chosen, spi)],
      initiatorSelectors: remote,
      responderSelectors: local,
    },
  };
}

/** As initiator of the exchange. Undefined when the answer is not one of what we proposed. */
export function acceptChild(
  maker: ChildMaker,
  answered: ChildPart,
  options: {
    readonly spi: number;
    readonly nonces: Nonces;
    readonly withGroups: boolean;
    readonly proposed: ChildSelectors;
    readonly agreement?: KeyAgreement;
    readonly keyExchange?: NonNullable<ChildRequest["keyExchange"]>;
  },
): ChildSa | undefined {
  const { proposed, agreement, keyExchange } = options;
  if (answered.proposals.length !== 1) return undefined;
  const suites = maker.suites;
  const chosen = chooseChild(answered.proposals, suites, { withGroups: options.withGroups });
  const selectors = {
    local: answered.initiatorSelectors,
    remote: answered.responderSelectors,
  };
  if (chosen === undefined || selectors.local.length === 0 || selectors.remote.length === 0) {
    return undefined;
  }
  if (!isWithin(selectors.local, proposed.local) || !isWithin(selectors.remote, proposed.remote)) {
    return undefined;
  }
  if (chosen.group !== agreement?.group) return undefined;
  if (agreement !== undefined && !isOfGroup(keyExchange, agreement.group)) return undefined;
  const secret =
    keyExchange === undefined ? undefined : agreement?.sharedSecret(keyExchange.publicValue);
  return makeChild(maker, chosen, {
    spi: options.spi,
    nonces: options.nonces,
    secret,
    weBegan: true,
    selectors,
  });
}

function makeChild(
  maker: ChildMaker,
  chosen: ChosenChild,
  options: {
    readonly spi: number;
    readonly nonces: Nonces;
    readonly secret: Uint8Array | undefined;
    readonly weBegan: boolean;
    readonly selectors: ChildSelectors;
  },
): ChildSa {
  const { suite, extendedSequenceNumbers } = chosen;
  const { weBegan, secret, nonces } = options;
  const keys = deriveChildKeys({
    prf: maker.prf,
    d: maker.d,
    nonces,
    suite,
    ...(secret === undefined ? {} : { secret }),
  });
  const outbound = weBegan ? keys.initiatorToResponder : keys.responderToInitiator;
  const inbound = weBegan ? keys.responderToInitiator : keys.initiatorToResponder;
  return {
    inbound: { spi: options.spi, suite, extendedSequenceNumbers, ...inbound },
    outbound: { spi: chosen.peerSpi, suite, extendedSequenceNumbers, ...outbound },
    localSelectors: options.selectors.local,
    remoteSelectors: options.selectors.remote,
    encapsulation: maker.encapsulation,
  };
}

/** Whether a Key Exchange payload is of a group. */
export function isOfGroup(
  keyExchange: { readonly group: number } | undefined,
  group: Group,
): boolean {
  return keyExchange?.group === GROUPS[group].transform;
}
