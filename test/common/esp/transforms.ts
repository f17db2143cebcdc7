/** Both implementations of the ESP transform, so that one suite of tests runs over them. */

import { randomBytes } from "node:crypto";
import { evpAvailable, openEvpTransform } from "../../../common/adapters/linux/evp-transform.ts";
import { Slab } from "../../../common/adapters/linux/slab.ts";
import { openNodeTransform } from "../../../common/esp/node-transform.ts";
import { ReplayWindow } from "../../../common/esp/replay-window.ts";
import { InboundSa, OutboundSa } from "../../../common/esp/security-association.ts";
import type { EspTransform, OpenTransform } from "../../../common/esp/transform.ts";
import { decodeIpv4 } from "../../../common/ip/ipv4.ts";
import type { SecurityAssociationKeys, Suite } from "../../../common/tunnel/tunnel.ts";
import { hex } from "../../support/hex.ts";

export const TRANSFORMS: { name: string; open: OpenTransform<Slab> }[] = [
  { name: "node:crypto", open: openNodeTransform((count) => randomBytes(count)) },
  ...(evpAvailable() ? [{ name: "EVP", open: openEvpTransform }] : []),
];

export const SUITES: Suite[] = [
  "aes-gcm-128",
  "aes-gcm-192",
  "aes-gcm-256",
  "aes-cbc-256-hmac-sha2-256-128",
];

/** Every suite by every implementation, with and without extended sequence numbers. */
export const COMBINATIONS = TRANSFORMS.flatMap(({ name, open }) =>
  SUITES.flatMap((suite) =>
    [false, true].map((extendedSequenceNumbers) => ({
      name: `${suite}${extendedSequenceNumbers ? " with ESN" : ""} by ${name}`,
      open,
      keys: keysOf(suite, extendedSequenceNumbers),
    })),
  ),
);

/** Fixed keys of a suite. */
export function keysOf(suite: Suite, extendedSequenceNumbers: boolean): SecurityAssociationKeys {
  const gcm = suite.startsWith("aes-gcm");
  const length = gcm ? Number(suite.slice(-3)) / 8 : 32;
  return {
    spi: 0x1001,
    suite,
    encryptionKey: Uint8Array.from({ length }, (_, i) => i * 5 + 1),
    companion: Uint8Array.from({ length: gcm ? 4 : 32 }, (_, i) => i * 3 + 2),
    extendedSequenceNumbers,
  };
}

/** The keys of a vector that gives them in hex; the key's length says which AES-GCM it is. */
export function gcmKeys(vector: {
  key: string;
  salt: string;
  spi: number;
  esn: number | null;
}): SecurityAssociationKeys {
  const encryptionKey = hex(vector.key);
  const suite: Suite =
    encryptionKey.length === 16
      ? "aes-gcm-128"
      : encryptionKey.length === 24
        ? "aes-gcm-192"
        : "aes-gcm-256";
  return {
    spi: vector.spi,
    suite,
    encryptionKey,
    companion: hex(vector.salt),
    extendedSequenceNumbers: vector.esn !== null,
  };
}

/** The ESP packet in an IPv4 packet given in hex. */
export const espIn = (packet: string): Uint8Array => decodeIpv4(hex(packet)).payload;

/** An IPv6 packet of `length` octets, at least 40, with recognisable content. */
export function innerPacket(length: number): Uint8Array {
  const packet = Uint8Array.from({ length }, (_, i) => i);
  packet[0] = 0x60;
  new DataView(packet.buffer).setUint16(4, length - 40);
  return packet;
}

/** Two ends of one SA on one memory. */
export class Pair {
  readonly memory = new Slab(4096);
  readonly outbound: OutboundSa<Slab>;
  readonly inbound: InboundSa<Slab>;

  constructor(options: {
    open: OpenTransform<Slab>;
    keys: SecurityAssociationKeys;
    next?: number;
    limit?: number;
    window?: ReplayWindow;
  }) {
    const { open, keys } = options;
    this.outbound = new OutboundSa({
      keys,
      transform: open(keys, "outbound"),
      next: options.next ?? 1,
      limit: options.limit ?? Number.POSITIVE_INFINITY,
    });
    this.inbound = new InboundSa({
      keys,
      transform: open(keys, "inbound"),
      window: options.window ?? new ReplayWindow(),
    });
  }

  /** A copy of the sealed packet; empty when the numbers are exhausted. */
  seal(inner: Uint8Array, nextHeader?: number): Uint8Array {
    this.memory.octets.set(inner, this.outbound.innerOffset);
    return this.memory.octets.slice(
      0,
      this.outbound.seal(this.memory, 0, inner.length, nextHeader),
    );
  }

  open(esp: Uint8Array): number {
    return openCopy(this.inbound, this.memory, esp);
  }

  /** What `open` left, of that many octets. */
  inner(length: number): Uint8Array {
    const at = this.inbound.innerOffset;
    return this.memory.octets.slice(at, at + length);
  }

  close(): void {
    this.outbound.close();
    this.inbound.close();
  }
}

/** Puts the packet at the start of the memory and opens it. */
export function openCopy(inbound: InboundSa<Slab>, memory: Slab, esp: Uint8Array): number {
  memory.octets.set(esp, 0);
  return inbound.open(memory, 0, esp.length);
}

/** Opens by the bare transform, where the number is beyond what an SA uses; the plaintext or undefined. */
export function openBare(
  transform: EspTransform<Slab>,
  esp: Uint8Array,
  high: number,
): Uint8Array | undefined {
  const memory = new Slab(esp.length);
  memory.octets.set(esp);
  const start = 8 + transform.sizes.iv;
  const length = esp.length - start - transform.sizes.icv;
  return transform.open(memory, 0, length, high)
    ? memory.octets.slice(start, start + length)
    : undefined;
}
