/**
 * NETLINK_XFRM: requests to the kernel's IPsec, carried out before the call returns, and events from it on a second
 * socket. Payloads are made and read in `xfrm/`.
 *
 * The kernel handles what is written to this kind of socket within the write, and the answers lie ready when it
 * returns. So requests are not sent through the package, whose answers come on a later turn of the event loop: a
 * home's own advertisement must not be sent before its states have the new address, and between reading a state's
 * numbers and replacing it nothing else of ours may run.
 */

import type { Protocol } from "netlink";
import { XfrmGroup, XfrmMessageType } from "../xfrm/message-type.ts";
import type { MoveOperation } from "../xfrm/move.ts";
import { encodeMigrate, encodePolicy, encodePolicyId } from "../xfrm/policy-message.ts";
import { encodeState, encodeStateId } from "../xfrm/state-message.ts";
import { PERMISSION_HINTS } from "./linux/libc.ts";
import { type NetlinkRequest, NetlinkRequests } from "./netlink-requests.ts";
import { Subscription } from "./netlink-socket.ts";

const NETLINK_XFRM = 6;

const HINTS: Readonly<Record<string, string>> = {
  ...PERMISSION_HINTS,
  EPROTONOSUPPORT: "this kernel has no NETLINK_XFRM (CONFIG_XFRM_USER); modprobe xfrm_user",
  EAFNOSUPPORT: "this kernel has no netlink",
  ENOBUFS: "the kernel is out of memory",
};

export class XfrmSocket extends NetlinkRequests {
  /** Throws `SystemError`. */
  constructor() {
    super(NETLINK_XFRM, HINTS);
  }
}

/** What the kernel tells unasked. `listener` hears nothing where something was lost. Throws `SystemError`. */
export function subscribeToXfrm(
  listener: (messages?: readonly { readonly type: number; readonly payload: Uint8Array }[]) => void,
): { close(): void } {
  return new Subscription(
    NETLINK_XFRM as Protocol,
    [XfrmGroup.expire, XfrmGroup.mapping],
    listener,
  );
}

export function xfrmRequest(step: MoveOperation): NetlinkRequest {
  switch (step.kind) {
    case "migrate":
      return {
        operation: `move an IPsec policy (${step.policy.direction}) to ${step.migration.to.destination}`,
        type: XfrmMessageType.migrate,
        payload: encodeMigrate(step.policy, [step.migration], step.encapsulation),
      };
    case "add-state":
      return {
        operation: `add the security association ${nameOf(step.state)}`,
        type: XfrmMessageType.newState,
        payload: encodeState(step.state),
      };
    case "update-state":
      return {
        operation: `change the security association ${nameOf(step.state)}`,
        type: XfrmMessageType.updateState,
        payload: encodeState(step.state),
      };
    case "delete-state":
      return {
        operation: `delete the security association ${nameOf(step.state)}`,
        type: XfrmMessageType.deleteState,
        payload: encodeStateId(step.state),
      };
    case "add-policy":
      return {
        operation: `add an IPsec policy (${step.policy.direction})`,
        type: XfrmMessageType.newPolicy,
        payload: encodePolicy(step.policy),
      };
    case "update-policy":
      return {
        operation: `change an IPsec policy (${step.policy.direction})`,
        type: XfrmMessageType.updatePolicy,
        payload: encodePolicy(step.policy),
      };
    case "delete-policy":
      return {
        operation: `delete an IPsec policy (${step.policy.direction})`,
        type: XfrmMessageType.deletePolicy,
        payload: encodePolicyId(step.policy),
      };
  }
}

function nameOf({ destination, spi }: { destination: string; spi: number }): string {
  return `to ${destination} with SPI ${spi}`;
}
