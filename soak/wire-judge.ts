/**
 * Watches every outer link of a laboratory for what must never be seen there: an inner packet in clear, a nonce of
 * AES-GCM twice under one key, a sequence number twice in one SA.
 *
 * Each packet is judged where it first appears: what a home sends on the home's uplinks, what the server sends on the
 * server's. Keys that are negotiated anew get other SPIs; two of the same by chance would be 1 in 2^32 and be reported.
 */

import { type Capture, type CapturedPacket, EtherType, espOf } from "../test/support/capture.ts";
import { SERVER, type TunnelLab } from "../test/support/tunnel-lab.ts";

const IV = { at: 8, length: 8 }; // of AES-GCM in ESP, RFC 4106 section 3.1

/** What makes a packet unlike all others of its SA: the nonce, or the sequence number where nonces are random. */
export type Uniqueness = "gcm-iv" | "sequence-number";

export interface WireVerdict {
  /** ESP packets judged. */
  readonly packets: number;
  readonly associations: number;
  /** Packets that were there before, as SPI and nonce or number. */
  readonly repeated: readonly string[];
  /** Inner packets in clear. */
  readonly clear: number;
  /** Packets that the recording missed; anything but 0 makes the rest worth little. */
  readonly missed: number;
}

/** What was seen, and what of it should not have been. */
export class WireLedger {
  readonly #uniqueness: Uniqueness;
  /** Octets of the inner packets that are looked for. */
  readonly #marker: string;
  readonly #seen = new Map<number, Set<string>>();
  readonly #repeated: string[] = [];
  #packets = 0;
  #clear = 0;

  constructor(options: { readonly uniqueness: Uniqueness; readonly marker: string }) {
    this.#uniqueness = options.uniqueness;
    this.#marker = options.marker;
  }

  /** `link`: the router's interface on which it was seen. */
  note(link: string, packet: CapturedPacket): void {
    const { octets } = packet;
    const text = Buffer.from(octets.buffer, octets.byteOffset, octets.length);
    if (text.includes(this.#marker)) this.#clear += 1;
    if (packet.etherType !== EtherType.ipv4) return;
    for (const { spi, sequence, source, octets: esp } of espOf(packet)) {
      const isFirstSight = spi !== 0 && (source === SERVER) === (link === "server");
      if (!isFirstSight) continue;
      this.#packets += 1;
      const iv = Buffer.from(esp.subarray(IV.at, IV.at + IV.length)).toString("hex");
      const mark = this.#uniqueness === "gcm-iv" ? iv : String(sequence);
      const seen = this.#seen.get(spi) ?? new Set();
      this.#seen.set(spi, seen);
      if (seen.has(mark)) this.#repeated.push(`SPI 0x${spi.toString(16)}: ${mark}`);
      seen.add(mark);
    }
  }

  get verdict(): Omit<WireVerdict, "missed"> {
    return {
      packets: this.#packets,
      associations: this.#seen.size,
      repeated: this.#repeated,
      clear: this.#clear,
    };
  }
}

export class WireJudge {
  readonly #captures: readonly { readonly link: string; readonly capture: Capture }[];
  readonly #ledger: WireLedger;
  #missed = 0;

  private constructor(
    captures: readonly { readonly link: string; readonly capture: Capture }[],
    ledger: WireLedger,
  ) {
    this.#captures = captures;
    this.#ledger = ledger;
  }

  /** Returns when everything is being recorded; nothing may have been sent before. */
  static async start(
    lab: TunnelLab,
    options: { readonly uniqueness: Uniqueness; readonly marker: string },
  ): Promise<WireJudge> {
    const starting = lab.outerLinks.map(async (link) => ({
      link,
      capture: await lab.capture(link),
    }));
    return new WireJudge(await Promise.all(starting), new WireLedger(options));
  }

  /** Judges what came since the last call. */
  async judge(): Promise<void> {
    for (const { link, capture } of this.#captures) {
      for (const packet of await capture.news()) this.#ledger.note(link, packet);
    }
  }

  /** On what was judged until now; what the recording missed is known when it is finished. */
  get verdict(): WireVerdict {
    return { ...this.#ledger.verdict, missed: this.#missed };
  }

  /** Judges the rest. */
  async finish(): Promise<WireVerdict> {
    const missed = await Promise.all(this.#captures.map(({ capture }) => capture.stop()));
    this.#missed = missed.reduce((sum, count) => sum + count, 0);
    await this.judge();
    return this.verdict;
  }
}
