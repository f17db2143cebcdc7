/** Suites as proposals, and the choice among offered ones. RFC 7296 sections 2.7, 3.3.6; RFC 8247 for what is there. */

import { ByteReader } from "../bytes/reader.ts";
import { ByteWriter } from "../bytes/writer.ts";
import type { Suite } from "../tunnel/tunnel.ts";
import { type ChildSuite, CIPHERS, GROUPS, type Group, type IkeSuite, PRFS } from "./algorithms.ts";
import { type IkeSpi, ikeSpiOctets } from "./wire/header.ts";
import {
  type Proposal,
  ProtocolId,
  type Transform,
  TransformType,
} from "./wire/payloads/security-association.ts";

const ESP_SPI_LENGTH = 4; // octets
/** INTEG NONE and Diffie-Hellman NONE: offering them is offering to do without. */
const TRANSFORM_NONE = 0;
const MAY_BE_NONE: readonly number[] = [TransformType.integrity, TransformType.keyExchangeMethod];

export interface ChosenIke {
  readonly suite: IkeSuite;
  readonly number: number;
  /** The peer's new SPI when an IKE SA is rekeyed; empty in IKE_SA_INIT. */
  readonly spi: Uint8Array;
}

export interface ChosenChild {
  readonly suite: Suite;
  readonly extendedSequenceNumbers: boolean;
  readonly group: Group | undefined;
  readonly number: number;
  /** Where the peer receives. */
  readonly peerSpi: number;
}

/** One proposal for each suite, in order of preference. `spi` only when an IKE SA is rekeyed. */
export function ikeProposals(suites: readonly IkeSuite[], spi?: IkeSpi): Proposal[] {
  return suites.map((suite, index) => ({
    number: index + 1,
    protocol: ProtocolId.ike,
    spi: spi === undefined ? new Uint8Array(0) : ikeSpiOctets(spi),
    transforms: ikeTransforms(suite),
  }));
}

/** The answer: one proposal with one transform of each type. */
export function chosenIkeProposal({ suite, number }: ChosenIke, spi?: IkeSpi): Proposal {
  const [proposal] = ikeProposals([suite], spi);
  return { ...(proposal as Proposal), number };
}

/** Our first suite that is offered. */
export function chooseIke(
  offered: readonly Proposal[],
  suites: readonly IkeSuite[],
): ChosenIke | undefined {
  for (const suite of suites) {
    const wanted = ikeTransforms(suite).map(alternatives);
    const proposal = offered.find((one) => one.protocol === ProtocolId.ike && offers(one, wanted));
    if (proposal !== undefined) return { suite, number: proposal.number, spi: proposal.spi };
  }
  return undefined;
}

/**
 * One proposal for each suite. In IKE_AUTH, which has no key exchange of its own, groups are left out
 * (RFC 7296 section 1.2).
 */
export function childProposals(
  suites: readonly ChildSuite[],
  spi: number,
  options: { readonly withGroups: boolean },
): Proposal[] {
  const distinct = options.withGroups ? suites : suites.filter(isFirstOfItsKind);
  return distinct.map((suite, index) => ({
    number: index + 1,
    protocol: ProtocolId.esp,
    spi: new ByteWriter().u32(spi).finish(),
    transforms: childTransforms(suite, options.withGroups).flat(),
  }));
}

export function chosenChildProposal(chosen: ChosenChild, spi: number): Proposal {
  const suite: ChildSuite = {
    suite: chosen.suite,
    extendedSequenceNumbers: [chosen.extendedSequenceNumbers],
    ...(chosen.group === undefined ? {} : { group: chosen.group }),
  };
  const [proposal] = childProposals([suite], spi, { withGroups: true });
  return { ...(proposal as Proposal), number: chosen.number };
}

/** Our first suite that is offered, with the first of its kinds of sequence numbers that is. */
export function chooseChild(
  offered: readonly Proposal[],
  suites: readonly ChildSuite[],
  options: { readonly withGroups: boolean },
): ChosenChild | undefined {
  for (const suite of suites) {
    for (const extended of suite.extendedSequenceNumbers) {
      const one = { ...suite, extendedSequenceNumbers: [extended] };
      const wanted = childTransforms(one, options.withGroups);
      const proposal = offered.find(
        (one) =>
          one.protocol === ProtocolId.esp &&
          one.spi.length === ESP_SPI_LENGTH &&
          offers(one, wanted, options),
      );
      if (proposal === undefined) continue;
      return {
        suite: suite.suite,
        extendedSequenceNumbers: extended,
        group: options.withGroups ? suite.group : undefined,
        number: proposal.number,
        peerSpi: new ByteReader("ikev2", proposal.spi).u32(),
      };
    }
  }
  return undefined;
}

/** The same suite with another group is the same where there are no groups. */
function isFirstOfItsKind(suite: ChildSuite, index: number, all: readonly ChildSuite[]): boolean {
  const kind = String(suite.extendedSequenceNumbers);
  const same = (one: ChildSuite) =>
    one.suite === suite.suite && String(one.extendedSequenceNumbers) === kind;
  return all.findIndex(same) === index;
}

function ikeTransforms(suite: IkeSuite): Transform[] {
  const cipher = CIPHERS[suite.encryption];
  return [
    encryption(cipher),
    { type: TransformType.pseudorandomFunction, id: PRFS[suite.prf].transform },
    ...(cipher.integrity === undefined
      ? []
      : [{ type: TransformType.integrity, id: cipher.integrity }]),
    { type: TransformType.keyExchangeMethod, id: GROUPS[suite.group].transform },
  ];
}

/** Each entry is one type with its alternatives. */
function childTransforms(suite: ChildSuite, withGroup: boolean): Transform[][] {
  const cipher = CIPHERS[suite.suite];
  return [
    [encryption(cipher)],
    ...(cipher.integrity === undefined
      ? []
      : [[{ type: TransformType.integrity, id: cipher.integrity }]]),
    ...(withGroup && suite.group !== undefined
      ? [[{ type: TransformType.keyExchangeMethod, id: GROUPS[suite.group].transform }]]
      : []),
    suite.extendedSequenceNumbers.map((extended) => ({
      type: TransformType.extendedSequenceNumbers,
      id: extended ? 1 : 0,
    })),
  ];
}

function encryption(cipher: { transform: number; keyLength: number }): Transform {
  return {
    type: TransformType.encryption,
    id: cipher.transform,
    keyLength: cipher.keyLength * 8,
  };
}

function alternatives(transform: Transform): Transform[] {
  return [transform];
}

/**
 * Whether a proposal offers one alternative of each wanted type, and wants no type that we do not give it (RFC
 * 7296 section 3.3.6).
 */
function offers(
  proposal: Proposal,
  wanted: readonly (readonly Transform[])[],
  options: { readonly withGroups: boolean } = { withGroups: true },
): boolean {
  const { transforms } = proposal;
  // A group in an IKE_AUTH proposal is for later rekeys: it cannot be answered there.
  const isGiven = (type: number) =>
    wanted.some(([choice]) => choice?.type === type) ||
    (type === TransformType.keyExchangeMethod && !options.withGroups);
  const hasNone = (type: number) =>
    transforms.some((one) => one.type === type && one.id === TRANSFORM_NONE);
  const optional = MAY_BE_NONE.filter(hasNone);
  if (!transforms.every(({ type }) => isGiven(type) || optional.includes(type))) return false;
  return wanted.every((choices) =>
    choices.some((choice) => transforms.some((one) => isSame(one, choice))),
  );
}

function isSame(a: Transform, b: Transform): boolean {
  return (
    a.type === b.type && a.id === b.id && a.keyLength === b.keyLength && !a.hasUnknownAttributes
  );
}
