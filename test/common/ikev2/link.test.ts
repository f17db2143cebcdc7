/** Who gets which link: RFC 5739 sections 4.1, 4.2 and 4.5, in configuration payloads. */

import { describe, expect, it, test } from "vitest";
import { identificationOf } from "../../../common/ikev2/identity.ts";
import {
  acceptConfiguration,
  grantLink,
  type LinkOffer,
  type LinkRequest,
  requestConfiguration,
} from "../../../common/ikev2/link.ts";
import { LinkTable } from "../../../common/ikev2/link-table.ts";
import {
  ConfigurationAttributeType,
  ConfigurationType,
} from "../../../common/ikev2/wire/payloads/configuration.ts";
import { parseIpv6, parseIpv6Prefix } from "../../../common/ip/address.ts";
import { hex } from "../../support/hex.ts";

const { internalIp6Address, internalIp6Link, internalIp6Prefix } = ConfigurationAttributeType;

const OFFER: LinkOffer = {
  interfaceId: hex("0000000000000001"),
  prefixes: [parseIpv6Prefix("2001:db8:a::/56")],
  dns: [],
  dhcp: [],
  fallback: { address: parseIpv6("2001:db8:f::7"), length: 128 },
};
const HOME: LinkRequest = { interfaceId: hex("0000000000000002"), fallback: true };
const LINK_ID = hex("0a".repeat(16));

const typesOf = (grant: ReturnType<typeof grantLink>) =>
  grant?.reply.attributes.map(({ type }) => type);
const grant = (request: LinkRequest, offer = OFFER) =>
  grantLink(requestConfiguration(request), offer, () => LINK_ID);

describe("a home that asks for a link and for an address", () => {
  it("gets the link: the address is as if it had not asked", () => {
    expect(typesOf(grant(HOME))).toEqual([internalIp6Link, internalIp6Prefix]);
  });

  it("takes the address from a gateway that knows no links", () => {
    const attributes = [
      { type: internalIp6Address, value: hex(`20010db8000f${"00".repeat(9)}07 80`) },
    ];
    const reply = { type: ConfigurationType.reply, attributes };
    expect(acceptConfiguration(HOME, reply)).toMatchObject({ kind: "address", prefixLength: 128 });
    expect(acceptConfiguration({ ...HOME, fallback: false }, reply)).toBeUndefined();
  });
});

describe("a home that asks for no link", () => {
  const request = {
    type: ConfigurationType.request,
    attributes: [{ type: internalIp6Address, value: hex() }],
  };

  it("is answered without one, and with an address if there is any", () => {
    const granted = grantLink(request, OFFER, () => LINK_ID);
    expect(typesOf(granted)).toEqual([internalIp6Address]);
    const { fallback: _, ...withoutAddresses } = OFFER;
    expect(grantLink(request, withoutAddresses, () => LINK_ID)).toBeUndefined();
  });
});

describe("both ends of a link", () => {
  it("never have one interface identifier: the home does not believe such a gateway", () => {
    const granted = grant(HOME);
    if (granted === undefined) throw new Error("no link");
    expect(acceptConfiguration(HOME, granted.reply)).toMatchObject({
      kind: "link",
      peerInterfaceId: OFFER.interfaceId,
    });
    const { reply } = grant(HOME, { ...OFFER, interfaceId: hex("0000000000000009") }) ?? granted;
    const same = { ...HOME, interfaceId: hex("0000000000000009") };
    expect(acceptConfiguration(same, reply)).toBeUndefined();
  });
});

describe("a Link ID", () => {
  let count = 0;
  const links = new LinkTable((octets) => new Uint8Array(octets).fill(++count));
  const alice = identificationOf("alice.example");
  const first = links.claim(alice, hex());

  it("is the same for who had it before", () => {
    expect(links.claim(alice, first)).toEqual(first);
  });

  test.each([
    { name: "another identity", identity: identificationOf("bob.example"), asked: first },
    { name: "who invents one", identity: identificationOf("carol.example"), asked: LINK_ID },
  ])("is not given to $name, who gets a new link", ({ identity, asked }) => {
    const given = links.claim(identity, asked);
    expect(given).toHaveLength(16);
    expect(given).not.toEqual(asked);
    expect(links.claim(alice, first)).toEqual(first);
  });
});
