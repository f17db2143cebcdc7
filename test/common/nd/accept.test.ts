import fc from "fast-check";
import { describe, expect, it, test } from "vitest";
import {
  type Ipv4Address,
  parseIpv4,
  parseIpv6,
  parseIpv6Prefix,
} from "../../../common/ip/address.ts";
import { withIcmpv6Checksum } from "../../../common/ip/icmpv6.ts";
import {
  type AddressPolicy,
  type AdvertisementDropReason,
  acceptAdvertisement,
  type NeighborLink,
  PUBLIC_ONLY,
  type ReceivedNeighborMessage,
  receiveNeighborMessage,
  type Verdict,
} from "../../../common/nd/accept.ts";
import {
  encodeNeighborAdvertisement,
  type NeighborAdvertisement,
} from "../../../common/nd/neighbor-advertisement.ts";
import { ipv4LinkLayerOption } from "../../../common/nd/option.ts";
import { hex } from "../../support/hex.ts";
import vectors from "../../vectors/vectors.json" with { type: "json" };

const CLIENT = parseIpv6(vectors.client_ll);
const SERVER = parseIpv6(vectors.server_ll);
const CLIENT_GLOBAL = parseIpv6(vectors.client_global);
const SERVER_GLOBAL = parseIpv6(vectors.server_global);

/** The server's end of the vectors' tunnel; its global address lies in the home's prefix. */
const link: NeighborLink = {
  localAddresses: [SERVER, SERVER_GLOBAL],
  peerLinkLocal: CLIENT,
  remotePrefixes: [parseIpv6Prefix("2001:db8:1::/64")],
};
const policy: AddressPolicy = {
  allowed: PUBLIC_ONLY,
  ownAddresses: new Set([parseIpv4(vectors.server4)]),
};

describe("every advertisement of the outside vectors", () => {
  const moved: Verdict = { kind: "move", address: parseIpv4(vectors.client4_new) };
  const dropped = (reason: AdvertisementDropReason): Verdict => ({ kind: "drop", reason });
  const expected: Record<string, Verdict> = {
    unsolicited: moved,
    "unsolicited-allnodes": moved,
    "unsolicited-global": moved,
    "router-flag": moved,
    "reserved-bits": moved,
    "unknown-option-first": moved,
    "unknown-option-after": moved,
    "no-override": dropped("override-clear"),
    // Not an unsolicited advertisement: it moves nothing, and is what a probe waits for.
    solicited: { kind: "answer" },
    "solicited-multicast": dropped("solicited-multicast"),
    "hop-limit-254": dropped("hop-limit"),
    "hop-limit-64": dropped("hop-limit"),
    code: dropped("code"),
    checksum: dropped("checksum"),
    "target-multicast": dropped("target-multicast"),
    "target-unspecified": dropped("target"),
    "target-other": dropped("target"),
    "source-other": dropped("source"),
    "source-multicast": dropped("source"),
    "source-unspecified": dropped("source"),
    "dest-other": dropped("destination"),
    "no-option": dropped("link-layer-address-missing"),
    "source-ll-option": dropped("link-layer-address-missing"),
    "option-length-0": dropped("malformed"),
    "option-length-2": dropped("link-layer-address-form"),
    "option-truncated": dropped("malformed"),
    "option-partial": dropped("malformed"),
    "option-mbz": dropped("link-layer-address-form"),
    "option-mac": dropped("link-layer-address-form"),
    "option-twice-differ": dropped("link-layer-address-repeated"),
    "option-zero-first": dropped("malformed"),
    "v4-zero": dropped("address-not-unicast"),
    "v4-loopback": dropped("address-not-unicast"),
    "v4-multicast": dropped("address-not-unicast"),
    "v4-broadcast": dropped("address-not-unicast"),
    "v4-class-e": dropped("address-not-unicast"),
    "v4-this-net": dropped("address-not-unicast"),
    "v4-server": dropped("address-own"),
    "type-ns": dropped("type"),
    "type-ra": dropped("type"),
    "type-redirect": dropped("type"),
    short: dropped("malformed"),
    "plen-long": dropped("malformed"),
    "plen-short": dropped("malformed"),
    // Legal, and refused by our policy: our own sender makes no extension headers.
    "hop-by-hop": dropped("extension-header"),
    fragmented: dropped("fragmented"),
    "version-4": dropped("malformed"),
  };

  it("has its verdict here", () => {
    expect(vectors.na.map(({ name }) => name).sort()).toEqual(Object.keys(expected).sort());
    expect(vectors.na).toHaveLength(47);
  });

  test.each(vectors.na)("is judged as it should be: $name ($why)", ({ name, inner }) => {
    expect(judgePacket(hex(inner))).toEqual(expected[name]);
  });

  test.each(vectors.na)("moves the endpoint only where it is valid: $name", (vector) => {
    const mayMove = vector.valid && !("policy" in vector);
    expect(judgePacket(hex(vector.inner)).kind === "move").toBe(mayMove);
  });
});

describe("an advertisement", () => {
  it("may state any address of the peer as its target", () => {
    expect(judge({ target: CLIENT_GLOBAL })).toEqual({ kind: "move", address: "203.0.113.99" });
  });

  it("may not come from, nor be about, an address of ours inside the peer's prefix", () => {
    expect(judge({}, { source: SERVER_GLOBAL })).toEqual({ kind: "drop", reason: "source" });
    expect(judge({ target: SERVER_GLOBAL })).toEqual({ kind: "drop", reason: "target" });
  });

  test.each(["fe80::dead", "::", "ff02::1"])("from %s is not saved by a prefix of ::/0", (text) => {
    const open = { ...link, remotePrefixes: [parseIpv6Prefix("::/0")] };
    const received = message({}, { source: parseIpv6(text) });
    const verdict = acceptAdvertisement(received, open, policy);
    expect(verdict).toEqual({ kind: "drop", reason: "source" });
  });

  it("is refused with two equal target link-layer addresses too", () => {
    const option = ipv4LinkLayerOption(2, parseIpv4("203.0.113.99"));
    const verdict = judge({ options: [option, option] });
    expect(verdict).toEqual({ kind: "drop", reason: "link-layer-address-repeated" });
  });

  it("is refused to a multicast group other than all-nodes", () => {
    const verdict = judge({}, { destination: parseIpv6("ff02::2") });
    expect(verdict).toEqual({ kind: "drop", reason: "destination" });
  });

  it("is refused for extension headers that the socket reports", () => {
    const verdict = judge({}, { extensionHeaders: true });
    expect(verdict).toEqual({ kind: "drop", reason: "extension-header" });
  });
});

describe("an answer to a solicitation", () => {
  test.each([
    { name: "with an IPv4 address", options: [ipv4LinkLayerOption(2, parseIpv4("192.0.2.7"))] },
    { name: "with an Ethernet address", options: [{ type: 2, value: hex("02aabbccddee") }] },
    { name: "without options, as Linux sends on a tunnel", options: [] },
  ])("is an answer and moves nothing: $name", ({ options }) => {
    expect(judge({ solicited: true, options })).toEqual({ kind: "answer" });
    expect(judge({ solicited: true, override: false, options })).toEqual({ kind: "answer" });
  });

  it("must come from the peer and be about the peer", () => {
    const stranger = parseIpv6("2001:db8:bad::1");
    const fromStranger = judge({ solicited: true }, { source: stranger });
    expect(fromStranger).toEqual({ kind: "drop", reason: "source" });
    const aboutStranger = judge({ solicited: true, target: stranger });
    expect(aboutStranger).toEqual({ kind: "drop", reason: "target" });
  });
});

describe("the address policy", () => {
  const everything: AddressPolicy = {
    allowed: new Set(["public", "private", "shared", "link-local"]),
    ownAddresses: new Set([parseIpv4("10.0.0.1")]),
  };

  test.each(["10.1.2.3", "172.16.0.9", "192.168.1.2", "100.64.0.5", "169.254.7.7"])(
    "keeps homes from %s unless it is told otherwise",
    (text) => {
      const address = parseIpv4(text);
      expect(judgeAddress(address)).toEqual({ kind: "drop", reason: "address-not-allowed" });
      expect(judgeAddress(address, everything)).toEqual({ kind: "move", address });
    },
  );

  test.each(["0.0.0.0", "0.1.2.3", "127.0.0.1", "224.0.0.1", "240.0.0.1", "255.255.255.255"])(
    "cannot allow %s",
    (text) => {
      const verdict = judgeAddress(parseIpv4(text), everything);
      expect(verdict).toEqual({ kind: "drop", reason: "address-not-unicast" });
    },
  );

  it("cannot allow an address of ours", () => {
    const verdict = judgeAddress(parseIpv4("10.0.0.1"), everything);
    expect(verdict).toEqual({ kind: "drop", reason: "address-own" });
  });
});

describe("any octets", () => {
  const good = vectors.na[0]?.inner ?? "";

  it("as a packet give a verdict, and never a move", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 120 }), (octets) => {
        expect(judgePacket(octets).kind).toBe("drop");
      }),
    );
  });

  it("as an ICMPv6 message with a right checksum give a verdict", () => {
    fc.assert(
      fc.property(
        fc.uint8Array({ minLength: 4, maxLength: 64 }),
        fc.boolean(),
        (octets, asType) => {
          if (asType) octets.set([136, 0], 0);
          const icmp = withIcmpv6Checksum(CLIENT, SERVER, octets);
          const verdict = acceptAdvertisement(message({}, { icmp }), link, policy);
          expect(["move", "answer", "drop"]).toContain(verdict.kind);
        },
      ),
    );
  });

  it("of a good packet with any one bit changed never move", () => {
    // But for traffic class and flow label, which mean nothing here: 4 version bits, then octet 4 on.
    for (let bit = 0; bit < good.length * 4; bit++) {
      if (bit >= 4 && bit < 32) continue;
      const packet = hex(good);
      packet[bit >> 3] = (packet[bit >> 3] ?? 0) ^ (0x80 >> (bit & 7));
      expect(judgePacket(packet).kind, `bit ${bit}`).toBe("drop");
    }
  });

  it("of a good packet cut anywhere never move", () => {
    for (let length = 0; length < good.length / 2; length++) {
      expect(judgePacket(hex(good).subarray(0, length))).toEqual({
        kind: "drop",
        reason: "malformed",
      });
    }
  });

  it("that carry no ICMPv6 are dropped for it", () => {
    const packet = hex(good);
    packet[6] = 17;
    expect(receiveNeighborMessage(packet)).toEqual({ kind: "drop", reason: "protocol" });
  });
});

function judgePacket(packet: Uint8Array): Verdict {
  const received = receiveNeighborMessage(packet);
  if (received.kind === "drop") return received;
  return acceptAdvertisement(received.message, link, policy);
}

/** A good message from the home to the server, but for what is given. */
function message(
  advertisement: Partial<NeighborAdvertisement>,
  header: Partial<ReceivedNeighborMessage> = {},
): ReceivedNeighborMessage {
  const icmp = encodeNeighborAdvertisement({
    router: false,
    solicited: false,
    override: true,
    target: CLIENT,
    options: [ipv4LinkLayerOption(2, parseIpv4("203.0.113.99"))],
    ...advertisement,
  });
  const { source = CLIENT, destination = SERVER } = header;
  return {
    source,
    destination,
    hopLimit: 255,
    extensionHeaders: false,
    icmp: withIcmpv6Checksum(source, destination, icmp),
    ...header,
  };
}

function judge(
  advertisement: Partial<NeighborAdvertisement>,
  header: Partial<ReceivedNeighborMessage> = {},
): Verdict {
  return acceptAdvertisement(message(advertisement, header), link, policy);
}

function judgeAddress(address: Ipv4Address, chosen: AddressPolicy = policy): Verdict {
  const received = message({ options: [ipv4LinkLayerOption(2, address)] });
  return acceptAdvertisement(received, link, chosen);
}
