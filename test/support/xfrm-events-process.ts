/**
 * Prints what the kernel's IPsec tells the daemons unasked, a line of JSON each; `udp` as an argument has it take ESP
 * out of UDP meanwhile.
 */

import { UdpEncapsulationSocket } from "../../common/adapters/linux/udp-encapsulation-socket.ts";
import { subscribeToXfrm } from "../../common/adapters/xfrm-socket.ts";
import { decodeExpiry, decodeMapping } from "../../common/xfrm/event-message.ts";
import { XfrmMessageType } from "../../common/xfrm/message-type.ts";

export type XfrmEvent =
  | { readonly kind: "expire"; readonly spi: number; readonly hard: boolean; packets: number }
  | { readonly kind: "mapping"; readonly spi: number; readonly from: string; readonly port: number }
  | { readonly kind: "other"; readonly type: number };

function described(type: number, payload: Uint8Array): XfrmEvent {
  if (type === XfrmMessageType.expire) {
    const { state, hard } = decodeExpiry(payload);
    return { kind: "expire", spi: state.spi, hard, packets: state.current.packets };
  }
  if (type === XfrmMessageType.mapping) {
    const { id, newSource, newPort } = decodeMapping(payload);
    return { kind: "mapping", spi: id.spi, from: newSource, port: newPort };
  }
  return { kind: "other", type };
}

if (process.argv.includes("udp")) new UdpEncapsulationSocket(undefined);
subscribeToXfrm((messages = []) => {
  for (const { type, payload } of messages) {
    process.stdout.write(`${JSON.stringify(described(type, payload))}\n`);
  }
});
process.stdout.write("ready\n");
