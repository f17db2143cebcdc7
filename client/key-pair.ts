/** A matching pair of files for one home: what `hometun keygen` writes. */

import { hexText, SUITE_SECRETS } from "../common/config/keys.ts";
import {
  formatIpv6,
  formatIpv6Prefix,
  type Ipv4Address,
  type Ipv6Address,
  type Ipv6Prefix,
} from "../common/ip/address.ts";
import type { Encapsulation, Suite, TunnelName } from "../common/tunnel/tunnel.ts";

/** Unpredictable octets. */
export type RandomOctets = (length: number) => Uint8Array;

export interface HomePlan {
  readonly name: TunnelName;
  readonly server: Ipv4Address;
  readonly prefixes: readonly Ipv6Prefix[];
  readonly suite: Suite;
  readonly encapsulation: Encapsulation;
}

/** Texts of two files. Both are secret. */
export interface KeyPair {
  readonly client: string;
  readonly server: string;
}

const SMALLEST_SPI = 256;
const SPI_LENGTH = 4; // octets
const INTERFACE_ID_LENGTH = 8; // octets

/** Makes keys, SPIs and link-local addresses, and writes them down from both sides. */
export function makeKeyPair(plan: HomePlan, random: RandomOctets): KeyPair {
  const home = randomLinkLocal(random);
  const server = randomLinkLocal(random);
  const upward = associationText(plan.suite, random);
  const downward = associationText(plan.suite, random);
  const prefixes = `prefixes = [${plan.prefixes.map((p) => `"${formatIpv6Prefix(p)}"`).join(", ")}]`;
  const encapsulation = `encapsulation = "${plan.encapsulation}"`;
  return {
    client: lines(
      `# hometun: the home ${plan.name}. Secret: readable by its owner only.`,
      `server = "${plan.server}"`,
      "",
      "[tunnel]",
      `link-local = "${home}"`,
      `server-link-local = "${server}"`,
      prefixes,
      encapsulation,
      "",
      ...keysText({ outbound: upward, inbound: downward }),
    ),
    server: lines(
      `# hometun-server: the home ${plan.name}. Secret: readable by its owner only.`,
      `name = "${plan.name}"`,
      `link-local = "${home}"`,
      `server-link-local = "${server}"`,
      prefixes,
      encapsulation,
      "",
      ...keysText({ outbound: downward, inbound: upward }),
    ),
  };
}

/** One association's lines; the same stand in both files, under opposite names. */
function associationText(suite: Suite, random: RandomOctets): readonly string[] {
  const { key, companionName, companion } = SUITE_SECRETS[suite];
  return [
    `spi = 0x${hexText(randomSpi(random))}`,
    `suite = "${suite}"`,
    `key = "${hexText(random(key))}"`,
    `${companionName} = "${hexText(random(companion))}"`,
  ];
}

function keysText(keys: { outbound: readonly string[]; inbound: readonly string[] }): string[] {
  return [
    "[keys]",
    'mode = "manual"',
    "",
    "[keys.outbound]",
    ...keys.outbound,
    "",
    "[keys.inbound]",
    ...keys.inbound,
  ];
}

/** RFC 4303 section 2.1 reserves 0 to 255. */
function randomSpi(random: RandomOctets): Uint8Array {
  for (;;) {
    const octets = random(SPI_LENGTH);
    if (new DataView(octets.buffer, octets.byteOffset).getUint32(0) >= SMALLEST_SPI) return octets;
  }
}

/** fe80::/64 and 64 random bits. */
function randomLinkLocal(random: RandomOctets): Ipv6Address {
  const octets = new Uint8Array(16);
  octets.set([0xfe, 0x80]);
  octets.set(random(INTERFACE_ID_LENGTH), 16 - INTERFACE_ID_LENGTH);
  return formatIpv6(octets);
}

function lines(...all: string[]): string {
  return `${all.join("\n")}\n`;
}
