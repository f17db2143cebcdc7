/** Octets are those of iproute2 6.1 and Linux 6.1, captured by nlmon, without the netlink header. */

import fc from "fast-check";
import { expect, it } from "vitest";
import { MalformedError } from "../../../common/errors.ts";
import { decodeAttributes, nestedIn, textIn } from "../../../common/rtnetlink/attribute.ts";
import {
  decodeXfrmLink,
  encodeLinkIndex,
  encodeNewXfrmLink,
  encodeXfrmLinksQuery,
} from "../../../common/rtnetlink/xfrm-link-message.ts";
import { hex } from "../../support/hex.ts";

// ip link add ht0 type xfrm dev lo if_id 0x11
const added = hex(
  "00".repeat(16),
  "0800 0300 68743000", // IFLA_IFNAME
  "2000 1200  0800 0100 7866726d", // IFLA_LINKINFO, INFO_KIND
  "1400 0200  0800 0200 11000000  0800 0100 01000000", // INFO_DATA: IF_ID, LINK
);
// ip -d link show ht0; of the attributes those that are read
const told = hex(
  "0000 feff 03000000 80000000 00000000",
  "0800 0300 68743000",
  "2400 1200  0900 0100 7866726d00 000000",
  "1400 0200  0800 0100 01000000  0800 0200 11000000",
);

/** What the interface is made of, whatever the order. */
function parts(payload: Uint8Array) {
  const attributes = decodeAttributes(payload, 16);
  const info = nestedIn(attributes, 18);
  return {
    name: textIn(attributes, 3),
    kind: textIn(info, 1),
    data: new Map([...nestedIn(info, 2)].sort(([a], [b]) => a - b)),
  };
}

it("an xfrm interface is made as iproute2 makes it", () => {
  const made = encodeNewXfrmLink({ name: "ht0", interfaceId: 0x11 });
  expect(made.subarray(0, 16)).toEqual(added.subarray(0, 16));
  expect(parts(made)).toEqual(parts(added));
});

it("is read as the kernel tells it", () => {
  expect(decodeXfrmLink(told)).toEqual({ index: 3, name: "ht0", interfaceId: 0x11 });
});

it("is told from interfaces of other kinds, and of none", () => {
  const kind = told.findIndex(
    (_, at) => Buffer.from(told.subarray(at, at + 4)).toString() === "xfrm",
  );
  const other = told.slice();
  other[kind] = 0x79;
  expect(decodeXfrmLink(other)).toBeUndefined();
  expect(decodeXfrmLink(told.subarray(0, 24))).toBeUndefined();
});

it("is asked for by kind, and deleted by index or name", () => {
  expect(parts(encodeXfrmLinksQuery()).kind).toBe("xfrm");
  expect(encodeLinkIndex(3)).toEqual(hex("00000000 03000000 00000000 00000000"));
  expect(parts(encodeLinkIndex(0, "ht0")).name).toBe("ht0");
});

it("of any octets is read or refused", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 120 }), (octets) => {
      try {
        decodeXfrmLink(octets);
      } catch (error) {
        expect(error).toBeInstanceOf(MalformedError);
      }
    }),
  );
});
