/** INFORMATIONAL: deletes, "are you there", and short news. RFC 7296 sections 1.4, 2.4. */

import type { Payload } from "../wire/message.ts";
import { ProtocolId } from "../wire/payloads/security-association.ts";
import { authLifetimeOf, authLifetimePayload } from "./ike-auth.ts";

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
