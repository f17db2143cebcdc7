/**
 * INFORMATIONAL in a session: deletes of Child SAs and of IKE SAs, "are you there", when to authenticate again. RFC 7296
 * sections 1.4, 2.25; RFC 4478.
 */

import type { Instant } from "../../time.ts";
import { buildInformational, processInformational } from "../exchanges/informational.ts";
import type { Payload } from "../wire/message.ts";
import type { SessionContext } from "./context.ts";
import type { SaRecord } from "./state.ts";

/** Nothing else in it: are you there? */
export function requestInformation(
  session: SessionContext,
  record: SaRecord,
  { authLifetime }: { readonly authLifetime?: number },
  now: Instant,
): void {
  const payloads = buildInformational(authLifetime === undefined ? {} : { authLifetime });
  session.request(record, { kind: "information" }, payloads, now);
}

export function requestChildDelete(
  session: SessionContext,
  record: SaRecord,
  spis: readonly number[],
  now: Instant,
): void {
  for (const spi of spis) {
    const child = session.children.find(spi);
    if (child !== undefined) child.state = "deleting";
  }
  const payloads = buildInformational({ deletedChildren: spis });
  session.request(record, { kind: "delete-children", spis }, payloads, now);
}

/** Nothing while another request is on its way: then the IKE SA goes when its time is over. */
export function requestIkeDelete(session: SessionContext, record: SaRecord, now: Instant): void {
  if (record.sa.isWaiting) return;
  if (record.state !== "current") record.state = "closing";
  const payloads = buildInformational({ deletesIkeSa: true });
  session.request(record, { kind: "delete-ike" }, payloads, now);
}

/** The peer has heard that we delete it, or has lost it. */
export function ikeDeleted(
  session: SessionContext,
  record: SaRecord,
  kind: "asked" | "lost-by-peer",
): void {
  if (record.state === "current") session.close({ kind });
  else session.ikeSas.forget(record);
}

/** The peer asks, or tells. Throws `MalformedError`. */
export function processInformation(
  session: SessionContext,
  record: SaRecord,
  payloads: readonly Payload[],
  now: Instant,
): Payload[] {
  const { children } = session;
  const information = processInformational(payloads);
  if (session.phase.kind !== "established") {
    if (information.deletesIkeSa) session.closing = { kind: "by-peer" };
    return [];
  }
  if (information.deletesIkeSa) {
    deletedByPeer(session, record, now);
    return [];
  }
  if (information.authLifetime !== undefined && session.role.kind === "home") {
    session.emit({ kind: "reauthenticate", withinMs: information.authLifetime * 1000 });
  }
  const deletedChildren: number[] = [];
  for (const peerSpi of information.deletedChildren) {
    const child = children.findOutbound(peerSpi);
    if (child === undefined) continue;
    const { spi } = child.sa.inbound;
    // Both delete it at once: each says so without naming it again (section 2.25.1).
    if (child.state !== "deleting") deletedChildren.push(spi);
    children.remove([spi]);
  }
  return buildInformational({ deletedChildren });
}

function deletedByPeer(session: SessionContext, record: SaRecord, now: Instant): void {
  const { rival } = record;
  if (record.state === "current" && rival !== undefined) {
    // We were rekeying too; the peer's SA has won before our answer came (section 2.25.2).
    record.exchange = undefined;
    session.ikeSas.succeed(record, rival.record, now);
  }
  if (record.state === "current") session.closing = { kind: "by-peer" };
  else session.gone = record;
}
