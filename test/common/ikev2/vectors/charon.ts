/**
 * Three whole sessions of strongSwan 5.9.8 with itself, one for each suite: IKE_SA_INIT, IKE_AUTH (PSK, addresses,
 * a prefix), rekey of the Child SA, of the IKE SA, delete. Messages as tcpdump saw them, secrets as charon's log
 * shows them at level 4.
 */

import { readFileSync } from "node:fs";
import type { IkeEncryption } from "../../../../common/ikev2/algorithms.ts";
import { openSealed } from "../../../../common/ikev2/protection.ts";
import {
  decodeIkeHeader,
  formatIkeSpi,
  HEADER_LENGTH,
  type IkeSpi,
} from "../../../../common/ikev2/wire/header.ts";
import {
  decodePayloads,
  findPayload,
  type Payload,
} from "../../../../common/ikev2/wire/message.ts";
import { decodePayloadChain, PayloadType } from "../../../../common/ikev2/wire/payload-chain.ts";
import { hex } from "../../../support/hex.ts";

interface Derivation {
  readonly what: "ike" | "authentication" | "child";
  readonly signedOctets?: string;
  readonly auth?: string;
  readonly seed?: string;
  readonly sharedSecret?: string;
  readonly [name: string]: string | undefined;
}

interface Recorded {
  readonly name: string;
  readonly encryption: string;
  readonly prf: string;
  readonly group: string;
  readonly messages: readonly { readonly from: string; readonly octets: string }[];
  readonly derivations: readonly Derivation[];
}

export type CharonSession = ReturnType<typeof load>;

export const charonSessions = (
  JSON.parse(readFileSync(new URL("charon.json", import.meta.url), "utf8")) as Recorded[]
).map(load);

function load(recorded: Recorded) {
  const of = (what: string) => recorded.derivations.filter((one) => one.what === what);
  return {
    ...recorded,
    messages: recorded.messages.map(({ octets }) => hex(octets)),
    ike: of("ike"),
    authentications: of("authentication").map((one) => ({
      signedOctets: hex(one.signedOctets ?? ""),
      auth: hex(one.auth ?? ""),
    })),
    children: of("child").map((one, index) => ({
      number: index + 1,
      ...splitSeed(hex(one.seed ?? ""), one.sharedSecret),
      keys: {
        initiatorToResponder: childKeys(one, "Initiator"),
        responderToInitiator: childKeys(one, "Responder"),
      },
    })),
  };
}

/** From here on the messages belong to the second IKE SA. */
const REKEYED_AT = 12;

/** The payloads of one message. */
export function openMessage(session: CharonSession, index: number): readonly Payload[] {
  const { first, plain } = plainMessage(session, index);
  return decodePayloads(decodePayloadChain(first, plain).payloads).payloads;
}

/** The chain of payloads of one message, opened with the keys of its IKE SA, and the type of its first. */
export function plainMessage(session: CharonSession, index: number) {
  const message = session.messages[index] ?? hex();
  const header = decodeIkeHeader(message);
  const { payloads, inner } = decodePayloadChain(
    header.nextPayload,
    message.subarray(HEADER_LENGTH),
  );
  const last = payloads.at(-1);
  if (last?.type !== PayloadType.encrypted) {
    return { first: header.nextPayload, plain: message.subarray(HEADER_LENGTH) };
  }
  const associated = message.subarray(0, message.length - last.body.length);
  const ike = session.ike[index < REKEYED_AT ? 0 : 1];
  const [e, a] = header.fromInitiator ? ["ei", "ai"] : ["er", "ar"];
  const keys = { encryption: hex(ike?.[e] ?? ""), integrity: hex(ike?.[a] ?? "") };
  const plain = openSealed(session.encryption as IkeEncryption, keys, associated, last.body);
  if (plain === undefined) throw new Error(`message ${index} is not authentic`);
  return { first: inner, plain };
}

export function initialExchange(session: CharonSession) {
  const { initiatorSpi, responderSpi } = decodeIkeHeader(session.messages[1] ?? hex());
  return { ...exchange(session, 0), initiatorSpi, responderSpi, ...ikeSecrets(session, 0) };
}

/** Messages 8 and 9 rekey the IKE SA. */
export function rekeyExchange(session: CharonSession) {
  return {
    ...exchange(session, 8),
    initiatorSpi: proposedSpi(openMessage(session, 8)),
    responderSpi: proposedSpi(openMessage(session, 9)),
    ...ikeSecrets(session, 1),
  };
}

function exchange(session: CharonSession, request: number) {
  return {
    nonces: {
      initiator: nonceOf(openMessage(session, request)),
      responder: nonceOf(openMessage(session, request + 1)),
    },
  };
}

function nonceOf(payloads: readonly Payload[]): Uint8Array {
  return findPayload(payloads, "Nonce")?.nonce ?? hex();
}

function proposedSpi(payloads: readonly Payload[]): IkeSpi {
  return formatIkeSpi(findPayload(payloads, "SA")?.proposals[0]?.spi ?? hex());
}

function ikeSecrets(session: CharonSession, index: number) {
  const of = (name: string) => hex(session.ike[index]?.[name] ?? "");
  const keys = {
    d: of("d"),
    ai: of("ai"),
    ar: of("ar"),
    ei: of("ei"),
    er: of("er"),
    pi: of("pi"),
    pr: of("pr"),
  };
  return { sharedSecret: of("sharedSecret"), skeyseed: of("skeyseed"), keys };
}

/** charon's nonces have 32 octets; a shared secret goes before them. */
function splitSeed(seed: Uint8Array, secret: string | undefined) {
  const sharedSecret = secret === undefined ? undefined : hex(secret);
  const nonces = seed.subarray(sharedSecret?.length ?? 0);
  return {
    sharedSecret,
    nonces: { initiator: nonces.slice(0, 32), responder: nonces.slice(32) },
  };
}

function childKeys(one: Derivation, side: string) {
  const encryption = hex(one[`encryption${side}`] ?? "");
  const integrity = one[`integrity${side}`];
  if (integrity !== undefined) return { encryptionKey: encryption, companion: hex(integrity) };
  return { encryptionKey: encryption.slice(0, -4), companion: encryption.slice(-4) };
}
