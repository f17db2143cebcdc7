import fc from "fast-check";
import { describe, expect, it, test } from "vitest";
import { MalformedError } from "../../../../common/errors.ts";
import { decodeIkeHeader, encodeIkeHeader } from "../../../../common/ikev2/wire/header.ts";
import { hex } from "../../../support/hex.ts";

describe("the IKE header", () => {
  // Laid out by hand from RFC 7296 section 3.1.
  test.each([
    {
      name: "a request of the initiator",
      wire: "0102030405060708 0000000000000000 21 20 22 08 00000000 0000001c",
      header: {
        initiatorSpi: "0102030405060708",
        responderSpi: "0000000000000000",
        nextPayload: 33,
        exchange: 34,
        fromInitiator: true,
        response: false,
        messageId: 0,
        length: 28,
      },
    },
    {
      name: "an answer of the responder with a high message ID",
      wire: "0102030405060708 f1f2f3f4f5f6f7f8 2e 20 25 20 fffffffe 0000001c",
      header: {
        initiatorSpi: "0102030405060708",
        responderSpi: "f1f2f3f4f5f6f7f8",
        nextPayload: 46,
        exchange: 37,
        fromInitiator: false,
        response: true,
        messageId: 0xfffffffe,
        length: 28,
      },
    },
  ])("is read and written: $name", ({ wire, header }) => {
    expect(decodeIkeHeader(hex(wire))).toEqual(header);
    expect(encodeIkeHeader(header as ReturnType<typeof decodeIkeHeader>)).toEqual(hex(wire));
  });

  it("of a higher minor version, or with unknown flags, is read as ours", () => {
    const wire = "0102030405060708 0000000000000000 21 2f 22 d8 00000000 0000001c";
    expect(decodeIkeHeader(hex(wire))).toMatchObject({ exchange: 34, fromInitiator: true });
  });

  test.each([
    { name: "too short", wire: "0102030405060708", code: "truncated" },
    {
      name: "of version 1",
      wire: "0102030405060708 0000000000000000 21 10 22 08 00000000 0000001c",
      code: "major-version",
    },
    {
      name: "of version 3",
      wire: "0102030405060708 0000000000000000 21 30 22 08 00000000 0000001c",
      code: "major-version",
    },
    {
      name: "that claims more than came",
      wire: "0102030405060708 0000000000000000 21 20 22 08 00000000 0000001d",
      code: "message-length",
    },
    {
      name: "that claims less than came",
      wire: "0102030405060708 0000000000000000 21 20 22 08 00000000 0000001b",
      code: "message-length",
    },
  ])("is refused $name", ({ wire, code }) => {
    expect(() => decodeIkeHeader(hex(wire))).toThrow(
      expect.objectContaining({ layer: "ikev2", code }),
    );
  });

  it("of any octets is read, or is malformed", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 40 }), (octets) => {
        try {
          decodeIkeHeader(octets);
        } catch (error) {
          expect(error).toBeInstanceOf(MalformedError);
        }
      }),
    );
  });
});
