/**
 * Payloads of XFRM_MSG_NEWPOLICY and UPDPOLICY (`struct xfrm_userpolicy_info`) and of DELPOLICY (`xfrm_userpolicy_id`),
 * and of MIGRATE, which moves a policy's templates and the states they name to other addresses in one step
 * (`xfrm_user_migrate`).
 */

import type { IpAddress } from "../rtnetlink/address-family.ts";
import { AttributeWriter, u32In } from "../rtnetlink/attribute.ts";
import { XfrmAttribute } from "./message-type.ts";
import { readSelector, type Selector, writeSelector } from "./selector.ts";
import { type EncapsulationTemplate, encodeEncapsulation } from "./state-message.ts";
import { attributesAfter, familyOf, malformed, Struct } from "./struct.ts";

// struct xfrm_userpolicy_info
const POLICY_LENGTH = 168; // octets
const LIFETIME = 56;
const LIMITS = 4;
const PRIORITY = 152;
const DIRECTION = 160;
const ACTION = 161;

// struct xfrm_userpolicy_id
const ID_LENGTH = 64; // octets
const ID_DIRECTION = 60;

// struct xfrm_user_tmpl
const TEMPLATE_LENGTH = 64; // octets
const TEMPLATE_PROTOCOL = 20;
const TEMPLATE_FAMILY = 24;
const TEMPLATE_SOURCE = 28;
const TEMPLATE_REQUEST_ID = 44;
const TEMPLATE_MODE = 48;
const TEMPLATE_ALGORITHMS = 52; // three masks: authentication, encryption, compression
const ANY_ALGORITHM = 0xffff_ffff;

// struct xfrm_user_migrate
const MIGRATE_LENGTH = 76; // octets
const OLD_SOURCE = 16;
const NEW_DESTINATION = 32;
const NEW_SOURCE = 48;
const MIGRATE_PROTOCOL = 64;
const MIGRATE_MODE = 65;
const MIGRATE_REQUEST_ID = 68;
const OLD_FAMILY = 72;
const NEW_FAMILY = 74;

export const PolicyDirection = { in: 0, out: 1, forward: 2 } as const;
export type PolicyDirectionName = keyof typeof PolicyDirection;
export const PolicyAction = { allow: 0, block: 1 } as const;
export type PolicyActionName = keyof typeof PolicyAction;

/** Which states may carry, or must have carried, a policy's packets. Addresses of zeros stand for any. */
export interface PolicyTemplate {
  readonly source: IpAddress;
  readonly destination: IpAddress;
  readonly protocol: number;
  readonly requestId: number;
  readonly mode: number;
}

/** What names a policy. */
export interface PolicyId {
  readonly selector: Selector;
  readonly direction: PolicyDirectionName;
  readonly interfaceId?: number | undefined;
}

export interface XfrmPolicy extends PolicyId {
  readonly action: PolicyActionName;
  /** The lower goes first. */
  readonly priority: number;
  readonly templates: readonly PolicyTemplate[];
}

/** From where to where templates, and the states they name, are moved. */
export interface Migration {
  readonly from: { readonly source: IpAddress; readonly destination: IpAddress };
  readonly to: { readonly source: IpAddress; readonly destination: IpAddress };
  readonly protocol: number;
  readonly requestId: number;
  readonly mode: number;
}

/** Throws `MalformedError`; `unknown-direction` for what is no policy of packets, such as a socket's. */
export function decodePolicy(payload: Uint8Array): XfrmPolicy {
  const struct = Struct.of(payload, POLICY_LENGTH);
  const attributes = attributesAfter(payload, POLICY_LENGTH);
  const templates = attributes.get(XfrmAttribute.templates);
  return {
    selector: readSelector(struct),
    direction: directionOf(struct.u8(DIRECTION)),
    interfaceId: u32In(attributes, XfrmAttribute.interfaceId),
    action: struct.u8(ACTION) === PolicyAction.block ? "block" : "allow",
    priority: struct.u32(PRIORITY),
    templates: templates === undefined ? [] : decodeTemplates(templates),
  };
}

export function encodePolicy(policy: XfrmPolicy): Uint8Array {
  const struct = Struct.make(POLICY_LENGTH)
    .setU32(PRIORITY, policy.priority)
    .setU8(DIRECTION, PolicyDirection[policy.direction])
    .setU8(ACTION, PolicyAction[policy.action]);
  writeSelector(struct, policy.selector);
  for (let limit = 0; limit < LIMITS; limit++) struct.setLimit(LIFETIME + 8 * limit, undefined);
  return new AttributeWriter()
    .octets(struct.octets)
    .attribute(
      XfrmAttribute.templates,
      policy.templates.length === 0 ? undefined : concatenate(policy.templates.map(encodeTemplate)),
    )
    .u32Attribute(XfrmAttribute.interfaceId, policy.interfaceId)
    .finish();
}

/** Names a policy for DELPOLICY and GETPOLICY. */
export function encodePolicyId(id: PolicyId): Uint8Array {
  return new AttributeWriter()
    .octets(policyId(id).octets)
    .u32Attribute(XfrmAttribute.interfaceId, id.interfaceId)
    .finish();
}

/** `encapsulation` becomes that of the states that are moved; RFC 3948's ports may be new as well. */
export function encodeMigrate(
  id: PolicyId,
  migrations: readonly Migration[],
  encapsulation?: EncapsulationTemplate,
): Uint8Array {
  return new AttributeWriter()
    .octets(policyId(id).octets)
    .attribute(XfrmAttribute.migrate, concatenate(migrations.map(encodeMigration)))
    .u32Attribute(XfrmAttribute.interfaceId, id.interfaceId)
    .attribute(XfrmAttribute.encapsulation, encapsulation && encodeEncapsulation(encapsulation))
    .finish();
}

function policyId(id: PolicyId): Struct {
  const struct = Struct.make(ID_LENGTH).setU8(ID_DIRECTION, PolicyDirection[id.direction]);
  writeSelector(struct, id.selector);
  return struct;
}

function directionOf(number: number): PolicyDirectionName {
  switch (number) {
    case PolicyDirection.in:
      return "in";
    case PolicyDirection.out:
      return "out";
    case PolicyDirection.forward:
      return "forward";
    default:
      throw malformed("unknown-direction", `a policy of direction ${number}`);
  }
}

function decodeTemplates(octets: Uint8Array): PolicyTemplate[] {
  const templates: PolicyTemplate[] = [];
  for (let at = 0; at < octets.length; at += TEMPLATE_LENGTH) {
    const struct = Struct.of(octets.subarray(at), TEMPLATE_LENGTH);
    const family = struct.u16(TEMPLATE_FAMILY);
    templates.push({
      source: struct.address(TEMPLATE_SOURCE, family),
      destination: struct.address(0, family),
      protocol: struct.u8(TEMPLATE_PROTOCOL),
      requestId: struct.u32(TEMPLATE_REQUEST_ID),
      mode: struct.u8(TEMPLATE_MODE),
    });
  }
  return templates;
}

function encodeTemplate(template: PolicyTemplate): Uint8Array {
  const struct = Struct.make(TEMPLATE_LENGTH)
    .setAddress(0, template.destination)
    .setU8(TEMPLATE_PROTOCOL, template.protocol)
    .setU16(TEMPLATE_FAMILY, familyOf(template.destination))
    .setAddress(TEMPLATE_SOURCE, template.source)
    .setU32(TEMPLATE_REQUEST_ID, template.requestId)
    .setU8(TEMPLATE_MODE, template.mode);
  for (const kind of [0, 1, 2]) struct.setU32(TEMPLATE_ALGORITHMS + 4 * kind, ANY_ALGORITHM);
  return struct.octets;
}

function encodeMigration({ from, to, protocol, requestId, mode }: Migration): Uint8Array {
  return Struct.make(MIGRATE_LENGTH)
    .setAddress(0, from.destination)
    .setAddress(OLD_SOURCE, from.source)
    .setAddress(NEW_DESTINATION, to.destination)
    .setAddress(NEW_SOURCE, to.source)
    .setU8(MIGRATE_PROTOCOL, protocol)
    .setU8(MIGRATE_MODE, mode)
    .setU32(MIGRATE_REQUEST_ID, requestId)
    .setU16(OLD_FAMILY, familyOf(from.destination))
    .setU16(NEW_FAMILY, familyOf(to.destination)).octets;
}

function concatenate(parts: readonly Uint8Array[]): Uint8Array {
  return Uint8Array.from(parts.flatMap((part) => [...part]));
}
