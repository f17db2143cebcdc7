import { createPublicKey, X509Certificate } from "node:crypto";
import { describe, expect, it, test } from "vitest";
import type { Group, IkeEncryption, Prf } from "../../../common/ikev2/algorithms.ts";
import { identificationOf } from "../../../common/ikev2/identity.ts";
import { linkLocalAddress } from "../../../common/ikev2/link.ts";
import {
  addressSelector,
  EVERYTHING,
  MULTICAST,
  prefixSelector,
} from "../../../common/ikev2/selectors.ts";
import { findNotify } from "../../../common/ikev2/wire/message.ts";
import { parseIpv4, parseIpv6Prefix } from "../../../common/ip/address.ts";
import {
  CHILD_SUITE,
  exchangeOf,
  GATEWAY_INTERFACE_ID,
  gatewayWith,
  HOME_INTERFACE_ID,
  IKE_SUITE,
  LINK_OFFER,
  Network,
  privateKey,
  readWith,
} from "./support/network.ts";
import { pki } from "./vectors/pki.ts";

/** Both ends have one Child SA, the same one, and no packet was lost. */
function expectOneTunnel(network: Network): void {
  expect(network.established).toEqual({ home: 1, gateway: 1 });
  const [home, gateway] = [network.childOf("home"), network.childOf("gateway")];
  expect(home.outbound).toEqual(gateway.inbound);
  expect(home.inbound).toEqual(gateway.outbound);
  expect(home.localSelectors).toEqual(gateway.remoteSelectors);
  expect(network.lost).toEqual([]);
}

const up = (options: ConstructorParameters<typeof Network>[0] = {}) =>
  new Network(options).start().run(2_000);

describe("a home and a gateway", () => {
  it("have a Child SA after four messages", () => {
    const network = up();
    expectOneTunnel(network);
    expect(network.sent.map(({ message }) => exchangeOf(message))).toEqual([
      "IKE_SA_INIT request",
      "IKE_SA_INIT response",
      "IKE_AUTH request",
      "IKE_AUTH response",
    ]);
  });

  const suites: { encryption: IkeEncryption; prf: Prf; group: Group }[] = [
    { encryption: "aes-gcm-128", prf: "hmac-sha2-256", group: "ecp-256" },
    { encryption: "aes-gcm-256", prf: "hmac-sha2-384", group: "x25519" },
    { encryption: "aes-cbc-256-hmac-sha2-256-128", prf: "hmac-sha2-256", group: "modp-2048" },
  ];
  test.each(suites)("agree with $encryption, $prf, $group", (suite) => {
    const settings = {
      ikeSuites: [suite],
      childSuites: [{ ...CHILD_SUITE, suite: suite.encryption }],
    };
    const network = up({ homeSettings: settings, gatewaySettings: settings });
    expectOneTunnel(network);
    expect(network.childOf("home").inbound.suite).toBe(suite.encryption);
  });

  it("find the group they share, at the price of a round trip", () => {
    const other = { ...IKE_SUITE, group: "ecp-256" } as const;
    const network = up({
      homeSettings: { ikeSuites: [IKE_SUITE, other] },
      gatewaySettings: { ikeSuites: [other] },
    });
    expectOneTunnel(network);
    expect(network.sent).toHaveLength(6);
  });

  it("have nothing when they share no suite, and the home is told so", () => {
    const other = { ...IKE_SUITE, encryption: "aes-gcm-128" } as const;
    const network = up({ gatewaySettings: { ikeSuites: [other] } });
    expect(network.seen.home).toContainEqual({ kind: "hint", notifyType: 14 });
    expect(network.established).toEqual({ home: 0, gateway: 0 });
  });

  it("prefer extended sequence numbers, and do without when the gateway cannot", () => {
    expect(up().childOf("home").inbound.extendedSequenceNumbers).toBe(true);
    const plain = { childSuites: [{ ...CHILD_SUITE, extendedSequenceNumbers: [false] }] };
    const network = up({ gatewaySettings: plain });
    expectOneTunnel(network);
    expect(network.childOf("home").inbound.extendedSequenceNumbers).toBe(false);
  });

  it("send a cookie back and forth under load", () => {
    const network = up({ limits: { cookieThreshold: 0 } });
    expectOneTunnel(network);
    expect(network.sent).toHaveLength(6);
  });

  it("cut great messages into fragments", () => {
    const settings = { fragmentLimit: 300 };
    const network = up({ homeSettings: settings, gatewaySettings: settings });
    expectOneTunnel(network);
    expect(network.sent.length).toBeGreaterThan(5);
    const sealed = network.sent.slice(2).map(({ message }) => message.length);
    expect(Math.max(...sealed)).toBeLessThanOrEqual(300);
  });

  const authentications = [
    {
      name: "Ed25519 keys",
      home: privateKey(pki.ed25519Key),
      gateway: privateKey(pki.ecdsaKey),
    },
    { name: "ECDSA keys", home: privateKey(pki.ecdsaKey), gateway: privateKey(pki.ed25519Key) },
  ];
  test.each(authentications)("believe $name", ({ home, gateway }) => {
    const known = (credential: typeof home) =>
      ({
        kind: "public-keys",
        publicKeys: [createPublicKey(credential.privateKey)],
      }) as const;
    expectOneTunnel(
      up({
        home: { credential: home, trust: known(gateway) },
        policy: { credential: gateway, trust: known(home) },
      }),
    );
  });

  it("believe certificates, which need fragments", () => {
    const authority = {
      kind: "authorities",
      authorities: [new X509Certificate(pki.authority)],
    } as const;
    const certificates = [pki.home1OfIntermediate, pki.intermediate].map(
      (pem) => new Uint8Array(new X509Certificate(pem).raw),
    );
    const credential = { ...privateKey(pki.ecdsaKey), certificates };
    const network = up({
      home: { credential, identity: identificationOf("home1.example") },
      homeSettings: { fragmentLimit: 800 },
      policy: { trust: authority },
    });
    expectOneTunnel(network);
    expect(network.sent.length).toBeGreaterThan(4);
  });

  it("do not agree on another shared key", () => {
    const other = { kind: "shared-key", key: new TextEncoder().encode("another") } as const;
    const network = up({ policy: { trust: other } });
    expect(network.established).toEqual({ home: 0, gateway: 0 });
    expect(network.seen.gateway).toContainEqual({
      kind: "closed",
      reason: { kind: "not-authentic", why: "wrong-shared-key" },
    });
    expect(network.seen.home).toContainEqual({
      kind: "closed",
      reason: { kind: "refused", notifyType: 24 },
    });
  });

  it("are not taken in by another gateway with the right name", () => {
    const other = { kind: "shared-key", key: new TextEncoder().encode("another") } as const;
    const network = up({ policy: { credential: other } });
    expect(network.established.home).toBe(0);
    expect(network.seen.home).toContainEqual({
      kind: "closed",
      reason: { kind: "not-authentic", why: "wrong-shared-key" },
    });
  });
});

describe("the link of RFC 5739", () => {
  it("has both interface identifiers, the prefixes and the name servers, at both ends", () => {
    const network = up();
    const [home, gateway] = [network.assignmentOf("home"), network.assignmentOf("gateway")];
    expect(home).toMatchObject({
      kind: "link",
      localInterfaceId: HOME_INTERFACE_ID,
      peerInterfaceId: GATEWAY_INTERFACE_ID,
      prefixes: LINK_OFFER.prefixes,
      dns: LINK_OFFER.dns,
    });
    expect(gateway).toMatchObject({
      kind: "link",
      localInterfaceId: GATEWAY_INTERFACE_ID,
      peerInterfaceId: HOME_INTERFACE_ID,
      prefixes: LINK_OFFER.prefixes,
    });
    if (home?.kind !== "link" || gateway?.kind !== "link") throw new Error("no link");
    expect(home.linkId).toEqual(gateway.linkId);
    expect(home.linkId).toHaveLength(16);
  });

  it("narrows the home to its link-local address and its prefixes, section 4.1", () => {
    const child = up().childOf("home");
    expect(child.localSelectors).toEqual([
      addressSelector(linkLocalAddress(HOME_INTERFACE_ID)),
      ...LINK_OFFER.prefixes.map(prefixSelector),
    ]);
    expect(child.remoteSelectors).toEqual([EVERYTHING]);
  });

  test.each([
    { name: "the gateway's own", link: { interfaceId: GATEWAY_INTERFACE_ID, fallback: false } },
    { name: "zero", link: { interfaceId: new Uint8Array(8), fallback: false } },
  ])(
    "is refused to an interface identifier that is $name; the home says goodbye and comes again",
    ({ link }) => {
      const network = up({ home: { link } });
      expect(network.seen.home).toContainEqual({
        kind: "child-refused",
        notifyType: 36,
        rekeyed: undefined,
      });
      expect(network.kinds("gateway").slice(0, 2)).toEqual(["established", "closed"]);
    },
  );

  it("is refused to an interface identifier that is not the one agreed upon", () => {
    const peerInterfaceId = Uint8Array.of(0, 0, 0, 0, 0, 0, 0, 9);
    const network = up({ policy: { link: { ...LINK_OFFER, peerInterfaceId } } });
    expect(network.kinds("home")).toContain("child-refused");
  });

  it("stays the same when the home authenticates again, and no packet is lost, section 4.2", () => {
    const network = up();
    const before = network.assignmentOf("home");
    const [spi] = network.children.home.keys();
    network.tell({ kind: "reauthenticate" });
    network.run(5_000);
    expectOneTunnel(network);
    expect(network.childOf("home").inbound.spi).not.toBe(spi);
    expect(network.assignmentOf("home")).toEqual(before);
    expect(network.gateway.sessionCount).toBe(1);
  });

  it("changes its prefixes when the gateway asks the home to authenticate again", () => {
    const network = up();
    network.tellGateway({ kind: "ask-reauthentication", seconds: 5 });
    network.run(10_000);
    expectOneTunnel(network);
    expect(network.kinds("home")).toContain("reauthenticate");
    expect(network.kinds("home").filter((kind) => kind === "established")).toHaveLength(2);
  });

  it("is ended by the gateway half a minute after it was to authenticate again and did not", () => {
    const network = up();
    network.fault = ({ message }) =>
      exchangeOf(message) === "IKE_SA_INIT request" ? [] : undefined;
    network.tellGateway({ kind: "ask-reauthentication", seconds: 5 });
    network.run(34_000);
    expect(network.children.gateway.size).toBe(1);
    network.run(10_000);
    expect(network.children.gateway.size).toBe(0);
  });
});

describe("an SA for multicast, the seed's section 6.4", () => {
  const ASKED = {
    kind: "create-child",
    localSelectors: [MULTICAST],
    remoteSelectors: [EVERYTHING],
  } as const;
  const asking = (multicast: boolean) => {
    const network = up({ policy: { multicast } });
    network.tell(ASKED);
    return network.run(1_000);
  };

  it("is a second one, for what goes to ff00::/8 of the home, if the gateway's policy has it", () => {
    const network = asking(true);
    expect(network.established).toEqual({ home: 2, gateway: 2 });
    const selectors = [...network.children.home.values()].map((child) => child.localSelectors);
    expect(selectors.at(-1)).toEqual([MULTICAST]);
    expect(selectors.at(0)).not.toContainEqual(MULTICAST);
  });

  it("is refused without such a policy, and the first SA stays", () => {
    const network = asking(false);
    expect(network.seen.home).toContainEqual({
      kind: "child-refused",
      notifyType: 38, // TS_UNACCEPTABLE
      rekeyed: undefined,
    });
    expect(network.established).toEqual({ home: 1, gateway: 1 });
  });

  it("is asked for by a home that wants one, and anew before an older IKE SA is deleted", () => {
    const network = up({ home: { multicast: true }, policy: { multicast: true } });
    network.run(1_000);
    expect(network.established).toEqual({ home: 2, gateway: 2 });
    const before = network.sent.length;
    network.tell({ kind: "reauthenticate" });
    network.run(5_000);
    const requests = network.sent.slice(before).map(({ message }) => exchangeOf(message));
    const [asked, deleted] = ["CREATE_CHILD_SA request", "INFORMATIONAL request"].map((exchange) =>
      requests.indexOf(exchange),
    );
    expect(asked).toBeGreaterThan(0);
    expect(deleted).toBeGreaterThan(asked ?? 0);
    for (const end of ["home", "gateway"] as const) expect(network.children[end].size).toBe(2);
  });

  it("is not used to reach other homes' addresses", () => {
    const network = up({ policy: { multicast: true } });
    const neighbor = prefixSelector(parseIpv6Prefix("2001:db8:ffff::/48"));
    network.tell({ ...ASKED, localSelectors: [MULTICAST, neighbor] });
    network.run(1_000);
    const [, second] = [...network.children.gateway.values()];
    expect(second?.remoteSelectors).toEqual([MULTICAST]);
  });
});

describe("age", () => {
  const MINUTE = 60_000;

  it("is no reason to say anything, unless it is asked for", () => {
    const network = up({
      homeSettings: { ikeLifetimeMs: 0 },
      gatewaySettings: { ikeLifetimeMs: 0 },
    });
    network.run(30 * 24 * 60 * MINUTE);
    expect(network.sent).toHaveLength(4);
  });

  const ends = [
    { whose: "the home's", options: { home: { childLifetimeMs: 10 * MINUTE } } },
    { whose: "the gateway's", options: { policy: { childLifetimeMs: 10 * MINUTE } } },
    {
      whose: "both ends'",
      options: {
        home: { childLifetimeMs: 10 * MINUTE },
        policy: { childLifetimeMs: 10 * MINUTE },
      },
    },
  ];
  test.each(ends)("renews ESP keys by $whose wish, and no packet is lost", ({ options }) => {
    const network = up(options);
    const first = network.childOf("home").inbound.spi;
    network.run(8.9 * MINUTE);
    expect(network.childOf("home").inbound.spi).toBe(first);
    network.run(1.2 * MINUTE);
    const second = network.childOf("home").inbound.spi;
    expect(second).not.toBe(first);
    expectOneTunnel(network);
    network.run(10.2 * MINUTE);
    expect(network.childOf("home").inbound.spi).not.toBe(second);
    expectOneTunnel(network);
  });

  it("has the home authenticate again by itself, on the same link", () => {
    const network = up({ home: { reauthenticateMs: 10 * MINUTE } });
    const before = network.assignmentOf("home");
    network.run(9 * MINUTE);
    expect(network.kinds("home").filter((kind) => kind === "established")).toHaveLength(1);
    network.run(20 * MINUTE);
    expect(network.kinds("home").filter((kind) => kind === "established")).toHaveLength(3);
    expect(network.assignmentOf("home")).toEqual(before);
    expectOneTunnel(network);
  });

  it("has it authenticate again in time when the gateway says for how long it believes, RFC 4478", () => {
    const network = up({ policy: { authLifetime: 600 } });
    network.run(45 * MINUTE);
    expect(network.kinds("home").filter((kind) => kind === "established").length).toBeGreaterThan(
      4,
    );
    expect(network.gateway.sessionCount).toBe(1);
    expectOneTunnel(network);
  });

  it("ends the belief of the gateway when the home does not, RFC 4478", () => {
    const network = up({ policy: { authLifetime: 600 } });
    network.fault = () => [];
    network.run(9.9 * MINUTE);
    expect(network.gateway.sessionCount).toBe(1);
    network.run(2 * MINUTE);
    expect(network.gateway.sessionCount).toBe(0);
    expect(network.kinds("gateway")).toContain("child-deleted");
  });
});

describe("messages on a bad network", () => {
  const messagesOf = (options: ConstructorParameters<typeof Network>[0]) => up(options).sent.length;
  const settings = { fragmentLimit: 300 };
  const cases = [
    { name: "plain", options: {} },
    { name: "cookie", options: { limits: { cookieThreshold: 0 } } },
    { name: "fragments", options: { homeSettings: settings, gatewaySettings: settings } },
  ].flatMap(({ name, options }) =>
    Array.from({ length: messagesOf(options) }, (_, index) => ({ name, options, index })),
  );

  test.each(cases)("may be lost: $index of $name", ({ options, index }) => {
    const network = new Network(options);
    network.fault = (travelling) => (travelling.index === index ? [] : undefined);
    expectOneTunnel(network.start().run(10_000));
  });

  test.each(cases)("may come twice: $index of $name", ({ options, index }) => {
    const network = new Network(options);
    network.fault = (travelling) => (travelling.index === index ? [10, 25] : undefined);
    expectOneTunnel(network.start().run(10_000));
  });

  test.each(cases)("may come late: $index of $name", ({ options, index }) => {
    const network = new Network(options);
    network.fault = (travelling) => (travelling.index === index ? [10, 3_000] : undefined);
    expectOneTunnel(network.start().run(10_000));
  });

  test.each(Array.from({ length: 40 }, (_, seed) => seed))("of any luck end well: %i", (seed) => {
    const network = new Network({ seed: seed + 1, homeSettings: settings });
    let luck = seed;
    const next = () => {
      luck = (Math.imul(luck, 1_103_515_245) + 12_345) & 0x7fffffff;
      return (luck >> 8) % 100;
    };
    network.fault = () => {
      if (next() < 30) return [];
      return next() < 30 ? [next(), 5 * next()] : [3 * next()];
    };
    network.start().run(60_000);
    network.fault = () => undefined;
    network.run(180_000);
    expect(network.established).toEqual({ home: 1, gateway: 1 });
  });

  it("that are never answered are repeated for a while; then it begins anew, for ever", () => {
    const network = new Network();
    network.fault = () => [];
    network.start().run(3_600_000);
    expect(network.seen.home).toContainEqual({ kind: "closed", reason: { kind: "timeout" } });
    const before = network.sent.length;
    network.fault = () => undefined;
    network.run(120_000);
    expectOneTunnel(network);
    // About one try a minute and eight messages a try.
    expect(before).toBeLessThan(500);
  });
});

describe("an address change", () => {
  it("of the home is followed by the gateway", () => {
    const network = up();
    network.homeAddress = { address: parseIpv4("198.51.100.7"), port: 500 };
    network.tell({ kind: "moved", path: { local: network.homeAddress } });
    network.run(1_000);
    expect(network.seen.gateway).toContainEqual({
      kind: "peer-moved",
      path: expect.objectContaining({ remote: network.homeAddress }),
    });
    network.tellGateway({ kind: "rekey-ike" });
    network.run(1_000);
    expect(network.kinds("home")).toContain("ike-rekeyed");
    expectOneTunnel(network);
  });

  test.each([0, 5, 15, 25, 35])(
    "during the first exchanges, after %i ms, does no harm",
    (afterMs) => {
      const network = new Network().start().run(afterMs);
      network.homeAddress = { address: parseIpv4("198.51.100.7"), port: 500 };
      network.tell({ kind: "moved", path: { local: network.homeAddress } });
      expectOneTunnel(network.run(20_000));
    },
  );
});

describe("a NAT on the path", () => {
  const nat = { address: parseIpv4("203.0.113.9") };

  it("is found, and both go to port 4500", () => {
    const network = new Network();
    network.translate = ({ port }) => ({ ...nat, port: port + 10_000 });
    network.start().run(2_000);
    expectOneTunnel(network);
    expect(network.childOf("home").encapsulation).toBe("udp");
    expect(network.childOf("gateway").encapsulation).toBe("udp");
    expect(network.sent[2]).toMatchObject({ encapsulated: true, to: { port: 4500 } });
  });

  it("is reminded of the home by the home, and by nobody where there is none", () => {
    const settings = { keepaliveMs: 20_000 };
    const network = new Network({ homeSettings: settings, gatewaySettings: settings });
    network.translate = ({ port }) => ({ ...nat, port: port + 10_000 });
    network.start().run(110_000);
    expect(network.keepalives).toBe(5);
    expect(up({ homeSettings: settings }).run(110_000).keepalives).toBe(0);
  });

  it("may be pretended, for paths that do not carry protocol 50", () => {
    const network = up({ homeSettings: { forceEncapsulation: true } });
    expectOneTunnel(network);
    expect(network.childOf("gateway").encapsulation).toBe("udp");
  });

  it("is not found where there is none", () => {
    expect(up().childOf("gateway").encapsulation).toBe("esp");
  });
});

describe("a rekey", () => {
  const group = "x25519" as const;
  const secret = { childSuites: [{ ...CHILD_SUITE, group }] };
  const kinds = [
    { name: "of the Child SA", what: "child", settings: {} },
    { name: "of the Child SA with its own key agreement", what: "child", settings: secret },
    { name: "of the IKE SA", what: "ike", settings: {} },
  ] as const;
  const ends = ["home", "gateway"] as const;
  const cases = kinds.flatMap((kind) => ends.map((end) => ({ ...kind, end })));

  const begin = (network: Network, what: "child" | "ike", end: "home" | "gateway") => {
    const spi = network.childOf(end).inbound.spi;
    const input =
      what === "ike" ? ({ kind: "rekey-ike" } as const) : ({ kind: "rekey-child", spi } as const);
    if (end === "home") network.tell(input);
    else network.tellGateway(input);
  };

  /** It is another Child SA, or the same Child SA and another IKE SA. */
  const expectRekeyed = (network: Network, what: "child" | "ike", before: number) => {
    expectOneTunnel(network);
    const after = network.childOf("home").inbound.spi;
    if (what === "child") expect(after).not.toBe(before);
    else expect(after).toBe(before);
    // The tunnel is not at the mercy of what was left behind: both ends can still ask.
    network.tell({ kind: "probe" });
    network.tellGateway({ kind: "probe" });
    network.run(3_600_000);
    expectOneTunnel(network);
    expect(network.kinds("home")).not.toContain("closed");
  };

  test.each(cases)("$name by the $end loses no packet", ({ what, end, settings }) => {
    const network = up({ homeSettings: settings, gatewaySettings: settings });
    const before = network.childOf("home").inbound.spi;
    begin(network, what, end);
    network.run(1_000);
    if (what === "ike") expect(network.kinds("home")).toContain("ike-rekeyed");
    expectRekeyed(network, what, before);
  });

  test.each(cases.flatMap((one) => [0, 1, 2, 3].map((index) => ({ ...one, index }))))(
    "$name by the $end survives the loss of message $index",
    ({ what, end, settings, index }) => {
      const network = up({ homeSettings: settings, gatewaySettings: settings });
      const before = network.childOf("home").inbound.spi;
      const first = network.sent.length;
      network.fault = (travelling) => (travelling.index === first + index ? [] : undefined);
      begin(network, what, end);
      expectRekeyed(network.run(5_000), what, before);
    },
  );

  // When the second end begins, in steps of half a message's way.
  const offsets = [0, 5, 10, 15, 25, 35];
  const losses = [undefined, 0, 1, 2, 3, 4, 5];
  const collisions = (["child", "ike"] as const).flatMap((what) =>
    offsets.flatMap((afterMs) => losses.map((lost) => ({ what, afterMs, lost }))),
  );
  test.each(collisions)(
    "of the $what by both ends, the second $afterMs ms later, message $lost lost, leaves one",
    ({ what, afterMs, lost }) => {
      for (const [first, second] of [ends, [...ends].reverse()] as const) {
        for (const seed of [1, 2]) {
          const network = up({ seed });
          const before = network.childOf("home").inbound.spi;
          const sent = network.sent.length;
          if (lost !== undefined) {
            network.fault = ({ index }) => (index === sent + lost ? [] : undefined);
          }
          const spis = {
            home: network.childOf("home").inbound.spi,
            gateway: network.childOf("gateway").inbound.spi,
          };
          const ask = (end: "home" | "gateway" | undefined) => {
            if (end === undefined) return;
            const input =
              what === "ike"
                ? ({ kind: "rekey-ike" } as const)
                : ({ kind: "rekey-child", spi: spis[end] } as const);
            if (end === "home") network.tell(input);
            else network.tellGateway(input);
          };
          ask(first);
          network.run(afterMs);
          ask(second);
          network.run(120_000);
          expectRekeyed(network, what, before);
        }
      }
    },
  );

  it("of the Child SA and of the IKE SA at once leaves one of each", () => {
    for (const afterMs of offsets) {
      const network = up();
      const before = network.childOf("home").inbound.spi;
      network.tell({ kind: "rekey-ike" });
      network.run(afterMs);
      network.tellGateway({ kind: "rekey-child", spi: network.childOf("gateway").inbound.spi });
      network.run(120_000);
      expectRekeyed(network, "child", before);
      expect(network.kinds("home")).toContain("ike-rekeyed");
    }
  });

  it("many times over loses no packet", () => {
    const network = up();
    for (let round = 0; round < 20; round++) {
      begin(network, round % 3 === 0 ? "ike" : "child", round % 2 === 0 ? "home" : "gateway");
      network.run(500);
      expectOneTunnel(network);
    }
  });

  it("carries the Link ID in every request for the link, in no answer and for no IKE SA, RFC 5739 section 4.3", () => {
    const network = up({ homeSettings: { revealKeys: true } });
    const assignment = network.assignmentOf("home");
    if (assignment?.kind !== "link") throw new Error("no link");
    const first = network.sent.length;
    begin(network, "child", "home");
    network.run(1_000);
    begin(network, "child", "gateway");
    network.run(1_000);
    begin(network, "ike", "home");
    network.run(1_000);
    const linkIds = network.sent
      .slice(first)
      .filter(({ message }) => exchangeOf(message).startsWith("CREATE_CHILD_SA"))
      .map(({ message }) => findNotify(readWith(network, message), 16414)?.data);
    const { linkId } = assignment;
    expect(linkIds).toEqual([linkId, undefined, linkId, undefined, undefined, undefined]);
  });
});

describe("silence", () => {
  it("is not broken by either end, if nobody wants it to be", () => {
    const network = up();
    const sent = network.sent.length;
    network.run(7 * 24 * 3_600_000);
    expect(network.sent).toHaveLength(sent);
    expectOneTunnel(network);
  });

  it("makes an end ask whether the other lives, as often as it is told to", () => {
    const network = up({ gatewaySettings: { probeIntervalMs: 60_000 } });
    const sent = network.sent.length;
    network.run(600_000);
    expect(network.sent.length - sent).toBe(2 * 10);
  });

  it("of a dead peer ends the session", () => {
    const network = up({ gatewaySettings: { probeIntervalMs: 60_000 } });
    network.fault = () => [];
    network.run(180_000);
    expect(network.seen.gateway).toContainEqual({ kind: "closed", reason: { kind: "timeout" } });
    expect(network.gateway.sessionCount).toBe(0);
  });
});

describe("an end", () => {
  it("by the home is told to the gateway", () => {
    const network = up();
    network.tell({ kind: "close" });
    network.run(1_000);
    expect(network.seen.home).toContainEqual({ kind: "closed", reason: { kind: "asked" } });
    expect(network.seen.gateway).toContainEqual({ kind: "closed", reason: { kind: "by-peer" } });
    expect(network.established).toEqual({ home: 0, gateway: 0 });
    expect(network.home.deadline).toBeUndefined();
    expect(network.gateway.deadline).toBeUndefined();
  });

  it("by the gateway makes the home begin anew", () => {
    const network = up();
    network.tellGateway({ kind: "close" });
    network.run(500);
    expect(network.seen.home).toContainEqual({ kind: "closed", reason: { kind: "by-peer" } });
    network.carriesPackets = false;
    network.run(5_000);
    expect(network.established).toEqual({ home: 1, gateway: 1 });
  });

  it("of the gateway's process is noticed when the home asks, and mended in a second", () => {
    const network = up();
    network.carriesPackets = false;
    network.gateway = gatewayWith({ seed: 5 });
    network.tell({ kind: "probe" });
    network.run(1_000);
    expect(network.seen.home).toContainEqual({ kind: "hint", notifyType: 4 });
    const fresh = [...network.children.gateway.keys()].at(-1);
    expect([...network.children.home.values()].at(-1)?.outbound.spi).toBe(fresh);
  });

  it("of the home's process is noticed by INITIAL_CONTACT, and leaves one session", () => {
    const network = up();
    const again = new Network({ seed: 9, gateway: network.gateway }).start().run(2_000);
    expect(again.gateway.sessionCount).toBe(1);
    expect(again.seen.gateway).toContainEqual({ kind: "closed", reason: { kind: "abandoned" } });
  });
});
