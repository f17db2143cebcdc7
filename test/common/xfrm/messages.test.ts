import fc from "fast-check";
import { describe, expect, it, test } from "vitest";
import { MalformedError } from "../../../common/errors.ts";
import {
  parseIpv4,
  parseIpv6,
  parseIpv6Prefix,
  UNSPECIFIED_IPV6,
} from "../../../common/ip/address.ts";
import { decodeAttributes } from "../../../common/rtnetlink/attribute.ts";
import { algorithmsOf, sameAlgorithms } from "../../../common/xfrm/algorithm.ts";
import {
  decodeAsyncEvent,
  decodeExpiry,
  decodeMapping,
} from "../../../common/xfrm/event-message.ts";
import {
  decodePolicy,
  encodeMigrate,
  encodePolicy,
  encodePolicyId,
  type XfrmPolicy,
} from "../../../common/xfrm/policy-message.ts";
import {
  decodeReplayState,
  encodeReplayState,
  freshReplayState,
} from "../../../common/xfrm/replay-state.ts";
import { ipv6Selector } from "../../../common/xfrm/selector.ts";
import {
  decodeState,
  encodeState,
  encodeStateId,
  type XfrmState,
} from "../../../common/xfrm/state-message.ts";
import { hex } from "../../support/hex.ts";
import * as captured from "./captured.ts";

const home = parseIpv4("192.0.2.7");
const server = parseIpv4("198.51.100.1");
const octets = (value: number, count: number) => new Uint8Array(count).fill(value);

const gcmState: XfrmState = {
  source: home,
  destination: server,
  spi: 0x1001,
  protocol: 50,
  requestId: 17,
  mode: 1,
  flags: 128,
  selector: ipv6Selector(),
  interfaceId: 0x11,
  algorithms: { aead: { name: "rfc4106(gcm(aes))", key: octets(0xa1, 20), icvBits: 128 } },
  replay: freshReplayState({ sent: 0, received: 0, window: 128 }),
  lifetime: {},
};
const cbcState: XfrmState = {
  source: parseIpv4("0.0.0.0"),
  destination: server,
  spi: 0x1002,
  protocol: 50,
  requestId: 18,
  mode: 1,
  flags: 4,
  selector: ipv6Selector(),
  interfaceId: 0x12,
  algorithms: {
    encryption: { name: "cbc(aes)", key: octets(0xe2, 32) },
    authentication: { name: "hmac(sha256)", key: octets(0xf3, 32), icvBits: 128 },
  },
  replay: freshReplayState({ sent: 0, received: 0, window: 64 }),
  encapsulation: { type: 2, sourcePort: 4500, destinationPort: 4500 },
  lifetime: { softPackets: 8, hardPackets: 11 },
};
const policy: XfrmPolicy = {
  selector: ipv6Selector(),
  direction: "out",
  interfaceId: 0x11,
  action: "allow",
  priority: 30,
  templates: [{ source: home, destination: server, protocol: 50, requestId: 17, mode: 1 }],
};
const blockPolicy: XfrmPolicy = {
  selector: ipv6Selector(parseIpv6Prefix("2001:db8:a::/48"), undefined, 58),
  direction: "forward",
  interfaceId: 0x11,
  action: "block",
  priority: 20,
  templates: [],
};

/**
 * The structure, and the attributes whatever their order. iproute2 leaves out a bitmap of zeros and leaves rubbish
 * in the padding of a `struct xfrm_encap_tmpl`.
 */
function parts(payload: Uint8Array, length: number) {
  const attributes = new Map(decodeAttributes(payload, length));
  const replay = attributes.get(23);
  if (replay !== undefined) attributes.set(23, replay.subarray(0, 24));
  attributes.set(
    4,
    (attributes.get(4) ?? new Uint8Array()).map((v, at) => (at === 7 ? 0 : v)),
  );
  return { struct: payload.subarray(0, length), attributes };
}

describe("states", () => {
  test.each([
    { name: "AES-GCM with extended sequence numbers", state: gcmState, wire: captured.newGcmState },
    { name: "AES-CBC with HMAC, in UDP, with limits", state: cbcState, wire: captured.newCbcState },
  ])("are written as iproute2 writes them: $name", ({ state, wire }) => {
    expect(parts(encodeState(state), 224)).toEqual(parts(wire, 224));
  });

  test.each([
    { name: "AES-GCM", state: gcmState, wire: captured.gcmState },
    { name: "AES-CBC with HMAC", state: cbcState, wire: captured.cbcState },
  ])("are read as the kernel tells them: $name", ({ state, wire }) => {
    const { current, failures, ...read } = decodeState(wire);
    expect(read).toMatchObject({
      ...state,
      lifetime: { ...read.lifetime, ...state.lifetime },
    });
    expect(current).toEqual({ octets: 0, packets: 0, addedAt: expect.any(Number), usedAt: 0 });
    expect(failures).toEqual({ tooOld: 0, replayed: 0, notAuthentic: 0 });
  });

  it("are named by destination, SPI and protocol", () => {
    expect(encodeStateId(cbcState)).toEqual(captured.deleteCbcState.subarray(0, 24));
  });

  it("can be told apart from ones with other keys", () => {
    const { algorithms } = decodeState(captured.gcmState);
    const keys = {
      spi: 0x1001,
      suite: "aes-gcm-128",
      encryptionKey: octets(0xa1, 16),
      companion: octets(0xa1, 4),
      extendedSequenceNumbers: true,
    } as const;
    expect(sameAlgorithms(algorithms, algorithmsOf(keys))).toBe(true);
    const other = { ...keys, companion: octets(0xa2, 4) };
    expect(sameAlgorithms(algorithms, algorithmsOf(other))).toBe(false);
    expect(sameAlgorithms(algorithms, decodeState(captured.cbcState).algorithms)).toBe(false);
  });
});

describe("replay states", () => {
  it("carry 64-bit numbers in halves", () => {
    const wire = hex("01000000 07000000 09000000 02000000 01000000 20000000 ffffffff");
    const state = { sent: 2 * 2 ** 32 + 7, received: 2 ** 32 + 9, window: 32 };
    expect(decodeReplayState(wire)).toEqual({ ...state, bitmap: Uint32Array.of(0xffff_ffff) });
    expect(encodeReplayState(freshReplayState(state))).toEqual(wire);
  });
});

describe("policies", () => {
  test.each([
    { name: "a tunnel's", value: policy, wire: captured.newPolicy },
    { name: "one that blocks", value: blockPolicy, wire: captured.newBlockPolicy },
    {
      name: "one that changes",
      value: { ...policy, action: "block" as const },
      wire: captured.updatePolicy,
    },
  ])("are written as iproute2 writes them: $name", ({ value, wire }) => {
    expect(parts(encodePolicy(value), 168)).toEqual(parts(wire, 168));
  });

  it("are read as the kernel tells them", () => {
    expect(decodePolicy(captured.blockingPolicy)).toEqual({ ...policy, action: "block" });
  });

  it("are named by selector, direction and interface", () => {
    expect(parts(encodePolicyId(blockPolicy), 64)).toEqual(parts(captured.deletePolicy, 64));
  });

  it("are moved by MIGRATE, linux/xfrm.h struct xfrm_user_migrate", () => {
    const wire = encodeMigrate(policy, [
      {
        from: { source: home, destination: server },
        to: { source: parseIpv4("192.0.2.8"), destination: server },
        protocol: 50,
        requestId: 17,
        mode: 1,
      },
    ]);
    const none = "000000000000000000000000";
    expect(decodeAttributes(wire, 64)).toEqual(
      new Map([
        [
          17,
          hex(
            ...["c6336401", none, "c0000207", none], // old destination and source
            ...["c6336401", none, "c0000208", none], // new destination and source
            "32 01 0000 11000000 0200 0200", // protocol, mode, request id, families
          ),
        ],
        [31, hex("11000000")],
      ]),
    );
  });
});

describe("refusals", () => {
  const cut = (wire: Uint8Array, length: number) => wire.subarray(0, length);
  const patched = (wire: Uint8Array, at: number, value: number) => {
    const copy = wire.slice();
    copy[at] = value;
    return copy;
  };
  test.each([
    {
      name: "a state that is cut",
      run: () => decodeState(cut(captured.gcmState, 223)),
      code: "truncated",
    },
    {
      name: "a policy that is cut",
      run: () => decodePolicy(cut(captured.newPolicy, 167)),
      code: "truncated",
    },
    {
      name: "an attribute without a length",
      run: () => decodeState(patched(captured.gcmState, 224, 0)),
      code: "bad-length",
    },
    {
      name: "a policy of a socket",
      run: () => decodePolicy(patched(captured.newPolicy, 160, 4)),
      code: "unknown-direction",
    },
    {
      name: "a bitmap too long",
      run: () => decodeReplayState(hex("81000000", "00".repeat(20))),
      code: "bad-length",
    },
    {
      name: "a bitmap that is cut",
      run: () => decodeReplayState(hex("02000000", "00".repeat(24))),
      code: "truncated",
    },
    {
      name: "an expiry that is cut",
      run: () => decodeExpiry(new Uint8Array(231)),
      code: "truncated",
    },
    {
      name: "an event that is cut",
      run: () => decodeAsyncEvent(new Uint8Array(47)),
      code: "truncated",
    },
    {
      name: "a mapping that is cut",
      run: () => decodeMapping(new Uint8Array(63)),
      code: "truncated",
    },
  ])("$name", ({ run, code }) => {
    expect(run).toThrow(expect.objectContaining({ layer: expect.any(String), code }));
  });
});

test("any octets are read or refused", () => {
  const decoders = [
    decodeState,
    decodePolicy,
    decodeReplayState,
    decodeExpiry,
    decodeAsyncEvent,
    decodeMapping,
  ];
  const seeds = [captured.gcmState, captured.cbcState, captured.blockingPolicy];
  const mutated = fc
    .tuple(fc.constantFrom(...seeds), fc.nat(), fc.nat(255), fc.nat())
    .map(([seed, at, value, length]) => {
      const copy = seed.slice(0, seed.length - (length % 64));
      copy[at % copy.length] = value;
      return copy;
    });
  fc.assert(
    fc.property(fc.oneof(fc.uint8Array({ maxLength: 700 }), mutated), (payload) => {
      for (const decode of decoders) {
        try {
          decode(payload);
        } catch (error) {
          expect(error).toBeInstanceOf(MalformedError);
        }
      }
    }),
  );
});

test("addresses of either family fit", () => {
  const ipv6 = { ...gcmState, source: parseIpv6("2001:db8::1"), destination: UNSPECIFIED_IPV6 };
  expect(decodeState(encodeState(ipv6))).toMatchObject({
    source: "2001:db8::1",
    destination: UNSPECIFIED_IPV6,
  });
});
