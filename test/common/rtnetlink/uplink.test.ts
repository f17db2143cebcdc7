import { describe, expect, it, test } from "vitest";
import { parseIpv4 } from "../../../common/ip/address.ts";
import { AddressFamily } from "../../../common/rtnetlink/address-family.ts";
import type { LinkMessage } from "../../../common/rtnetlink/link-message.ts";
import { type RouteMessage, RouteType } from "../../../common/rtnetlink/route-message.ts";
import { uplinkOf } from "../../../common/rtnetlink/uplink.ts";

const route: RouteMessage = {
  family: AddressFamily.ipv4,
  destination: parseIpv4("198.51.100.1"),
  destinationLength: 32,
  table: 254,
  protocol: 0,
  scope: 0,
  type: RouteType.unicast,
  flags: 0,
  interfaceIndex: 4,
  preferredSource: parseIpv4("192.0.2.7"),
};
const link: LinkMessage = { index: 4, flags: 1, change: 0, name: "eth0", mtu: 1500 };

describe("uplinkOf", () => {
  it("tells address, interface and the link's MTU", () => {
    expect(uplinkOf(route, link)).toEqual({
      address: "192.0.2.7",
      interfaceIndex: 4,
      interfaceName: "eth0",
      mtu: 1500,
    });
  });

  test.each([
    { name: "the path's MTU, when that is smaller", path: 1_400, own: 1_500, mtu: 1_400 },
    { name: "the link's MTU, when a route's own is larger", path: 9_000, own: 1_492, mtu: 1_492 },
    { name: "the link's MTU, when the route's is zero", path: 0, own: 1_500, mtu: 1_500 },
    { name: "Ethernet's MTU, when neither is known", path: undefined, own: undefined, mtu: 1_500 },
  ])("takes $name", ({ path, own, mtu }) => {
    expect(uplinkOf({ ...route, mtu: path }, { ...link, mtu: own })?.mtu).toBe(mtu);
  });

  test.each([
    { name: "the server's address is this machine's own", change: { type: RouteType.local } },
    { name: "no source address is known", change: { preferredSource: undefined } },
    {
      name: "the source is a loopback address",
      change: { preferredSource: parseIpv4("127.0.0.1") },
    },
    { name: "the source is no address", change: { preferredSource: parseIpv4("0.0.0.0") } },
  ])("is none when $name", ({ change }) => {
    expect(uplinkOf({ ...route, ...change }, link)).toBeUndefined();
  });
});
