import fc from "fast-check";
import { describe, expect, it, test } from "vitest";
import { parseIpv6 } from "../../../common/ip/address.ts";
import { acceptRouterSolicitation } from "../../../common/nd/accept-solicitation.ts";
import { hex } from "../../support/hex.ts";

const HOST = parseIpv6("fe80::aa:bbff:fecc:ddee");
const NOBODY = parseIpv6("::");
const BARE = "85 00 0000 00000000";
const NAMED = `${BARE} 0101 02005e005301`;

describe("a Router Solicitation is answered", () => {
  test.each([
    { name: "from a host", source: HOST, wire: BARE },
    { name: "from a host with its link-layer address", source: HOST, wire: NAMED },
    { name: "from a host without address yet", source: NOBODY, wire: BARE },
    { name: "with options that are not known", source: HOST, wire: `${BARE} fd01 000000000000` },
  ])("$name", ({ source, wire }) => {
    const received = { source, hopLimit: 255, icmp: hex(wire) };
    expect(acceptRouterSolicitation(received)).toEqual({ kind: "answer" });
  });
});

describe("a Router Solicitation is dropped", () => {
  test.each([
    { reason: "hop-limit", hopLimit: 254 },
    { reason: "code", wire: "85 01 0000 00000000" },
    { reason: "malformed", wire: "85 00 0000 0000" },
    { reason: "malformed", wire: `${BARE} 0100 000000000000` },
    { reason: "source", source: parseIpv6("ff02::1") },
    { reason: "link-layer-address", source: NOBODY, wire: NAMED },
  ])("for its $reason", ({ reason, hopLimit = 255, wire = BARE, source = HOST }) => {
    const verdict = acceptRouterSolicitation({ source, hopLimit, icmp: hex(wire) });
    expect(verdict).toEqual({ kind: "drop", reason });
  });

  it("or answered, whatever its octets are", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 64 }), (icmp) => {
        acceptRouterSolicitation({ source: HOST, hopLimit: 255, icmp });
      }),
    );
  });
});
