import fc from "fast-check";
import { describe, expect, it, test } from "vitest";
import { EVERYTHING, narrow } from "../../../common/ikev2/selectors.ts";
import { encodePayloadChain } from "../../../common/ikev2/wire/payload-chain.ts";
import { parseIpv4 } from "../../../common/ip/address.ts";
import { hex } from "../../support/hex.ts";
import { at } from "../../support/timeline.ts";
import { forgedRequest, GATEWAY, gatewayWith, HOME, Network, readWith } from "./support/network.ts";
import { charonSessions } from "./vectors/charon.ts";

const path = { local: GATEWAY, remote: HOME };
const arrive = (message: Uint8Array) =>
  ({ kind: "message", message, path, encapsulated: false, wallTime: 0 }) as const;

describe("an authentic request that is wrong", () => {
  const up = () => new Network({ homeSettings: { revealKeys: true } }).start().run(2_000);
  /** What the gateway answers to the home's next request. */
  const answerTo = (network: Network, exchange: number, first: number, plain: Uint8Array) => {
    const message = forgedRequest(network, { exchange, messageId: 2, first, plain });
    const effects = network.gateway.handle(arrive(message), network.now);
    const [answer] = effects.filter((effect) => effect.kind === "send");
    return { effects, answer: answer === undefined ? [] : readWith(network, answer.message) };
  };
  const payload = (type: number, body: string, critical = false) => ({
    type,
    critical,
    body: hex(body),
  });

  it("with an unknown payload is answered as if it were not there, RFC 7296 section 2.5", () => {
    const { answer } = answerTo(up(), 37, 200, encodePayloadChain([payload(200, "0102")]));
    expect(answer).toEqual([]);
  });

  it("with an unknown critical payload is answered with its type, and the SA stays", () => {
    const { effects, answer } = answerTo(
      up(),
      37,
      200,
      encodePayloadChain([payload(200, "01", true)]),
    );
    expect(answer).toMatchObject([{ kind: "N", type: 1, data: Uint8Array.of(200) }]);
    expect(effects).toHaveLength(1);
  });

  test.each([
    { name: "cut in a payload", exchange: 37, first: 41, plain: hex("00 00 0008 03 04") },
    { name: "of an unknown exchange", exchange: 99, first: 0, plain: hex() },
    { name: "that authenticates a second time", exchange: 35, first: 0, plain: hex() },
    { name: "for a Child SA without anything", exchange: 36, first: 0, plain: hex() },
  ])("$name is answered with INVALID_SYNTAX, and that is the end, section 2.21.3", (request) => {
    const { effects, answer } = answerTo(up(), request.exchange, request.first, request.plain);
    expect(answer).toMatchObject([{ kind: "N", type: 7 }]);
    expect(effects.at(-1)).toMatchObject({
      effect: { kind: "closed", reason: { kind: "protocol-error" } },
    });
  });

  it("that deletes what is not there is answered with nothing, section 2.25.1", () => {
    const body = "03 04 0001 c0ffee01";
    const { answer } = answerTo(up(), 37, 42, encodePayloadChain([payload(42, body)]));
    expect(answer).toEqual([]);
  });

  const child = (notify: string, first = 41) => {
    const chain = encodePayloadChain([
      payload(41, notify),
      payload(
        33,
        "00 00 0020 01 03 04 02 c0ffee01 03 00 000c 01 00 0014 800e0100 00 00 0008 05 00 0000",
      ),
      payload(40, "11".repeat(32)),
      payload(44, `01 000000 08 00 0028 0000 ffff ${"00".repeat(16)} ${"ff".repeat(16)}`),
      payload(45, `01 000000 08 00 0028 0000 ffff ${"00".repeat(16)} ${"ff".repeat(16)}`),
    ]);
    return { first, chain };
  };

  it("that rekeys what is not there is answered with CHILD_SA_NOT_FOUND, section 2.25.1", () => {
    const { first, chain } = child("03 04 4009 c0ffee01");
    const { answer } = answerTo(up(), 36, first, chain);
    expect(answer).toMatchObject([{ kind: "N", type: 44, spi: hex("c0ffee01") }]);
  });

  test.each([
    { name: "without the Link ID", notify: "00 00 4000" },
    { name: "with another's Link ID", notify: `00 00 401e ${"22".repeat(16)}` },
  ])("for a Child SA $name has no selectors that are acceptable", ({ notify }) => {
    const { first, chain } = child(notify);
    expect(answerTo(up(), 36, first, chain).answer).toMatchObject([{ kind: "N", type: 38 }]);
  });

  it("for ever more Child SAs is refused at some point", () => {
    const network = up();
    const linkId = network.assignmentOf("home");
    if (linkId?.kind !== "link") throw new Error("no link");
    const id = Buffer.from(linkId.linkId).toString("hex");
    const { first, chain } = child(`00 00 401e ${id}`);
    const kinds = Array.from({ length: 20 }, (_, index) => {
      const request = { exchange: 36, messageId: 2 + index, first, plain: chain };
      const effects = network.gateway.handle(arrive(forgedRequest(network, request)), network.now);
      const [answer] = effects.filter((effect) => effect.kind === "send");
      return answer === undefined ? "" : readWith(network, answer.message)[0]?.kind;
    });
    expect(kinds.filter((kind) => kind === "SA")).toHaveLength(7);
    expect(kinds.at(-1)).toBe("N");
  });
});

describe("a message that is not authentic", () => {
  it("changes nothing, wherever one octet of a good one is changed", () => {
    const network = new Network();
    network.start().run(2_000);
    const good = network.sent.filter(({ from }) => from === "home").at(-1)?.message ?? hex();
    const before = network.gateway.deadline;
    for (let index = 0; index < good.length; index++) {
      const changed = good.slice();
      changed[index] = (changed[index] ?? 0) ^ 0x01;
      const effects = network.gateway.handle(arrive(changed), network.now);
      expect(
        effects.filter((effect) => effect.kind === "session").map((e) => e.effect.kind),
      ).not.toContain("closed");
    }
    expect(network.gateway.deadline).toBe(before);
    expect(network.gateway.sessionCount).toBe(1);
  });

  it("is not answered when it is a repeated request of someone else", () => {
    const network = new Network().start().run(2_000);
    const good = network.sent.filter(({ from }) => from === "home").at(-1)?.message ?? hex();
    expect(network.gateway.handle(arrive(good), network.now).map(({ kind }) => kind)).toEqual([
      "send",
    ]);
    const forged = good.slice();
    forged[forged.length - 1] = (forged.at(-1) ?? 0) ^ 1;
    const kinds = network.gateway.handle(arrive(forged), network.now).map(({ kind }) => kind);
    expect(kinds).toEqual(["session"]);
  });
});

describe("any octets", () => {
  it("are taken by a gateway without harm", () => {
    const gateway = gatewayWith();
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 400 }), (message) => {
        gateway.handle(arrive(message), at(0));
      }),
    );
    expect(gateway.sessionCount).toBe(0);
  });

  it("are taken by a home and a gateway in the place of any message, and all ends well afterwards", () => {
    const recorded = charonSessions.flatMap((session) => session.messages);
    const octets = fc.oneof(fc.uint8Array({ maxLength: 100 }), fc.constantFrom(...recorded));
    fc.assert(
      fc.property(
        fc.nat(5),
        octets,
        fc.nat(),
        fc.integer({ min: 1, max: 255 }),
        (index, ...fault) => {
          const [noise, place, difference] = fault;
          const network = new Network();
          network.fault = (travelling) => {
            if (travelling.index !== index) return undefined;
            const changed = travelling.message.slice();
            const position = place % changed.length;
            changed[position] = (changed[position] ?? 0) ^ difference;
            for (const message of [noise, changed]) {
              if (travelling.from === "home") network.gateway.handle(arrive(message), network.now);
              else network.home.handle(arrive(message), network.now);
            }
            return [10];
          };
          // IKE_SA_INIT is not authentic: a forged answer may cost a whole try.
          network.start().run(200_000);
          return network.established.home >= 1;
        },
      ),
      { numRuns: 60 },
    );
  });
});

describe("a gateway", () => {
  const asks = (count: number, limits: Parameters<typeof gatewayWith>[0]) => {
    const gateway = gatewayWith(limits);
    const kinds = new Map<string, number>();
    for (let seed = 1; seed <= count; seed++) {
      const home = new Network({ seed });
      home.start();
      const request = home.sent[0]?.message ?? hex();
      for (const effect of gateway.handle(arrive(request), at(seed))) {
        const kind = effect.kind === "stranger-dropped" ? effect.reason : effect.kind;
        kinds.set(kind, (kinds.get(kind) ?? 0) + 1);
      }
    }
    return { gateway, kinds };
  };

  it("keeps no more half-open sessions than it may, and they end", () => {
    const { gateway, kinds } = asks(20, { limits: { maximumHalfOpen: 5 } });
    expect(gateway.halfOpenCount).toBe(5);
    expect(kinds.get("half-open-limit")).toBe(15);
    gateway.handleDeadline(at(31_000));
    expect(gateway.halfOpenCount).toBe(0);
    expect(gateway.sessionCount).toBe(0);
    expect(gateway.deadline).toBeUndefined();
  });

  it("keeps no more of one address than it may", () => {
    const { kinds } = asks(20, { limits: { maximumHalfOpenPerAddress: 3 } });
    expect(kinds.get("address-limit")).toBe(17);
  });

  it("asks for cookies from the threshold on, and keeps nothing of those", () => {
    const { gateway, kinds } = asks(20, { limits: { cookieThreshold: 4 } });
    expect(gateway.halfOpenCount).toBe(4);
    expect(kinds.get("cookie-sent")).toBe(16);
  });

  const SLOW = { rate: 1, burst: 3 };
  const FAST = { rate: 1_000, burst: 1_000 };

  it("asks for cookies of an address from which too much comes, not of the others", () => {
    const rates = { perAddress: SLOW, perNetwork: FAST };
    const { gateway, kinds } = asks(20, { limits: { rates } });
    expect(gateway.halfOpenCount).toBe(3);
    expect(kinds.get("cookie-sent")).toBe(17);
    const other = new Network({ seed: 50 }).start();
    const input = arrive(other.sent[0]?.message ?? hex());
    const elsewhere = { address: parseIpv4("198.51.100.9"), port: 500 };
    gateway.handle({ ...input, path: { local: GATEWAY, remote: elsewhere } }, at(21));
    expect(gateway.halfOpenCount).toBe(4);
  });

  it("asks for cookies of a network from which too much comes", () => {
    const rates = { perAddress: FAST, perNetwork: SLOW };
    const { gateway, kinds } = asks(20, { limits: { rates } });
    expect(gateway.halfOpenCount).toBe(3);
    expect(kinds.get("cookie-sent")).toBe(17);
  });

  it("does not hear for a while who shows where he is and begins too often, and counts why", () => {
    const gateway = gatewayWith({ limits: { rates: { perAddress: SLOW, perNetwork: FAST } } });
    let homes = 0;
    for (let seed = 1; seed <= 12; seed++) {
      const home = new Network({ seed, gateway });
      home.start().run(100);
      homes += home.established.home;
    }
    expect(homes).toBe(6);
    const late = new Network({ seed: 99, gateway });
    late.start().run(50);
    const withCookie = late.sent.filter(({ from }) => from === "home").at(-1)?.message ?? hex();
    expect(gateway.handle(arrive(withCookie), at(60))).toEqual([
      { kind: "stranger-dropped", reason: "address-rate" },
    ]);
    expect(late.run(20_000).established.home).toBe(1);
  });

  it("takes a cookie for two minutes at most, and from nowhere else", () => {
    const settled = (delayMs: number, from = HOME) => {
      const network = new Network({ limits: { cookieThreshold: 0 } });
      network.fault = ({ index }) => (index === 2 ? [] : undefined);
      network.start().run(100);
      const withCookie = network.sent[2]?.message ?? hex();
      const input = { ...arrive(withCookie), path: { local: GATEWAY, remote: from } };
      network.gateway.handle(input, at(network.now + delayMs));
      return network.gateway.halfOpenCount;
    };
    expect(settled(0)).toBe(1);
    expect(settled(60_000)).toBe(1);
    expect(settled(121_000)).toBe(0);
    expect(settled(0, { ...HOME, address: GATEWAY.address })).toBe(0);
  });

  it("answers strangers' SPIs 500 times a second at most", () => {
    const other = new Network({ seed: 3 }).start().run(2_000);
    const request = other.sent.filter(({ from }) => from === "home").at(-1)?.message ?? hex();
    const gateway = gatewayWith();
    const answers = (count: number, ms: number) =>
      Array.from({ length: count }, () => gateway.handle(arrive(request), at(ms))).flat().length;
    expect(answers(600, 0)).toBe(500);
    expect(answers(10, 2)).toBe(1);
    expect(answers(600, 1_002)).toBe(500);
  });
});

describe("a home that means harm, and has proven who it is", () => {
  it("has four sessions at most, the newest ones", () => {
    const gateway = gatewayWith();
    const begins = (seed: number) => {
      const network = new Network({ seed, gateway, home: { initialContact: false } });
      network.now = at(100 * seed);
      network.carriesPackets = false;
      return network.start().run(90);
    };
    const networks = Array.from({ length: 12 }, (_, index) => begins(index + 1));
    expect(networks.map(({ established }) => established.home)).toEqual(Array(12).fill(1));
    expect(gateway.sessionCount).toBe(4);
  });

  it("is not believed for longer because it moves and never answers, RFC 4478", () => {
    const network = new Network({ policy: { authLifetime: 100 } });
    network.carriesPackets = false;
    network.start().run(1_000);
    network.fault = ({ from }) => (from === "home" ? [] : undefined);
    const addresses = ["192.0.2.8", "192.0.2.9"].map(parseIpv4);
    for (let move = 0; move < 8; move++) {
      const address = addresses[move % 2] ?? HOME.address;
      network.tellGateway({ kind: "moved", path: { remote: { ...HOME, address } } });
      network.run(25_000);
    }
    expect(network.established.gateway).toBe(0);
    expect(network.gateway.sessionCount).toBe(0);
  });

  it("ends in time although a question to it is not answered yet", () => {
    const network = new Network({ policy: { authLifetime: 100 } });
    network.carriesPackets = false;
    network.start().run(90_000);
    // The home goes its own ways: it has authenticated anew, and that is not what is looked at.
    network.fault = ({ from }) => (from === "home" ? [] : undefined);
    network.run(75_000);
    network.tellGateway({ kind: "probe" });
    network.run(26_000);
    expect(network.established.gateway).toBe(0);
  });

  it("cannot have more selectors told back to it than fit a message", () => {
    const asked = Array.from({ length: 250 }, (_, protocol) => ({
      ...EVERYTHING,
      protocol: protocol + 1,
    }));
    expect(narrow(asked, [EVERYTHING])).toEqual(asked.slice(0, 64));
  });
});
