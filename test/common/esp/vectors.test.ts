/** ESP against octets that others made: draft-mcgrew-gcm-test-01, scapy and python3-cryptography. */

import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { Slab } from "../../../common/adapters/linux/slab.ts";
import { openNodeTransform } from "../../../common/esp/node-transform.ts";
import { ReplayWindow } from "../../../common/esp/replay-window.ts";
import { InboundSa, OutboundSa, refusalOf } from "../../../common/esp/security-association.ts";
import type { SecurityAssociationKeys } from "../../../common/tunnel/tunnel.ts";
import { hex } from "../../support/hex.ts";
import { espIn, gcmKeys, openBare, openCopy, TRANSFORMS } from "./transforms.ts";

interface EspVector {
  name: string;
  valid: boolean;
  packet: string;
  key: string;
  salt: string;
  spi: number;
  seq: number;
  esn: number | null;
  inner?: string;
}
interface CbcVector {
  name: string;
  valid: boolean;
  reason: string | null;
  packet: string;
  seq: number;
  esn: number | null;
  inner: string | null;
}
const read = (name: string) =>
  JSON.parse(readFileSync(new URL(`../../vectors/${name}`, import.meta.url), "utf8"));
const gcm: {
  mcgrew: {
    case: number;
    key: string;
    salt: string;
    spi: number;
    esn: number | null;
    plain: string;
    esp: string;
  }[];
  esp: EspVector[];
  replay64: { seq: number; accept: boolean; packet: string }[];
} = read("vectors.json");
const cbc: { spi: number; key: string; hmacKey: string; esp: CbcVector[] } =
  read("esp-cbc-hmac.json");

/** Why we refuse what the vectors call invalid. */
const REFUSALS: Record<string, string> = {
  "bad-icv": "not-authentic",
  "bad-ct": "not-authentic",
  "bad-iv": "not-authentic",
  "bad-seq": "not-authentic",
  "bad-spi": "not-authentic",
  "short-95": "malformed", // cut by one octet, by fifteen, ...: no multiple of four is left
  "short-81": "malformed",
  "short-80": "not-authentic",
  "short-79": "malformed",
  "short-8": "malformed",
  "short-1": "malformed",
  "wrong-esn": "not-authentic",
  dummy: "dummy",
  "nh-ipv4": "unexpected-next-header",
  "nh-tcp": "unexpected-next-header",
  "inner-short": "inner-malformed",
  "inner-truncated": "inner-malformed",
  "bad-padding": "malformed",
  "inner-empty": "malformed", // three octets of plaintext, where four are the unit
  "padlen-overrun": "malformed",
  "seq-0": "too-old",
};

const HALF = 2 ** 32;
const numberOf = ({ seq, esn }: { seq: number; esn: number | null }) => (esn ?? 0) * HALF + seq;

/** A window that has seen what came shortly before the packet, so that its high half can be told. */
function windowBefore(sequence: number): ReplayWindow {
  const window = new ReplayWindow();
  window.record(sequence - 5);
  return window;
}

const cbcKeys = (esn: number | null): SecurityAssociationKeys => ({
  spi: cbc.spi,
  suite: "aes-cbc-256-hmac-sha2-256-128",
  encryptionKey: hex(cbc.key),
  companion: hex(cbc.hmacKey),
  extendedSequenceNumbers: esn !== null,
});

it("has all the vectors", () => {
  expect([gcm.mcgrew.length, gcm.esp.length, gcm.replay64.length, cbc.esp.length]).toEqual([
    14, 51, 17, 48,
  ]);
});

describe.each(TRANSFORMS)("ESP by $name", ({ open }) => {
  it.each(gcm.mcgrew)("opens draft-mcgrew-gcm-test-01 case $case", (vector) => {
    const transform = open(gcmKeys(vector), "inbound");
    expect(openBare(transform, hex(vector.esp), vector.esn ?? 0)).toEqual(hex(vector.plain));
    transform.close();
  });

  it.each(gcm.mcgrew)("refuses draft-mcgrew-gcm-test-01 case $case damaged anywhere", (vector) => {
    const transform = open(gcmKeys(vector), "inbound");
    for (const [i, octet] of hex(vector.esp).entries()) {
      const damaged = hex(vector.esp);
      damaged[i] = octet ^ 0x10;
      expect(openBare(transform, damaged, vector.esn ?? 0)).toBeUndefined();
    }
    transform.close();
  });

  it.each(gcm.esp)("AES-GCM: $name", (vector) => {
    const keys = gcmKeys(vector);
    const esp = espIn(vector.packet);
    const sequence = numberOf(vector);
    if (sequence > Number.MAX_SAFE_INTEGER) {
      // Beyond what an SA uses; the transform still must get it right.
      const transform = open(keys, "inbound");
      const plaintext = openBare(transform, esp, vector.esn ?? 0);
      const inner = hex(vector.inner ?? "");
      expect(plaintext?.subarray(0, inner.length)).toEqual(inner);
      transform.close();
      return;
    }
    const inbound = new InboundSa({
      keys,
      transform: open(keys, "inbound"),
      window: windowBefore(sequence),
    });
    const memory = new Slab(2048);
    const length = openCopy(inbound, memory, esp);
    if (vector.valid) {
      const inner = hex(vector.inner ?? "");
      expect(length).toBe(inner.length);
      expect(memory.octets.slice(16, 16 + length)).toEqual(inner);
    } else {
      expect(length).toBeLessThan(0);
      expect(refusalOf(length)).toBe(REFUSALS[vector.name]);
    }
    inbound.close();
  });

  it.each(
    gcm.esp.filter(
      (vector) =>
        vector.valid &&
        vector.name !== "tfc-padding" &&
        // scapy takes the sequence number 0 it is given for none: it sends 1, with the IV of 0
        vector.seq !== 0 &&
        numberOf(vector) < Number.MAX_SAFE_INTEGER,
    ),
  )("seals the same octets: $name", (vector) => {
    const keys = gcmKeys(vector);
    const sequence = numberOf(vector);
    const outbound = new OutboundSa({
      keys,
      transform: open(keys, "outbound"),
      next: sequence,
      limit: sequence + 1,
    });
    const memory = new Slab(2048);
    const inner = hex(vector.inner ?? "");
    memory.octets.set(inner, outbound.innerOffset);
    const length = outbound.seal(memory, 0, inner.length);
    expect(memory.octets.slice(0, length)).toEqual(espIn(vector.packet).slice());
    outbound.close();
  });

  it.each(cbc.esp)("AES-CBC with HMAC: $name", (vector) => {
    const keys = cbcKeys(vector.esn);
    const inbound = new InboundSa({
      keys,
      transform: open(keys, "inbound"),
      window: windowBefore(numberOf(vector)),
    });
    const memory = new Slab(2048);
    const length = openCopy(inbound, memory, espIn(vector.packet));
    if (vector.valid) {
      const inner = hex(vector.inner ?? "");
      expect(length).toBe(inner.length);
      expect(memory.octets.slice(24, 24 + length)).toEqual(inner);
    } else {
      expect(length).toBeLessThan(0);
      expect(refusalOf(length)).toBe(vector.reason);
    }
    inbound.close();
  });

  it("follows the replay script of a window of 64", () => {
    const [first] = gcm.esp.filter((vector) => vector.name === "mtu1280");
    if (first === undefined) throw new Error("the vector of the script's keys is missing");
    const keys = gcmKeys(first);
    const window = new ReplayWindow(64);
    const inbound = new InboundSa({ keys, transform: open(keys, "inbound"), window });
    const memory = new Slab(2048);
    for (const { seq, accept, packet } of gcm.replay64) {
      expect([seq, openCopy(inbound, memory, espIn(packet)) > 0]).toEqual([seq, accept]);
    }
    inbound.close();
  });
});

it.each(
  cbc.esp.filter(
    ({ name, valid }) => valid && !["tfc-padding", "padding-whole-255"].includes(name),
  ),
)("node:crypto seals the same octets with the same IV: AES-CBC $name", (vector) => {
  const esp = espIn(vector.packet);
  const keys = cbcKeys(vector.esn);
  const outbound = new OutboundSa({
    keys,
    transform: openNodeTransform(() => esp.slice(8, 24))(keys, "outbound"),
    next: numberOf(vector),
    limit: numberOf(vector) + 1,
  });
  const memory = new Slab(2048);
  const inner = hex(vector.inner ?? "");
  memory.octets.set(inner, outbound.innerOffset);
  const length = outbound.seal(memory, 0, inner.length);
  expect(memory.octets.slice(0, length)).toEqual(esp.slice());
  outbound.close();
});
