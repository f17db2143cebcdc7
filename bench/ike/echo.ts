/** Answers the server's probes, as a home's kernel does: it would go on asking, and every real home answers. */

import { randomBytes } from "node:crypto";
import { heapPacketMemory } from "../../common/bytes/packet-memory.ts";
import { openNodeTransform } from "../../common/esp/node-transform.ts";
import { InboundSa, OutboundSa } from "../../common/esp/security-association.ts";
import type { ChildSa } from "../../common/ikev2/session-types.ts";
import { Icmpv6Type } from "../../common/ip/icmpv6.ts";
import { IPV6_HEADER_LENGTH } from "../../common/ip/ipv6.ts";
import { EPHEMERAL_OUTBOUND, ephemeralInbound } from "../../common/tunnel/ephemeral-sequences.ts";

const ADDRESS_LENGTH = 16;
const SOURCE = 8;
const DESTINATION = SOURCE + ADDRESS_LENGTH;
const CHECKSUM = 2;
const LONGEST = 512; // octets; probes are far shorter

const openTransform = openNodeTransform(randomBytes);
/** One packet at a time, whosever it is. */
const memory = heapPacketMemory(LONGEST);

/** Returns what makes the answer to an ESP packet that holds an Echo Request; undefined to any other. */
export function echoOf({
  inbound,
  outbound,
}: ChildSa): (esp: Uint8Array) => Uint8Array | undefined {
  const { window } = ephemeralInbound();
  const opening = { keys: inbound, transform: openTransform(inbound, "inbound"), window };
  const receiving = new InboundSa(opening);
  const sealing = { keys: outbound, transform: openTransform(outbound, "outbound") };
  const sending = new OutboundSa({ ...sealing, ...EPHEMERAL_OUTBOUND });
  return (esp) => {
    if (esp.length > LONGEST) return undefined;
    memory.octets.set(esp);
    const length = receiving.open(memory, 0, esp.length);
    const packet = receiving.innerOffset;
    const icmp = packet + IPV6_HEADER_LENGTH;
    if (length < IPV6_HEADER_LENGTH || memory.octets[icmp] !== Icmpv6Type.echoRequest) {
      return undefined;
    }
    const source = memory.octets.slice(packet + SOURCE, packet + DESTINATION);
    memory.octets.copyWithin(packet + SOURCE, packet + DESTINATION, icmp);
    memory.octets.set(source, packet + DESTINATION);
    memory.octets[icmp] = Icmpv6Type.echoReply;
    // The type is one more in the upper octet of a word, so the checksum is that much less.
    const less = memory.view.getUint16(icmp + CHECKSUM) - 0x100;
    memory.view.setUint16(icmp + CHECKSUM, less < 0 ? less + 0xffff : less);
    return memory.octets.slice(0, sending.seal(memory, 0, length));
  };
}
