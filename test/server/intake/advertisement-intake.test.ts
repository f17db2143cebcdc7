import { describe, expect, it } from "vitest";
import type { Ipv4Address, Ipv6Address } from "../../../common/ip/address.ts";
import { parseIpv6Prefix } from "../../../common/ip/address.ts";
import {
  type AddressPolicy,
  PUBLIC_ONLY,
  receiveNeighborMessage,
} from "../../../common/nd/accept.ts";
import type { TunnelName } from "../../../common/tunnel/tunnel.ts";
import { AdvertisementIntake, type HomeLink } from "../../../server/intake/advertisement-intake.ts";
import { hex } from "../../support/hex.ts";
import vectors from "../../vectors/vectors.json" with { type: "json" };

const policy: AddressPolicy = {
  allowed: PUBLIC_ONLY,
  ownAddresses: new Set([vectors.server4 as Ipv4Address]),
};
const home = (name: string, peerLinkLocal: string, prefix: string): HomeLink => ({
  name: name as TunnelName,
  localAddresses: [vectors.server_ll as Ipv6Address],
  peerLinkLocal: peerLinkLocal as Ipv6Address,
  remotePrefixes: [parseIpv6Prefix(prefix)],
});

const intake = new AdvertisementIntake();
intake.setTunnels([
  [7, home("alice", vectors.client_ll, "2001:db8:1::/48")],
  [8, home("bob", "fe80::b0b", "2001:db8:2::/48")],
]);

const unsolicited = vectors.na.find(({ name }) => name === "unsolicited")?.inner ?? "";
const throughInterface = (interfaceIndex: number, truncated = false) => {
  const received = receiveNeighborMessage(hex(unsolicited));
  if (received.kind === "drop") throw new Error(received.reason);
  return intake.judge({ ...received.message, interfaceIndex, truncated }, policy);
};

describe("the advertisement intake", () => {
  it("names the home by the tunnel that the message came through", () => {
    expect(throughInterface(7)).toEqual({ kind: "move", tunnel: "alice", address: "203.0.113.99" });
  });

  it("refuses a message in clear, which came through no tunnel", () => {
    expect(throughInterface(2)).toMatchObject({ kind: "drop", reason: "not-a-tunnel" });
  });

  it("refuses one home's message out of another's tunnel", () => {
    expect(throughInterface(8)).toMatchObject({ kind: "drop", tunnel: "bob", reason: "source" });
  });

  it("refuses a message that is not whole", () => {
    expect(throughInterface(7, true)).toMatchObject({ kind: "drop", reason: "truncated" });
  });
});
