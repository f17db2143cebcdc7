/** INFORMATIONAL: deletes, "are you there", and short news. RFC 7296 sections 1.4, 1.5, 2.4. */

import { ExchangeType, HEADER_LENGTH, type IkeHeader, ZERO_SPI } from "../wire/header.ts";
import {
  decodePayloads,
  encodeClearMessage,
  findNotify,
  notify,
  type Payload,
} from "../wire/message.ts";
import { decodePayloadChain } from "../wire/payload-chain.ts";
import { NotifyType } from "../wire/payloads/notify.ts";
import { ProtocolId } from "../wire/payloads/security-association.ts";
import { authLifetimeOf, authLifetimePayload } from "./ike-auth.ts";

const SPI_LENGTH = 4; // octets, of ESP

/** What an INFORMATIONAL message says; nothing is "are you there" or "I am". */
export interface Information {
  readonly deletesIkeSa: boolean;
  /** SPIs of the sender's inbound side. */
  readonly deletedChildren: readonly number[];
  /** Seconds, RFC 4478. */
  readonly authLifetime: number | undefined;
}

export function processInformational(payloads: readonly Payload[]): Information {
  const deletes = payloads.filter((payload) => payload.kind === "D");
  return {
    deletesIkeSa: deletes.some(({ protocol }) => protocol === ProtocolId.ike),
    deletedChildren: deletes
      .filter(({ protocol }) => protocol === ProtocolId.esp)
      .flatMap(({ spis }) => spis),
    authLifetime: authLifetimeOf(payloads),
  };
}

export function buildInformational(information: Partial<Information>): Payload[] {
  const { deletesIkeSa = false, deletedChildren = [], authLifetime } = information;
  return [
    ...(deletesIkeSa ? [{ kind: "D", protocol: ProtocolId.ike, spis: [] } as const] : []),
    ...(deletedChildren.length === 0
      ? []
      : [{ kind: "D", protocol: ProtocolId.esp, spis: deletedChildren } as const]),
    ...(authLifetime === undefined ? [] : [authLifetimePayload(authLifetime)]),
  ];
}

/**
 * INVALID_SPI outside of any IKE SA, section 1.5: who sends with this SPI has a peer that lost the IKE SA. Anybody can say
 * so; it is a reason to ask the peer, and for nothing else.
 */
export function encodeInvalidSpi(spi: number): Uint8Array {
  const data = new Uint8Array(SPI_LENGTH);
  new DataView(data.buffer).setUint32(0, spi);
  return encodeClearMessage(
    {
      initiatorSpi: ZERO_SPI,
      responderSpi: ZERO_SPI,
      exchange: ExchangeType.informational,
      fromInitiator: true,
      response: false,
      messageId: 0,
    },
    [notify(NotifyType.invalidSpi, data)],
  );
}

/** The SPI of such a message; undefined for any other. Throws `MalformedError`. */
export function invalidSpiIn(header: IkeHeader, message: Uint8Array): number | undefined {
  if (header.exchange !== ExchangeType.informational || header.response) return undefined;
  const chain = decodePayloadChain(header.nextPayload, message.subarray(HEADER_LENGTH));
  const { payloads } = decodePayloads(chain.payloads);
  const { data } = findNotify(payloads, NotifyType.invalidSpi) ?? {};
  if (data?.length !== SPI_LENGTH) return undefined;
  return new DataView(data.buffer, data.byteOffset).getUint32(0);
}
