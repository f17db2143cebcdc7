import fc from "fast-check";
import { describe, expect, it, test } from "vitest";
import { MalformedError } from "../../../../common/errors.ts";
import { decodeIkeHeader, HEADER_LENGTH } from "../../../../common/ikev2/wire/header.ts";
import {
  decodePayloads,
  encodePayloads,
  findPayload,
  firstPayloadType,
} from "../../../../common/ikev2/wire/message.ts";
import {
  decodePayloadChain,
  encodePayloadChain,
  PayloadType,
} from "../../../../common/ikev2/wire/payload-chain.ts";
import {
  decodeConfiguration,
  decodeInternalIp6Link,
  decodeInternalIp6Prefix,
  encodeInternalIp6Link,
  encodeInternalIp6Prefix,
} from "../../../../common/ikev2/wire/payloads/configuration.ts";
import { decodeEncryptedFragment } from "../../../../common/ikev2/wire/payloads/encrypted-fragment.ts";
import { decodeSecurityAssociation } from "../../../../common/ikev2/wire/payloads/security-association.ts";
import { parseIpv6Prefix } from "../../../../common/ip/address.ts";
import { hex } from "../../../support/hex.ts";
import { charonSessions, openMessage, plainMessage } from "../vectors/charon.ts";

const decode = (type: number, body: string) =>
  decodePayloads([{ type, critical: false, body: hex(body) }]).payloads[0];

describe("payloads of charon's messages", () => {
  test.each(
    charonSessions.flatMap((session) =>
      session.messages.map((_, index) => ({ session, index, name: `${session.name}:${index}` })),
    ),
  )("$name are read, and written the same", ({ session, index }) => {
    const { first, plain } = plainMessage(session, index);
    const payloads = openMessage(session, index);
    expect(firstPayloadType(payloads)).toBe(first);
    expect(encodePayloads(payloads)).toEqual(plain);
  });

  // As charon's log names it: aes256gcm16-prfsha256-x25519.
  it("propose what charon was told to propose", () => {
    const [session] = charonSessions;
    if (session === undefined) throw new Error("no session");
    expect(findPayload(openMessage(session, 0), "SA")?.proposals).toEqual([
      {
        number: 1,
        protocol: 1,
        spi: hex(),
        transforms: [
          { type: 1, id: 20, keyLength: 256 },
          { type: 2, id: 5 },
          { type: 4, id: 31 },
        ],
      },
    ]);
    expect(findPayload(openMessage(session, 0), "KE")).toMatchObject({ group: 31 });
  });

  // charon's pool: addresses of 2001:db8:1:1::100/120, a name server. (Its attribute 18 is the text of its
  // configuration and no prefix, so it is not looked at.)
  it("configure what charon's pool held", () => {
    const [session] = charonSessions;
    if (session === undefined) throw new Error("no session");
    expect(findPayload(openMessage(session, 3), "CP")?.configuration).toMatchObject({
      type: 2,
      attributes: [
        { type: 8, value: hex("20010db8000100010000000000000101 40") },
        { type: 10, value: hex("20010db8000f00000000000000000053") },
        { type: 18 },
      ],
    });
  });
});

describe("payloads laid out by hand from RFC 7296 section 3", () => {
  test.each([
    {
      name: "two proposals, 3.3",
      type: PayloadType.securityAssociation,
      body:
        "02 00 0028 01 03 04 03 c0ffee01" +
        "  03 00 000c 01 00 0014 800e0100  03 00 0008 05 00 0001  00 00 0008 05 00 0000" +
        "00 00 0014 02 03 04 01 c0ffee01  00 00 0008 03 00 000c",
      payload: {
        kind: "SA",
        proposals: [
          {
            number: 1,
            protocol: 3,
            spi: hex("c0ffee01"),
            transforms: [
              { type: 1, id: 20, keyLength: 256 },
              { type: 5, id: 1 },
              { type: 5, id: 0 },
            ],
          },
          { number: 2, protocol: 3, spi: hex("c0ffee01"), transforms: [{ type: 3, id: 12 }] },
        ],
      },
    },
    {
      name: "a key exchange, 3.4",
      type: PayloadType.keyExchange,
      body: "001f 0000 0102",
      payload: { kind: "KE", group: 31, publicValue: hex("0102") },
    },
    {
      name: "an identification, 3.5",
      type: PayloadType.initiatorIdentification,
      body: "03 000000 6140622e63",
      payload: {
        kind: "IDi",
        identification: { type: 3, data: new TextEncoder().encode("a@b.c") },
        body: hex("03000000 6140622e63"),
      },
    },
    {
      name: "a certificate, 3.6",
      type: PayloadType.certificate,
      body: "04 3003020101",
      payload: { kind: "CERT", encoding: 4, data: hex("3003020101") },
    },
    {
      name: "a certificate request, 3.7",
      type: PayloadType.certificateRequest,
      body: `04 ${"aa".repeat(20)} ${"bb".repeat(20)}`,
      payload: {
        kind: "CERTREQ",
        encoding: 4,
        authorities: [hex("aa".repeat(20)), hex("bb".repeat(20))],
      },
    },
    {
      name: "an authentication, 3.8",
      type: PayloadType.authentication,
      body: "0e 000000 0304",
      payload: { kind: "AUTH", method: 14, data: hex("0304") },
    },
    {
      name: "a notification about a Child SA, 3.10",
      type: PayloadType.notify,
      body: "03 04 4009 c0ffee01",
      payload: { kind: "N", protocol: 3, spi: hex("c0ffee01"), type: 16393, data: hex() },
    },
    {
      name: "LINK_ID, RFC 5739 section 5.3",
      type: PayloadType.notify,
      body: "00 00 401e 6c696e6b",
      payload: { kind: "N", protocol: 0, spi: hex(), type: 16414, data: hex("6c696e6b") },
    },
    {
      name: "a delete of the IKE SA, 3.11",
      type: PayloadType.delete,
      body: "01 00 0000",
      payload: { kind: "D", protocol: 1, spis: [] },
    },
    {
      name: "a delete of two Child SAs, 3.11",
      type: PayloadType.delete,
      body: "03 04 0002 c0ffee01 00000100",
      payload: { kind: "D", protocol: 3, spis: [0xc0ffee01, 0x100] },
    },
    {
      name: "a vendor ID, 3.12",
      type: PayloadType.vendorId,
      body: "746573 74",
      payload: { kind: "V", vendorId: hex("74657374") },
    },
    {
      name: "traffic selectors of both families, 3.13",
      type: PayloadType.initiatorTrafficSelectors,
      body:
        `02 000000  08 00 0028 0000 ffff ${"00".repeat(16)} ${"ff".repeat(16)}` +
        "07 11 0010 0035 0035 c0000201 c0000202",
      payload: {
        kind: "TSi",
        selectors: [
          {
            protocol: 0,
            startPort: 0,
            endPort: 65535,
            start: hex("00".repeat(16)),
            end: hex("ff".repeat(16)),
          },
          {
            protocol: 17,
            startPort: 53,
            endPort: 53,
            start: hex("c0000201"),
            end: hex("c0000202"),
          },
        ],
      },
    },
    {
      name: "a configuration request, 3.15",
      type: PayloadType.configuration,
      body: "01 000000  0011 0008 0000000000000002  000a 0000",
      payload: {
        kind: "CP",
        configuration: {
          type: 1,
          attributes: [
            { type: 17, value: hex("0000000000000002") },
            { type: 10, value: hex() },
          ],
        },
      },
    },
  ])("are read and written: $name", ({ type, body, payload }) => {
    const read = decode(type, body);
    expect(read).toEqual(payload);
    if (read === undefined) throw new Error("not read");
    expect(encodePayloads([read]).subarray(4)).toEqual(hex(body));
  });

  it("may hold attributes and selectors we do not know", () => {
    const unknownAttribute = "00 00 0014 01 01 00 01  00 00 000c 01 00 0014 800f0001";
    expect(decodeSecurityAssociation(hex(unknownAttribute))[0]?.transforms).toEqual([
      { type: 1, id: 20, hasUnknownAttributes: true },
    ]);
    const longAttribute = "00 00 0016 01 01 00 01  00 00 000e 01 00 0014 000e 0002 0100";
    expect(decodeSecurityAssociation(hex(longAttribute))[0]?.transforms).toEqual([
      { type: 1, id: 20, hasUnknownAttributes: true },
    ]);
    const unknownSelector = "01 000000 09 00 0006 0000";
    expect(decode(PayloadType.responderTrafficSelectors, unknownSelector)).toEqual({
      kind: "TSr",
      selectors: [],
    });
    expect(decodeConfiguration(hex("01 000000 8011 0000")).attributes[0]?.type).toBe(17);
  });

  const tooManyAttributes = `01 000000 ${"000a0000".repeat(65)}`;
  const proposal = "02 00 0008 01 03 00 00";
  test.each([
    { name: "an empty SA", type: 33, body: "", code: "truncated" },
    { name: "a proposal of no length", type: 33, body: "00 00 0000", code: "proposal-length" },
    { name: "a proposal beyond the end", type: 33, body: "00 00 0009 01 03 00 00" },
    { name: "a missing proposal", type: 33, body: proposal },
    {
      name: "a proposal after the last",
      type: 33,
      body: "00 00 0008 01 03 00 00 00",
      code: "proposal-more",
    },
    {
      name: "a proposal with a strange mark",
      type: 33,
      body: "07 00 0008 01 03 00 00",
      code: "proposal-more",
    },
    { name: "65 proposals", type: 33, body: proposal.repeat(65), code: "too-many-proposals" },
    { name: "a SPI beyond the proposal", type: 33, body: "00 00 0008 01 03 04 00" },
    { name: "a missing transform", type: 33, body: "00 00 0008 01 03 00 01" },
    {
      name: "a transform too many",
      type: 33,
      body: "00 00 0010 01 03 00 00 00 00 0008 01 00 0014",
      code: "transform-count",
    },
    {
      name: "a transform of no length",
      type: 33,
      body: "00 00 0010 01 03 00 01 00 00 0000 01 00 0014",
      code: "transform-length",
    },
    {
      name: "more transforms promised than counted",
      type: 33,
      body: "00 00 0010 01 03 00 01 03 00 0008 01 00 0014",
      code: "transform-count",
    },
    {
      name: "an attribute beyond its transform",
      type: 33,
      body: "00 00 0014 01 03 00 01 00 00 000c 01 00 0014 000e 0001",
    },
    { name: "a short nonce", type: 40, body: "00".repeat(15), code: "nonce-length" },
    { name: "a long nonce", type: 40, body: "00".repeat(257), code: "nonce-length" },
    { name: "an empty KE", type: 34, body: "001f" },
    { name: "an empty IDi", type: 35, body: "0300" },
    { name: "an empty AUTH", type: 39, body: "" },
    { name: "an empty CERT", type: 37, body: "" },
    { name: "half a hash", type: 38, body: `04 ${"aa".repeat(21)}`, code: "authority-length" },
    { name: "a notify cut in its SPI", type: 41, body: "03 04 4009 c0ff" },
    { name: "a delete with long SPIs", type: 42, body: "03 08 0000", code: "delete-spi-length" },
    { name: "an IKE delete with SPIs", type: 42, body: "01 00 0001", code: "delete-spi-length" },
    { name: "a delete that lacks SPIs", type: 42, body: "03 04 ffff c0ffee01" },
    {
      name: "a delete with more than its SPIs",
      type: 42,
      body: "03 04 0000 c0ffee01",
      code: "trailing-octets",
    },
    { name: "a TS that lacks selectors", type: 44, body: "ff 000000" },
    {
      name: "a selector of no length",
      type: 44,
      body: "01 000000 08 00 0000",
      code: "selector-length",
    },
    {
      name: "an IPv6 selector of IPv4's length",
      type: 44,
      body: "01 000000 08 00 0010 0000 ffff c0000201 c0000202",
      code: "selector-length",
    },
    { name: "octets after a TS", type: 44, body: "00 000000 00", code: "trailing-octets" },
    { name: "a cut attribute", type: 47, body: "01 000000 0011 0008 00" },
    { name: "65 attributes", type: 47, body: tooManyAttributes, code: "too-many-attributes" },
  ])("are refused: $name", ({ type, body, code = "truncated" }) => {
    expect(() => decode(type, body)).toThrow(expect.objectContaining({ layer: "ikev2", code }));
  });
});

describe("RFC 5739's attributes", () => {
  // Laid out by hand from section 5.1.
  test.each([
    { name: "without a Link ID", wire: "0000000000000002", linkId: "" },
    { name: "with a Link ID", wire: "0000000000000002 0a0b0c", linkId: "0a0b0c" },
  ])("INTERNAL_IP6_LINK is read and written $name", ({ wire, linkId }) => {
    const link = { interfaceId: hex("0000000000000002"), linkId: hex(linkId) };
    expect(decodeInternalIp6Link(hex(wire))).toEqual(link);
    expect(encodeInternalIp6Link(link)).toEqual(hex(wire));
  });

  it("INTERNAL_IP6_LINK without a whole interface ID is malformed", () => {
    expect(() => decodeInternalIp6Link(hex("00000000000002"))).toThrow(MalformedError);
  });

  it("INTERNAL_IP6_PREFIX is read and written, section 5.2", () => {
    const wire = hex("20010db8000100020000000000000000 40");
    const prefix = parseIpv6Prefix("2001:db8:1:2::/64");
    expect(decodeInternalIp6Prefix(wire)).toEqual(prefix);
    expect(encodeInternalIp6Prefix(prefix)).toEqual(wire);
  });

  it("INTERNAL_IP6_PREFIX's bits beyond the length are ignored", () => {
    const wire = hex("20010db800010002ffffffffffffffff 40");
    expect(decodeInternalIp6Prefix(wire)).toEqual(parseIpv6Prefix("2001:db8:1:2::/64"));
  });

  test.each([
    { name: "without a length", wire: "20010db8000100020000000000000000", code: "truncated" },
    { name: "longer than an address", wire: `${"00".repeat(16)}81`, code: "prefix-length" },
    { name: "and more", wire: `${"00".repeat(16)}4000`, code: "prefix-length" },
  ])("INTERNAL_IP6_PREFIX $name is malformed", ({ wire, code }) => {
    expect(() => decodeInternalIp6Prefix(hex(wire))).toThrow(expect.objectContaining({ code }));
  });
});

describe("a chain of payloads", () => {
  it("ignores unknown payloads and tells of unknown critical ones, section 2.5", () => {
    const { payloads } = decodePayloadChain(
      49,
      hex("28 00 0004", "32 80 0014", "01".repeat(16), "00 80 0004"),
    );
    const decoded = decodePayloads(payloads);
    expect(decoded.payloads.map((payload) => payload.kind)).toEqual(["Nonce"]);
    expect(decoded.unsupportedCritical).toEqual([50]);
  });

  it("ends at an Encrypted payload, which names what it hides", () => {
    const chain = decodePayloadChain(46, hex("23 00 0006 abcd"));
    expect(chain.inner).toBe(35);
    expect(chain.payloads).toHaveLength(1);
  });

  test.each([
    { name: "a payload of no length", first: 40, wire: "00 00 0000", code: "payload-length" },
    {
      name: "a payload shorter than its header",
      first: 40,
      wire: "00 00 0003",
      code: "payload-length",
    },
    { name: "a payload beyond the end", first: 40, wire: "00 00 0005", code: "truncated" },
    { name: "a missing payload", first: 40, wire: "", code: "truncated" },
    { name: "octets after the last", first: 40, wire: "00 00 0004 00", code: "trailing-octets" },
    { name: "octets and no payload", first: 0, wire: "00", code: "trailing-octets" },
    { name: "65 payloads", first: 43, wire: "2b 00 0004".repeat(65), code: "too-many-payloads" },
    {
      name: "one after an Encrypted",
      first: 46,
      wire: "28 00 0004 00 00 0004",
      code: "trailing-octets",
    },
  ])("is refused with $name", ({ first, wire, code }) => {
    expect(() => decodePayloadChain(first, hex(wire))).toThrow(
      expect.objectContaining({ layer: "ikev2", code }),
    );
  });

  it("cannot carry a payload longer than its length field says", () => {
    const body = new Uint8Array(0xffff);
    expect(() => encodePayloadChain([{ type: 43, critical: false, body }])).toThrow(RangeError);
  });

  test.each([
    { name: "zero", wire: "0000 0001" },
    { name: "beyond the total", wire: "0003 0002" },
  ])("refuses fragment number $name, RFC 7383 section 2.6", ({ wire }) => {
    expect(() => decodeEncryptedFragment(hex(wire))).toThrow(
      expect.objectContaining({ code: "fragment-number" }),
    );
  });
});

describe("any octets", () => {
  const types = fc.oneof(
    fc.constantFrom(...Object.values(PayloadType)),
    fc.integer({ max: 255, min: 0 }),
  );

  it("are a chain, or are malformed", () => {
    fc.assert(
      fc.property(types, fc.uint8Array({ maxLength: 300 }), (first, octets) => {
        expectMalformedOrNothing(() => decodePayloads(decodePayloadChain(first, octets).payloads));
      }),
    );
  });

  it("are the body of any payload, or are malformed", () => {
    fc.assert(
      fc.property(types, fc.uint8Array({ maxLength: 300 }), (type, body) => {
        expectMalformedOrNothing(() => decodePayloads([{ type, critical: false, body }]));
      }),
      { numRuns: 1000 },
    );
  });

  it("changed in one place in charon's messages are a message, or are malformed", () => {
    const messages = charonSessions.flatMap((session) => session.messages.slice(0, 2));
    fc.assert(
      fc.property(fc.constantFrom(...messages), fc.nat(), fc.nat(255), (message, at, octet) => {
        const changed = message.slice();
        changed[at % changed.length] = octet;
        expectMalformedOrNothing(() => {
          const { nextPayload } = decodeIkeHeader(changed);
          decodePayloads(decodePayloadChain(nextPayload, changed.subarray(HEADER_LENGTH)).payloads);
        });
      }),
      { numRuns: 1000 },
    );
  });
});

function expectMalformedOrNothing(action: () => void): void {
  try {
    action();
  } catch (error) {
    expect(error).toBeInstanceOf(MalformedError);
  }
}
