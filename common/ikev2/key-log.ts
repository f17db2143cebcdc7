/** Keys as Wireshark's tables want them, so that a capture can be read. For debugging only: whoever has these lines has everything. */

import { CIPHERS, type IkeSuite } from "./algorithms.ts";
import type { IkeKeys } from "./keys.ts";
import type { Path } from "./nat-detection.ts";
import type { ChildSa, SessionEffect } from "./session-types.ts";
import type { IkeSpi } from "./wire/header.ts";

const ANY_ADDRESS = "*";

/** What a session's effect adds to which of the tables. */
export function keyLogLines(
  effect: SessionEffect,
): { readonly table: string; readonly lines: readonly string[] } | undefined {
  if (effect.kind === "keys") {
    return { table: "ikev2_decryption_table", lines: [ikeKeyLine(effect)] };
  }
  if (effect.kind !== "child-created") return undefined;
  return { table: "esp_sa", lines: espKeyLines(effect.child) };
}

/** A line of `ikev2_decryption_table`. */
export function ikeKeyLine(options: {
  readonly initiatorSpi: IkeSpi;
  readonly responderSpi: IkeSpi;
  readonly suite: IkeSuite;
  readonly keys: IkeKeys;
}): string {
  const { suite, keys } = options;
  const cipher = CIPHERS[suite.encryption];
  const isAead = cipher.integrity === undefined;
  const bits = cipher.keyLength * 8;
  const encryption = isAead
    ? `AES-GCM-${bits} with 16 octet ICV [RFC5282]`
    : `AES-CBC-${bits} [RFC3602]`;
  const integrity = isAead ? "NONE [RFC4306]" : "HMAC_SHA2_256_128 [RFC4868]";
  return [
    options.initiatorSpi,
    options.responderSpi,
    digits(keys.ei),
    digits(keys.er),
    quoted(encryption),
    digits(keys.ai),
    digits(keys.ar),
    quoted(integrity),
  ].join(",");
}

/** Two lines of `esp_sa`, one for each direction; without a path for any addresses, since ours change. */
export function espKeyLines(child: ChildSa, path?: Path): string[] {
  const local = path?.local.address ?? ANY_ADDRESS;
  const remote = path?.remote.address ?? ANY_ADDRESS;
  return (
    [
      [child.outbound, local, remote],
      [child.inbound, remote, local],
    ] as const
  ).map(([keys, from, to]) => {
    const isAead = CIPHERS[keys.suite].integrity === undefined;
    const encryption = digits(keys.encryptionKey);
    const companion = digits(keys.companion);
    return [
      "IPv4",
      from,
      to,
      `0x${keys.spi.toString(16).padStart(8, "0")}`,
      isAead ? "AES-GCM with 16 octet ICV [RFC4106]" : "AES-CBC [RFC3602]",
      `0x${encryption}${isAead ? companion : ""}`,
      isAead ? "NULL" : "HMAC-SHA-256-128 [RFC4868]",
      isAead ? "" : `0x${companion}`,
    ]
      .map(quoted)
      .join(",");
  });
}

function quoted(text: string): string {
  return `"${text}"`;
}

function digits(octets: Uint8Array): string {
  return Array.from(octets, (octet) => octet.toString(16).padStart(2, "0")).join("");
}
