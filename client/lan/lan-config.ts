/**
 * `lan` in `client.toml`: an interface's name, a list of them, or a table with more.
 *
 *     lan = "eth1"
 *     lan = ["eth1", "wlan0"]
 *     lan = { interfaces = ["eth1"], dns = ["2001:db8::53"] }
 */

import { z } from "zod";
import { mistake } from "../../common/config/mistakes.ts";
import {
  absolutePath,
  hostIpv6,
  interfaceName,
  list,
  seconds,
  table,
  word,
} from "../../common/config/schema.ts";
import type { ConfigError } from "../../common/errors.ts";
import type { Ipv6Address, Ipv6Prefix } from "../../common/ip/address.ts";
import type { HomeView } from "../home-view.ts";
import { LAN_PREFIX_LENGTH, lanSubnets } from "./subnets.ts";

const LONGEST_DEAD_AFTER = 7 * 86_400; // seconds
const DEAD_AFTER = 1_800; // seconds
const MOST_DNS_SERVERS = 8;

const LAN_EXPORT_FILE = "/run/hometun/lan.json";

/** Who tells the hosts: hometun itself, or another program by the file that hometun writes. */
export type LanMode = "built-in" | "export";

export interface LanConfig {
  readonly mode: LanMode;
  /** At least one; each gets a /64. */
  readonly interfaces: readonly string[];
  /** DNS servers for the hosts; empty: those that the server tells, if it does. */
  readonly dns: readonly Ipv6Address[];
  /** After how long without tunnel hosts are told to look elsewhere; 0: never. */
  readonly deadAfterMs: number;
  /** Where `export` writes. */
  readonly exportFile: string;
}

const lanTable = table({
  interfaces: list(interfaceName, "a list of interface names", 1).meta({
    description: "In the order in which they get their /64.",
    example: '["eth1", "wlan0"]',
  }),
  dns: list(hostIpv6, "a list of IPv6 addresses")
    .max(MOST_DNS_SERVERS, { error: `expected at most ${MOST_DNS_SERVERS} addresses` })
    .default([])
    .meta({
      description: `DNS servers that the hosts are told, at most ${MOST_DNS_SERVERS}; RFC 8106. None: those that the server tells the home, with \`keys.mode = "ikev2"\`.`,
      example: '["2001:db8::53"]',
    }),
  "dead-after": seconds(LONGEST_DEAD_AFTER).prefault(DEAD_AFTER).meta({
    description: "After how long without tunnel hosts are told to use another router; 0: never.",
    example: "1800",
  }),
  "export-file": absolutePath.default(LAN_EXPORT_FILE).meta({
    description: 'Where `lan-mode = "export"` writes.',
    example: '"/run/hometun/lan.json"',
  }),
});

/** What the user wants the hosts to ask; else what the server told. */
export function dnsFor({ dns }: LanConfig, view: HomeView): readonly Ipv6Address[] {
  return dns.length > 0 ? dns : (view.dns ?? []).slice(0, MOST_DNS_SERVERS);
}

/** `lan` and `lan-mode`, for the table they stand in. */
export const lanFields = {
  lan: z
    .preprocess((raw) => {
      if (typeof raw === "string") return { interfaces: [raw] };
      return Array.isArray(raw) ? { interfaces: raw } : raw;
    }, lanTable)
    .optional()
    .meta({
      description:
        "The LAN: each interface gets a /64 of the home's prefixes, by Router Advertisements. Absent: hometun leaves the LAN alone.",
      expected: "an interface name, a list of them, or a table `[lan]`",
      example: '"eth1"',
    }),
  "lan-mode": word(["built-in", "export"]).optional().meta({
    description:
      "Who tells the hosts: hometun itself, or another daemon by the file that hometun writes. With `lan` by default `built-in`.",
    example: '"export"',
  }),
};

/** The LAN that such fields ask for, if one. */
export function lanOf(fields: {
  readonly lan?: z.output<typeof lanTable> | undefined;
  readonly "lan-mode"?: LanMode | undefined;
}): LanConfig | undefined {
  const { lan } = fields;
  if (lan === undefined) return undefined;
  return {
    mode: fields["lan-mode"] ?? "built-in",
    interfaces: lan.interfaces,
    dns: lan.dns,
    deadAfterMs: lan["dead-after"],
    exportFile: lan["export-file"],
  };
}

/** What is wrong between the LAN and the tunnel. */
export function lanMistakes(
  { lan, tunnel }: { readonly lan: LanConfig | undefined; readonly tunnel: LanTunnel },
  file: string,
): ConfigError[] {
  if (lan === undefined) return [];
  const { interfaces } = lan;
  const mistakes = interfaces.flatMap((name, place) => {
    const say = (expectation: string) => mistake(file, ["lan", "interfaces", place], expectation);
    if (name === tunnel.interfaceName) return [say(`${name} is the tunnel's own interface`)];
    return interfaces.indexOf(name) === place ? [] : [say(`${name} is named twice`)];
  });
  // The server assigns them later.
  if (tunnel.prefixes.length === 0) return mistakes;
  const subnets = lanSubnets(tunnel.prefixes, tunnel.address, interfaces.length);
  if (subnets.length < interfaces.length) {
    const expectation = `each needs a /${LAN_PREFIX_LENGTH} of tunnel.prefixes, which have ${subnets.length} for ${interfaces.length} interfaces`;
    mistakes.push(mistake(file, ["lan"], expectation));
  }
  return mistakes;
}

/** What of the tunnel matters for the LAN. */
interface LanTunnel {
  readonly interfaceName: string;
  readonly address: Ipv6Address | undefined;
  readonly prefixes: readonly Ipv6Prefix[];
}
