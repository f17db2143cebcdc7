import fc from "fast-check";
import { describe, expect, it, test } from "vitest";
import {
  formatInvitation,
  type Invitation,
  parseInvitation,
} from "../../../common/config/invitation.ts";
import { MalformedError } from "../../../common/errors.ts";
import { parseIpv4 } from "../../../common/ip/address.ts";

const server = parseIpv4("203.0.113.1");
/** RFC 8410 section 10.1. */
const PUBLIC_KEY = "MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=";

const both: { name: string; line: string; invitation: Invitation }[] = [
  {
    name: "with the server's public key, in the alphabet of URLs",
    line: "hometun:203.0.113.1?server=isp.example&home=alice.example&key=MCowBQYDK2VwAyEA-_9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE",
    invitation: {
      server,
      serverIdentity: "isp.example",
      identity: "alice.example",
      proof: { kind: "public-key", publicKey: PUBLIC_KEY.replace("Gb", "+/") },
    },
  },
  {
    name: "for any home",
    line: "hometun:203.0.113.1?server=isp.example&key=MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE",
    invitation: {
      server,
      serverIdentity: "isp.example",
      identity: undefined,
      proof: { kind: "public-key", publicKey: PUBLIC_KEY },
    },
  },
  {
    name: "with a shared key",
    line: "hometun:203.0.113.1?server=hostmaster@isp.example&home=alice&psk=000102030405060708090a0b0c0d0e0f",
    invitation: {
      server,
      serverIdentity: "hostmaster@isp.example",
      identity: "alice",
      proof: { kind: "shared-key", sharedKey: "000102030405060708090a0b0c0d0e0f" },
    },
  },
];

describe("an ISP's line", () => {
  test.each(both)("$name", ({ line, invitation }) => {
    expect(formatInvitation(invitation)).toBe(line);
    expect(parseInvitation(line)).toEqual(invitation);
  });

  it("may have white space around it, and parts that a later version knows", () => {
    const { line = "", invitation } = both[2] ?? {};
    expect(parseInvitation(` ${line}&later=1\r\n`)).toEqual(invitation);
  });

  test.each([
    { name: "another scheme", line: "https://203.0.113.1?server=a&key=MCow" },
    { name: "no address", line: "hometun:isp.example?server=a&psk=000102030405060708090a" },
    { name: "no server", line: "hometun:203.0.113.1?psk=000102030405060708090a0b0c0d0e0f" },
    { name: "no key", line: "hometun:203.0.113.1?server=a" },
    { name: "two keys", line: `${both[1]?.line}&psk=000102030405060708090a0b0c0d0e0f` },
    { name: "a part twice", line: `${both[1]?.line}&server=b` },
    { name: "a key that was cut", line: "hometun:203.0.113.1?server=a&key=MCowBQYDK2VwAyEA" },
    { name: "a name that could break a file", line: 'hometun:203.0.113.1?server=a"b&psk=0' },
  ])("is refused with $name", ({ line }) => {
    expect(() => parseInvitation(line)).toThrow(
      expect.objectContaining({ code: "bad-invitation" }),
    );
  });

  it("is never repeated in what is said of it: it may hold a key", () => {
    const secret = "0".repeat(15);
    const line = `hometun:203.0.113.1?server=a&psk=${secret}`;
    expect(() => parseInvitation(line)).toThrow(/^(?!.*000)/);
  });

  it("whatever it is, is read or refused", () => {
    const piece = fc.constantFrom("hometun:", "203.0.113.1", "?", "&", "=", "server", "key", "psk");
    const text = fc.array(fc.oneof(piece, fc.string())).map((pieces) => pieces.join(""));
    fc.assert(
      fc.property(text, (line) => {
        try {
          parseInvitation(line);
        } catch (error) {
          expect(error).toBeInstanceOf(MalformedError);
        }
      }),
    );
  });
});
