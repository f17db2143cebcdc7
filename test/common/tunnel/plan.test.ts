import { describe, expect, it } from "vitest";
import { parseIpv6, parseIpv6Prefix } from "../../../common/ip/address.ts";
import { planTunnels } from "../../../common/tunnel/plan.ts";
import type { TunnelName, TunnelSpec } from "../../../common/tunnel/tunnel.ts";

const keys = (spi: number) => ({
  spi,
  suite: "aes-gcm-128" as const,
  encryptionKey: new Uint8Array(16).fill(spi),
  companion: new Uint8Array(4),
  extendedSequenceNumbers: true,
});

const tunnel = (name: string, changes: Partial<TunnelSpec> = {}): TunnelSpec => ({
  name: name as TunnelName,
  interfaceName: `ht-${name}`,
  encapsulation: "udp",
  localAddresses: [parseIpv6("fe80::1")],
  peerLinkLocal: parseIpv6("fe80::2"),
  remotePrefixes: [parseIpv6Prefix("2001:db8:a::/48")],
  localPrefixes: [parseIpv6Prefix("::/0")],
  routes: [parseIpv6Prefix("2001:db8:a::/48")],
  mtu: 1438,
  clampMss: true,
  outbound: keys(1000),
  inbound: keys(1001),
  ...changes,
});

describe("planTunnels", () => {
  it("leaves equal tunnels alone", () => {
    expect(planTunnels([tunnel("a"), tunnel("b")], [tunnel("b"), tunnel("a")])).toEqual({
      remove: [],
      add: [],
      change: [],
    });
  });

  it("adds what is new and removes what is no longer wanted", () => {
    const plan = planTunnels([tunnel("a"), tunnel("b")], [tunnel("b"), tunnel("c")]);
    expect(plan).toEqual({ remove: ["a"], add: [tunnel("c")], change: [] });
  });

  it("changes addresses, prefixes and MTU without touching the SAs", () => {
    const narrower = tunnel("a", { mtu: 1280 });
    expect(planTunnels([tunnel("a")], [narrower])).toEqual({
      remove: [],
      add: [],
      change: [narrower],
    });
  });

  it("replaces a tunnel whose key, encapsulation or interface differs", () => {
    for (const other of [
      tunnel("a", { inbound: keys(1002) }),
      tunnel("a", { encapsulation: "esp" }),
      tunnel("a", { interfaceName: "ht7" }),
    ]) {
      expect(planTunnels([tunnel("a")], [other])).toEqual({
        remove: ["a"],
        add: [other],
        change: [],
      });
    }
  });
});
