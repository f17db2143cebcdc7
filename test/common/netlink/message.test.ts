import fc from "fast-check";
import { describe, expect, it, test } from "vitest";
import { MalformedError } from "../../../common/errors.ts";
import {
  decodeNetlinkMessages,
  encodeNetlinkMessages,
  NetlinkFlag,
} from "../../../common/netlink/message.ts";
import { hex } from "../../support/hex.ts";

// What iproute2 6.1 sends for `ip xfrm state delete dst 198.51.100.1 proto esp spi 0x1002` begins so.
const header = "3c000000 1100 0500 9251016b 00000000";
const payload = `c6336401 ${"00".repeat(12)} 00001002 0200 3200 1400 0d00 ${"00".repeat(16)}`;

describe("netlink messages", () => {
  const flags = NetlinkFlag.request | NetlinkFlag.acknowledge;
  const message = { type: 0x11, flags, sequence: 0x6b015192, payload: hex(payload) };

  it("are framed as iproute2 frames them", () => {
    expect(encodeNetlinkMessages([message])).toEqual(hex(header, payload));
    expect(decodeNetlinkMessages(hex(header, payload))).toEqual([message]);
  });

  it("follow each other at multiples of four octets", () => {
    const short = { ...message, payload: hex("010203") };
    const octets = encodeNetlinkMessages([short, message]);
    expect(octets).toHaveLength(20 + 60);
    expect(decodeNetlinkMessages(octets)).toEqual([short, message]);
  });

  test.each([
    { name: "a header that is cut", wire: "3c000000 1100", code: "truncated" },
    {
      name: "a length of less than the header",
      wire: `0f000000 ${"00".repeat(12)}`,
      code: "bad-length",
    },
    {
      name: "a length beyond the datagram",
      wire: `11000000 ${"00".repeat(12)}`,
      code: "truncated",
    },
  ])("are refused: $name", ({ wire, code }) => {
    expect(() => decodeNetlinkMessages(hex(wire))).toThrow(expect.objectContaining({ code }));
  });

  it("of any octets are read or refused", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 100 }), (octets) => {
        try {
          decodeNetlinkMessages(octets);
        } catch (error) {
          expect(error).toBeInstanceOf(MalformedError);
        }
      }),
    );
  });
});
