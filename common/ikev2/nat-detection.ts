/** Detecting NATs on the path, RFC 7296 section 2.23. */

import { createHash } from "node:crypto";
import { ByteWriter } from "../bytes/writer.ts";
import { ipv4Octets } from "../ip/address.ts";
import type { Endpoint } from "../tunnel/tunnel.ts";
import { compareOctets } from "./selectors.ts";
import { type IkeSpi, ikeSpiOctets } from "./wire/header.ts";
import { findNotifies, notify, type Payload } from "./wire/message.ts";
import { NotifyType } from "./wire/payloads/notify.ts";

export interface SpiPair {
  readonly initiatorSpi: IkeSpi;
  readonly responderSpi: IkeSpi;
}

const HASHED_LENGTH = 22; // octets: two SPIs, address, port

/** Between whom, as seen by the one who asks. */
export interface Path {
  readonly local: Endpoint;
  readonly remote: Endpoint;
}

/** Which side's address changes on the way; undefined when the peer does not do NAT traversal. */
export type NatVerdict = { readonly local: boolean; readonly remote: boolean } | undefined;

/**
 * The two notifications. `disguised` says a source that is not ours, so that the peer finds a NAT and UDP
 * encapsulation is used: for paths that do not carry protocol 50.
 */
export function natDetectionPayloads(
  spis: SpiPair,
  path: Path,
  disguised: Uint8Array | undefined,
): Payload[] {
  return [
    notify(NotifyType.natDetectionSourceIp, disguised ?? addressHash(spis, path.local)),
    notify(NotifyType.natDetectionDestinationIp, addressHash(spis, path.remote)),
  ];
}

export function detectNat(payloads: readonly Payload[], spis: SpiPair, path: Path): NatVerdict {
  const sources = findNotifies(payloads, NotifyType.natDetectionSourceIp);
  const destinations = findNotifies(payloads, NotifyType.natDetectionDestinationIp);
  if (sources.length === 0 || destinations.length === 0) return undefined;
  const holds = (notifies: typeof sources, endpoint: Endpoint) => {
    const hash = addressHash(spis, endpoint);
    return notifies.some(({ data }) => compareOctets(data, hash) === 0);
  };
  return { local: !holds(destinations, path.local), remote: !holds(sources, path.remote) };
}

function addressHash(spis: SpiPair, { address, port }: Endpoint): Uint8Array {
  const octets = new ByteWriter(HASHED_LENGTH)
    .octets(ikeSpiOctets(spis.initiatorSpi))
    .octets(ikeSpiOctets(spis.responderSpi))
    .octets(ipv4Octets(address))
    .u16(port)
    .finish();
  return new Uint8Array(createHash("sha1").update(octets).digest());
}
