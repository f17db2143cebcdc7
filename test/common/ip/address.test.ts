import fc from "fast-check";
import { describe, expect, it, test } from "vitest";
import { MalformedError } from "../../../common/errors.ts";
import {
  formatIpv4,
  formatIpv6,
  formatIpv6Prefix,
  ipv4Octets,
  ipv6Octets,
  isInPrefix,
  parseIpv4,
  parseIpv6,
  parseIpv6Prefix,
} from "../../../common/ip/address.ts";
import { hex } from "../../support/hex.ts";

describe("IPv6 text", () => {
  // RFC 5952 sections 1, 2 and 4, and RFC 4291 section 2.2.
  test.each([
    ["2001:db8:0:0:1:0:0:1", "2001:db8::1:0:0:1"],
    ["2001:0db8::0001", "2001:db8::1"],
    ["2001:db8:0:1:1:1:1:1", "2001:db8:0:1:1:1:1:1"],
    ["2001:DB8::A", "2001:db8::a"],
    ["0:0:0:0:0:0:0:0", "::"],
    ["::FFFF:129.144.52.38", "::ffff:8190:3426"],
  ])("%s is written %s", (text, canonical) => {
    expect(parseIpv6(text)).toBe(canonical);
  });

  test.each([
    "",
    ":",
    ":::",
    "1::2::3",
    "1:2:3:4:5:6:7:8:9",
    "1:2:3:4:5:6:7::8",
    "g::",
    "fe80::1%eth0",
    "12345::",
  ])("%j is refused", (text) => {
    expect(() => parseIpv6(text)).toThrow(MalformedError);
  });

  // The octets are inet_pton(3)'s.
  test.each([
    ["::", "00000000000000000000000000000000"],
    ["::1", "00000000000000000000000000000001"],
    ["fe80::", "fe800000000000000000000000000000"],
    ["1::8", "00010000000000000000000000000008"],
    ["2001:db8:a:ffff:0:10ff:fe02:9abc", "20010db8000affff000010fffe029abc"],
    ["2001:db8::9:0:0:1", "20010db8000000000009000000000001"],
  ])("%s is %s", (text, octets) => {
    expect(ipv6Octets(parseIpv6(text))).toEqual(hex(octets));
  });

  it("survives any octets both ways", () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 16, maxLength: 16 }), (octets) => {
        const text = formatIpv6(octets);
        expect(parseIpv6(text)).toBe(text);
        expect(ipv6Octets(text)).toEqual(octets);
      }),
    );
  });
});

describe("IPv6 prefixes", () => {
  it("hold the addresses that share their first bits", () => {
    const prefix = parseIpv6Prefix("2001:db8:0:4000::/51");
    expect(isInPrefix(parseIpv6("2001:db8:0:5fff::1"), prefix)).toBe(true);
    expect(isInPrefix(parseIpv6("2001:db8:0:6000::1"), prefix)).toBe(false);
    expect(formatIpv6Prefix(prefix)).toBe("2001:db8:0:4000::/51");
  });

  test.each(["2001:db8::", "2001:db8::/129", "2001:db8::1/64", "2001:db8::/-1", "::/"])(
    "%j is refused",
    (text) => {
      expect(() => parseIpv6Prefix(text)).toThrow(MalformedError);
    },
  );
});

test.each(["1.2.3", "1.2.3.4.5", "01.2.3.4", "256.1.1.1", "1.2.3.4 ", ""])(
  "IPv4 %j is refused",
  (text) => {
    expect(() => parseIpv4(text)).toThrow(MalformedError);
  },
);

test("IPv4 text survives any octets both ways", () => {
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 4, maxLength: 4 }), (octets) => {
      const text = formatIpv4(octets);
      expect(parseIpv4(text)).toBe(text);
      expect(ipv4Octets(text)).toEqual(octets);
    }),
  );
});
