/**
 * What the kernel tells unasked: XFRM_MSG_EXPIRE (`struct xfrm_user_expire`), NEWAE (`xfrm_aevent_id`) and MAPPING
 * (`xfrm_user_mapping`). All are hints: what is true now is for GETSA to find out.
 */

import type { IpAddress } from "../rtnetlink/address-family.ts";
import { u32In } from "../rtnetlink/attribute.ts";
import { XfrmAttribute } from "./message-type.ts";
import { decodeReplayState, type ReplayState } from "./replay-state.ts";
import {
  type CurrentLifetime,
  currentLifetimeIn,
  decodeState,
  type PresentState,
  readStateId,
  STATE_LENGTH,
  type StateId,
} from "./state-message.ts";
import { attributesAfter, Struct } from "./struct.ts";

const EXPIRE_LENGTH = STATE_LENGTH + 8; // octets, padding counted

// struct xfrm_aevent_id
const ASYNC_EVENT_LENGTH = 48; // octets
const ASYNC_EVENT_SOURCE = 24;
const ASYNC_EVENT_REQUEST_ID = 44;
const FAMILY_OF_ID = 20;

// struct xfrm_user_mapping
const MAPPING_LENGTH = 64; // octets
const MAPPING_REQUEST_ID = 24;
const OLD_SOURCE = 28;
const NEW_SOURCE = 44;
const OLD_PORT = 60;
const NEW_PORT = 62;

/** A limit of a state's lifetime was reached. */
export interface Expiry {
  readonly state: PresentState;
  /** The kernel has deleted it; else it goes on and waits to be replaced. */
  readonly hard: boolean;
}

/** Where a state's counters are. */
export interface AsyncEvent {
  readonly id: StateId;
  readonly source: IpAddress;
  readonly requestId: number;
  readonly interfaceId?: number | undefined;
  readonly replay?: ReplayState | undefined;
  readonly current?: CurrentLifetime | undefined;
}

/** An authentic packet came in UDP from another address or port than the state says. */
export interface Mapping {
  readonly id: StateId;
  readonly requestId: number;
  readonly oldSource: IpAddress;
  readonly oldPort: number;
  readonly newSource: IpAddress;
  readonly newPort: number;
}

/** Throws `MalformedError`. */
export function decodeExpiry(payload: Uint8Array): Expiry {
  const hard = Struct.of(payload, EXPIRE_LENGTH).u8(STATE_LENGTH) !== 0;
  const attributes = attributesAfter(payload, EXPIRE_LENGTH);
  const state = decodeState(payload.subarray(0, STATE_LENGTH));
  return { state: { ...state, interfaceId: u32In(attributes, XfrmAttribute.interfaceId) }, hard };
}

/** Throws `MalformedError`. */
export function decodeAsyncEvent(payload: Uint8Array): AsyncEvent {
  const struct = Struct.of(payload, ASYNC_EVENT_LENGTH);
  const attributes = attributesAfter(payload, ASYNC_EVENT_LENGTH);
  const replay = attributes.get(XfrmAttribute.replayState);
  return {
    id: readStateId(struct),
    source: struct.address(ASYNC_EVENT_SOURCE, struct.u16(FAMILY_OF_ID)),
    requestId: struct.u32(ASYNC_EVENT_REQUEST_ID),
    interfaceId: u32In(attributes, XfrmAttribute.interfaceId),
    replay: replay && decodeReplayState(replay),
    current: currentLifetimeIn(attributes),
  };
}

/** Throws `MalformedError`. */
export function decodeMapping(payload: Uint8Array): Mapping {
  const struct = Struct.of(payload, MAPPING_LENGTH);
  const family = struct.u16(FAMILY_OF_ID);
  return {
    id: readStateId(struct),
    requestId: struct.u32(MAPPING_REQUEST_ID),
    oldSource: struct.address(OLD_SOURCE, family),
    oldPort: struct.networkU16(OLD_PORT),
    newSource: struct.address(NEW_SOURCE, family),
    newPort: struct.networkU16(NEW_PORT),
  };
}
