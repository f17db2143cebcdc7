/**
 * Payloads of XFRM_MSG_NEWSA and UPDSA (`struct xfrm_usersa_info`), and of GETSA and DELSA (`xfrm_usersa_id`): a
 * security association as the kernel has it.
 */

import type { IpAddress } from "../rtnetlink/address-family.ts";
import { type Attributes, AttributeWriter, u32In } from "../rtnetlink/attribute.ts";
import { type Algorithms, readAlgorithms, writeAlgorithms } from "./algorithm.ts";
import { XfrmAttribute } from "./message-type.ts";
import { decodeReplayState, encodeReplayState, type ReplayState } from "./replay-state.ts";
import { readSelector, type Selector, writeSelector } from "./selector.ts";
import { attributesAfter, familyOf, Struct } from "./struct.ts";

// struct xfrm_usersa_info
export const STATE_LENGTH = 224; // octets
const DESTINATION = 56;
const SPI = 72;
const PROTOCOL = 76;
const SOURCE = 80;
const LIFETIME = 96;
const CURRENT = 160;
const WINDOW_FAILURES = 192;
const REPLAYS = 196;
const INTEGRITY_FAILURES = 200;
const REQUEST_ID = 208;
const FAMILY = 212;
const MODE = 214;
const FLAGS = 216;

// struct xfrm_usersa_id
const ID_LENGTH = 24; // octets
const ID_SPI = 16;
const ID_FAMILY = 20;
const ID_PROTOCOL = 22;

const ENCAPSULATION_LENGTH = 24; // octets, struct xfrm_encap_tmpl
const CURRENT_LENGTH = 32; // octets, struct xfrm_lifetime_cur

/** RFC 4303: ESP. */
export const ESP_PROTOCOL = 50;

export const StateFlag = {
  /** Outer packets may be fragmented: without it they carry IPv4's "don't fragment". */
  fragment: 4,
  extendedSequenceNumbers: 128,
} as const;

/** UDP_ENCAP_ESPINUDP, linux/udp.h. */
export const ESP_IN_UDP = 2;

/** What names a state. */
export interface StateId {
  readonly destination: IpAddress;
  readonly spi: number;
  readonly protocol: number;
}

/** Limits; absent: none. A soft one is told of, at a hard one the kernel deletes the state. */
export interface Lifetime {
  readonly softOctets?: number | undefined;
  readonly hardOctets?: number | undefined;
  readonly softPackets?: number | undefined;
  readonly hardPackets?: number | undefined;
}

export interface CurrentLifetime {
  readonly octets: number;
  readonly packets: number;
  /** Seconds since 1970. */
  readonly addedAt: number;
  readonly usedAt: number;
}

/** ESP in UDP, RFC 3948. */
export interface EncapsulationTemplate {
  readonly type: number;
  readonly sourcePort: number;
  readonly destinationPort: number;
}

export interface XfrmState extends StateId {
  readonly source: IpAddress;
  readonly requestId: number;
  readonly mode: number;
  readonly flags: number;
  readonly selector: Selector;
  /** Of the xfrm interface whose packets it carries; absent: no interface's. */
  readonly interfaceId?: number | undefined;
  readonly algorithms: Algorithms;
  readonly replay?: ReplayState | undefined;
  readonly encapsulation?: EncapsulationTemplate | undefined;
  readonly lifetime: Lifetime;
  /** Given to a new state, it goes on counting from there. */
  readonly current?: CurrentLifetime | undefined;
  /** Seconds between two MAPPING events; absent: one for each packet. */
  readonly mappingThreshold?: number | undefined;
}

/** What arrived and was refused. */
export interface StateFailures {
  /** Left of the replay window. */
  readonly tooOld: number;
  readonly replayed: number;
  readonly notAuthentic: number;
}

/** A state as the kernel tells it. */
export interface PresentState extends XfrmState {
  readonly current: CurrentLifetime;
  readonly failures: StateFailures;
}

/** Throws `MalformedError`. */
export function decodeState(payload: Uint8Array): PresentState {
  const struct = Struct.of(payload, STATE_LENGTH);
  const attributes = attributesAfter(payload, STATE_LENGTH);
  const family = struct.u16(FAMILY);
  const replay = attributes.get(XfrmAttribute.replayState);
  return {
    destination: struct.address(DESTINATION, family),
    spi: struct.networkU32(SPI),
    protocol: struct.u8(PROTOCOL),
    source: struct.address(SOURCE, family),
    requestId: struct.u32(REQUEST_ID),
    mode: struct.u8(MODE),
    flags: struct.u8(FLAGS),
    selector: readSelector(struct),
    interfaceId: u32In(attributes, XfrmAttribute.interfaceId),
    algorithms: readAlgorithms(attributes),
    replay: replay && decodeReplayState(replay),
    encapsulation: encapsulationIn(attributes),
    lifetime: {
      softOctets: struct.limit(LIFETIME),
      hardOctets: struct.limit(LIFETIME + 8),
      softPackets: struct.limit(LIFETIME + 16),
      hardPackets: struct.limit(LIFETIME + 24),
    },
    current: readCurrent(struct, CURRENT),
    mappingThreshold: u32In(attributes, XfrmAttribute.mappingThreshold),
    failures: {
      tooOld: struct.u32(WINDOW_FAILURES),
      replayed: struct.u32(REPLAYS),
      notAuthentic: struct.u32(INTEGRITY_FAILURES),
    },
  };
}

export function encodeState(state: XfrmState): Uint8Array {
  const struct = Struct.make(STATE_LENGTH)
    .setAddress(DESTINATION, state.destination)
    .setNetworkU32(SPI, state.spi)
    .setU8(PROTOCOL, state.protocol)
    .setAddress(SOURCE, state.source)
    .setLimit(LIFETIME, state.lifetime.softOctets)
    .setLimit(LIFETIME + 8, state.lifetime.hardOctets)
    .setLimit(LIFETIME + 16, state.lifetime.softPackets)
    .setLimit(LIFETIME + 24, state.lifetime.hardPackets)
    .setU32(REQUEST_ID, state.requestId)
    .setU16(FAMILY, familyOf(state.destination))
    .setU8(MODE, state.mode)
    .setU8(FLAGS, state.flags);
  writeSelector(struct, state.selector);
  const writer = new AttributeWriter().octets(struct.octets);
  writeAlgorithms(writer, state.algorithms);
  return writer
    .attribute(
      XfrmAttribute.encapsulation,
      state.encapsulation && encodeEncapsulation(state.encapsulation),
    )
    .attribute(XfrmAttribute.currentLifetime, state.current && encodeCurrent(state.current))
    .attribute(XfrmAttribute.replayState, state.replay && encodeReplayState(state.replay))
    .u32Attribute(XfrmAttribute.interfaceId, state.interfaceId)
    .u32Attribute(XfrmAttribute.mappingThreshold, state.mappingThreshold)
    .finish();
}

/** The request id alone: most of a large dump may be somebody else's. Throws `MalformedError`. */
export function requestIdOf(payload: Uint8Array): number {
  return Struct.of(payload, STATE_LENGTH).u32(REQUEST_ID);
}

/** Names a state for GETSA and DELSA. */
export function encodeStateId({ destination, spi, protocol }: StateId): Uint8Array {
  return Struct.make(ID_LENGTH)
    .setAddress(0, destination)
    .setNetworkU32(ID_SPI, spi)
    .setU16(ID_FAMILY, familyOf(destination))
    .setU8(ID_PROTOCOL, protocol).octets;
}

/** The state that events name. */
export function readStateId(struct: Struct): StateId {
  return {
    destination: struct.address(0, struct.u16(ID_FAMILY)),
    spi: struct.networkU32(ID_SPI),
    protocol: struct.u8(ID_PROTOCOL),
  };
}

export function encodeEncapsulation(template: EncapsulationTemplate): Uint8Array {
  return Struct.make(ENCAPSULATION_LENGTH)
    .setU16(0, template.type)
    .setNetworkU16(2, template.sourcePort)
    .setNetworkU16(4, template.destinationPort).octets;
}

function encapsulationIn(attributes: Attributes): EncapsulationTemplate | undefined {
  const octets = attributes.get(XfrmAttribute.encapsulation);
  if (octets === undefined) return undefined;
  const struct = Struct.of(octets, ENCAPSULATION_LENGTH);
  return {
    type: struct.u16(0),
    sourcePort: struct.networkU16(2),
    destinationPort: struct.networkU16(4),
  };
}

function readCurrent(struct: Struct, at: number): CurrentLifetime {
  return {
    octets: struct.u64(at),
    packets: struct.u64(at + 8),
    addedAt: struct.u64(at + 16),
    usedAt: struct.u64(at + 24),
  };
}

function encodeCurrent(current: CurrentLifetime): Uint8Array {
  return Struct.make(CURRENT_LENGTH)
    .setU64(0, current.octets)
    .setU64(8, current.packets)
    .setU64(16, current.addedAt)
    .setU64(24, current.usedAt).octets;
}

/** For events: the current lifetime of an attribute. */
export function currentLifetimeIn(attributes: Attributes): CurrentLifetime | undefined {
  const octets = attributes.get(XfrmAttribute.currentLifetime);
  return octets && readCurrent(Struct.of(octets, CURRENT_LENGTH), 0);
}
