import { describe, expect, it } from "vitest";
import { parseIpv6, parseIpv6Prefix } from "../../../common/ip/address.ts";
import {
  type LinkOperation,
  type PresentLink,
  planLink,
  type WantedLink,
} from "../../../common/rtnetlink/link-plan.ts";

const wanted: WantedLink = {
  localAddresses: [parseIpv6("fe80::c"), parseIpv6("2001:db8:1::1")],
  peerLinkLocal: parseIpv6("fe80::5"),
  routes: [parseIpv6Prefix("::/0")],
  mtu: 1400,
};
const fresh: PresentLink = {
  up: false,
  mtu: 1500,
  addressGenerationMode: 0,
  addresses: [],
  routes: [],
};
const host = (address: string) => ({ address: parseIpv6(address), prefixLength: 128 });
const complete: PresentLink = {
  up: true,
  mtu: 1400,
  addressGenerationMode: 1,
  addresses: [host("fe80::c"), host("2001:db8:1::1")],
  routes: [parseIpv6Prefix("fe80::5/128"), parseIpv6Prefix("::/0")],
};

/** As the kernel would carry them out. */
function carriedOut(present: PresentLink, operations: readonly LinkOperation[]): PresentLink {
  const state = { ...present, addresses: [...present.addresses], routes: [...present.routes] };
  for (const operation of operations) {
    switch (operation.kind) {
      case "remove-route":
        state.routes = state.routes.filter((route) => route !== operation.route);
        break;
      case "remove-address":
        state.addresses = state.addresses.filter((address) => address !== operation.address);
        break;
      case "set-link":
        state.mtu = operation.mtu;
        state.addressGenerationMode = 1;
        break;
      case "set-up":
        state.up = true;
        break;
      case "add-address":
        state.addresses.push(operation.address);
        break;
      case "add-route":
        state.routes.push(operation.route);
        break;
    }
  }
  return state;
}

describe("planLink", () => {
  it("forbids generated addresses before the link comes up, and adds routes last", () => {
    expect(planLink(fresh, wanted)).toEqual([
      { kind: "set-link", mtu: 1400 },
      { kind: "set-up" },
      { kind: "add-address", address: host("fe80::c") },
      { kind: "add-address", address: host("2001:db8:1::1") },
      { kind: "add-route", route: parseIpv6Prefix("fe80::5/128") },
      { kind: "add-route", route: parseIpv6Prefix("::/0") },
    ]);
  });

  it("does nothing when all stands already", () => {
    expect(planLink(complete, wanted)).toEqual([]);
  });

  it("removes what is no longer wanted, and only that", () => {
    const less = { ...wanted, localAddresses: [parseIpv6("fe80::c")], routes: [] };
    expect(planLink(complete, less)).toEqual([
      { kind: "remove-route", route: parseIpv6Prefix("::/0") },
      { kind: "remove-address", address: host("2001:db8:1::1") },
    ]);
  });

  it("tells routes apart by their source", () => {
    const source = parseIpv6Prefix("2001:db8:1::/48");
    const own = { ...parseIpv6Prefix("::/0"), source };
    const both = { ...wanted, routes: [...wanted.routes, own] };
    expect(planLink(complete, both)).toEqual([{ kind: "add-route", route: own }]);
    const standing = { ...complete, routes: [...complete.routes, own] };
    expect(planLink(standing, wanted)).toEqual([{ kind: "remove-route", route: own }]);
  });

  it("removes an address the kernel generated before it was forbidden to", () => {
    const generated = { address: parseIpv6("fe80::1234:5678:9abc:def0"), prefixLength: 64 };
    const present = { ...complete, addresses: [...complete.addresses, generated] };
    expect(planLink(present, wanted)).toEqual([{ kind: "remove-address", address: generated }]);
  });

  it("replaces an address that has another prefix length", () => {
    const wide = { address: parseIpv6("fe80::c"), prefixLength: 64 };
    expect(planLink({ ...complete, addresses: [wide, host("2001:db8:1::1")] }, wanted)).toEqual([
      { kind: "remove-address", address: wide },
      { kind: "add-address", address: host("fe80::c") },
    ]);
  });

  it("adds one route when the configuration names the peer's too", () => {
    const twice = { ...wanted, routes: [parseIpv6Prefix("fe80::5/128")] };
    const routes = planLink(fresh, twice).filter(({ kind }) => kind === "add-route");
    expect(routes).toHaveLength(1);
  });

  it.each([
    { name: "a fresh interface", present: fresh },
    { name: "one set down by hand", present: { ...complete, up: false, routes: [] } },
    { name: "one with another MTU", present: { ...complete, mtu: 1280 } },
  ])("leaves nothing to do for a second time: $name", ({ present }) => {
    const after = carriedOut(present, planLink(present, wanted));
    expect(planLink(after, wanted)).toEqual([]);
  });
});
