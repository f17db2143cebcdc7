/** A server that begins anew and finds SAs in the kernel: with whom it goes on, until when, and what it tells the homes. */

import { beforeEach, describe, expect, it } from "vitest";
import type { IkeMessage } from "../../common/adapters/ike-transport.ts";
import { DEFAULT_SETTINGS } from "../../common/ikev2/default-settings.ts";
import { invalidSpiIn } from "../../common/ikev2/exchanges/informational.ts";
import { identificationOf } from "../../common/ikev2/identity.ts";
import { IkeInitiator, type InitiatorEffect } from "../../common/ikev2/ike-initiator.ts";
import { decodeIkeHeader } from "../../common/ikev2/wire/header.ts";
import { parseIpv4, parseIpv6, parseIpv6Prefix } from "../../common/ip/address.ts";
import { silentLog } from "../../common/runtime/log.ts";
import type { KeyedDataPlane, StandingAssociations } from "../../common/tunnel/data-plane.ts";
import type { TunnelName } from "../../common/tunnel/tunnel.ts";
import { homeFingerprint } from "../../server/home-fingerprint.ts";
import { HomeKeyExchange, type KeyedHome } from "../../server/home-key-exchange.ts";
import { type AssociationEntry, proofOf } from "../../server/state/association-entry.ts";
import { seeded } from "../common/ikev2/support/network.ts";
import { VirtualClock } from "../support/virtual-clock.ts";

const SERVER = parseIpv4("198.51.100.1");
const HOME = parseIpv4("192.0.2.7");
const alice = "alice" as TunnelName;
const KEYS = Uint8Array.of(1, 2, 3, 4);
const STANDING: StandingAssociations = { inbound: 0x1001, outbound: 0x2002, keys: KEYS };
const LIMIT = { packets: 1_000, octets: 1_000_000 };
const SECRET = {
  kind: "shared-key",
  key: new TextEncoder().encode("sixteen octets and more"),
} as const;

function homeWith(
  changes: { identity?: string; prefix?: string; secret?: typeof SECRET } = {},
): KeyedHome {
  const { identity = "alice.example", prefix = "2001:db8:a::/56", secret = SECRET } = changes;
  return {
    config: {
      name: alice,
      interfaceName: "ht-alice",
      linkLocal: parseIpv6("fe80::c"),
      serverLinkLocal: parseIpv6("fe80::5"),
      prefixes: [parseIpv6Prefix(prefix)],
      encapsulation: "udp",
      mtu: undefined,
      dns: undefined,
    } as unknown as KeyedHome["config"],
    identity: identificationOf(identity),
    credential: secret,
    trust: secret,
    softLimit: LIMIT,
    childLifetimeMs: undefined,
  };
}

/** What the kernel plane does: the pair stands if the one who goes on with it says so. */
class Kernel implements KeyedDataPlane {
  spis: number[] = [];
  #heir: Parameters<NonNullable<KeyedDataPlane["inherit"]>>[0] = () => undefined;

  inherit(heir: Parameters<NonNullable<KeyedDataPlane["inherit"]>>[0]): void {
    this.#heir = heir;
  }

  apply(standing: readonly StandingAssociations[] = [STANDING]): void {
    const inherited = standing.filter((pair) => this.#heir(alice, pair) !== undefined);
    this.spis = inherited.map(({ inbound }) => inbound);
  }

  associations() {
    const left = { isSentWith: true, packetsLeft: 1, octetsLeft: 1 };
    return this.spis.map((spi) => ({ spi, ...left }));
  }

  removeAssociations(_: TunnelName, removed: number): void {
    this.spis = this.spis.filter((spi) => spi !== removed);
  }

  addAssociations(): void {}
  useAssociations(): void {}
  listenForIke(): void {}
  sendIke(): void {}
  sendIkeKeepalive(): void {}
}

describe("a server that begins anew", () => {
  let clock: VirtualClock;
  let kernel: Kernel;
  let memory: Map<TunnelName, AssociationEntry>;
  let sent: { readonly message: Uint8Array; readonly remote: unknown }[];
  let exchange: HomeKeyExchange;

  beforeEach(() => {
    begin(false);
  });

  function begin(multicast: boolean): void {
    clock = new VirtualClock();
    kernel = new Kernel();
    sent = [];
    const proof = proofOf(KEYS, homeFingerprint(homeWith()));
    const { inbound, outbound } = STANDING;
    const pair = { inbound, outbound, suite: "aes-gcm-128", proof } as const;
    memory = new Map([[alice, { home: alice, pairs: [pair] }]]);
    exchange = new HomeKeyExchange({
      address: parseIpv4("198.51.100.1"),
      identity: identificationOf("server.example"),
      authLifetime: undefined,
      dns: [],
      multicast,
      settings: { ...DEFAULT_SETTINGS, forceEncapsulation: true },
      ports: { random: (count) => new Uint8Array(count), allocateSpi: () => 0x3003 },
      clock,
      keyed: kernel,
      send: (message) => sent.push(message),
      sendKeepalive: () => undefined,
      onKeyed: () => undefined,
      onSource: () => undefined,
      memory: {
        recall: (home) => memory.get(home),
        remember: (entry) => memory.set(entry.home, entry),
        retain: () => undefined,
        flush: () => undefined,
      },
      endpointOf: () => ({ address: parseIpv4("192.0.2.7"), port: 61_000 }),
      log: silentLog(),
    });
  }

  /** As it is done for the homes that were read from files. */
  function serve(home: KeyedHome): void {
    exchange.retain([home]);
    kernel.apply();
    exchange.serve([home]);
  }

  it("goes on with what it negotiated with the home, and says that it has no IKE SA", () => {
    serve(homeWith());
    expect(exchange.statusOf(alice)).toMatchObject({
      state: "established",
      ikeSas: 0,
      associations: [{ spi: STANDING.inbound, suite: "aes-gcm-128" }],
    });
  });

  it.each([
    ["is called otherwise", { identity: "mallory.example" }],
    ["has another prefix", { prefix: "2001:db8:b::/56" }],
    [
      "has another key",
      { secret: { ...SECRET, key: new TextEncoder().encode("another, of 16 octets") } },
    ],
  ])("does not where the home %s now", (_, changes) => {
    serve(homeWith(changes));
    expect(exchange.statusOf(alice)).toMatchObject({ state: "none", associations: [] });
    expect(kernel.spis).toEqual([]);
  });

  it("tells the home at the port that its NAT has open, and at the usual one", () => {
    serve(homeWith());
    const [first] = sent;
    expect(sent.map(({ remote }) => remote)).toEqual([
      { address: "192.0.2.7", port: 61_000 },
      { address: "192.0.2.7", port: 4500 },
    ]);
    const message = first?.message ?? expect.fail("nothing was sent");
    expect(invalidSpiIn(decodeIkeHeader(message), message)).toBe(STANDING.inbound);
  });

  it("tells it again when what it sends with is used up", () => {
    serve(homeWith());
    sent.length = 0;
    exchange.rekey(alice, STANDING.inbound);
    expect(sent).toHaveLength(2);
  });

  it("gives it up when nobody came for five minutes, and remembers that", () => {
    serve(homeWith());
    expect(memory.get(alice)?.pairs).toMatchObject([{ inheritedAt: clock.wall() }]);
    clock.advanceTo(299_999);
    expect(kernel.spis).toEqual([STANDING.inbound]);
    clock.advanceTo(300_000);
    expect(kernel.spis).toEqual([]);
    expect(exchange.statusOf(alice)?.state).toBe("none");
    expect(memory.get(alice)?.pairs).toEqual([]);
  });

  it("gives it up at once when a reload says that the home is believed by something else", () => {
    serve(homeWith());
    serve(
      homeWith({ secret: { ...SECRET, key: new TextEncoder().encode("another, of 16 octets") } }),
    );
    expect(kernel.spis).toEqual([]);
  });

  it.each([
    ["goes on with a pair for multicast too", true, true],
    ["does not where homes may have none any more", false, true],
    ["does not take for one what is remembered as the link's", true, false],
  ])("%s", (_, mayHave, isRemembered) => {
    begin(mayHave);
    const standing = {
      ...STANDING,
      inbound: 0x1002,
      outbound: 0x2003,
      multicast: "outbound",
    } as const;
    const [pair] = memory.get(alice)?.pairs ?? [];
    if (pair === undefined) throw new Error("there is one");
    const { inbound, outbound, multicast } = standing;
    const other = { ...pair, inbound, outbound, ...(isRemembered ? { multicast } : {}) };
    memory.set(alice, { home: alice, pairs: [pair, other] });
    exchange.retain([homeWith()]);
    kernel.apply([STANDING, standing]);
    exchange.serve([homeWith()]);
    const isInherited = mayHave && isRemembered;
    expect(kernel.spis).toEqual(isInherited ? [STANDING.inbound, inbound] : [STANDING.inbound]);
    expect(memory.get(alice)?.pairs.at(-1)?.multicast).toBe(isInherited ? "outbound" : undefined);
  });
});

describe("a home that is let go by a reload", () => {
  it("gives its tunnel, or another's of its name, no more keys, whatever it still negotiates", () => {
    const clock = new VirtualClock();
    const calls: string[] = [];
    const toHome: IkeMessage[] = [];
    const kernel = new Kernel();
    kernel.addAssociations = () => calls.push("add");
    kernel.useAssociations = () => calls.push("use");
    let spi = 0x3000;
    const exchange = new HomeKeyExchange({
      address: SERVER,
      identity: identificationOf("server.example"),
      authLifetime: undefined,
      dns: [],
      multicast: false,
      settings: DEFAULT_SETTINGS,
      ports: { random: seeded(7), allocateSpi: () => spi++ },
      clock,
      keyed: kernel,
      send: (message) => toHome.push(message),
      sendKeepalive: () => undefined,
      onKeyed: () => undefined,
      onSource: () => undefined,
      memory: {
        recall: () => undefined,
        remember: () => undefined,
        retain: () => undefined,
        flush: () => undefined,
      },
      endpointOf: () => undefined,
      log: silentLog(),
    });
    const home = new IkeInitiator(
      {
        identity: identificationOf("alice.example"),
        peerIdentity: identificationOf("server.example"),
        credential: SECRET,
        trust: SECRET,
        link: { interfaceId: Uint8Array.of(0, 0, 0, 0, 0, 0, 0, 0xc), fallback: false },
        initialContact: true,
      },
      DEFAULT_SETTINGS,
      { random: seeded(3), allocateSpi: () => spi++ },
    );
    const toServer = (effects: readonly InitiatorEffect[]): void => {
      for (const effect of effects) {
        if (effect.kind !== "send") continue;
        const { message, encapsulated, path } = effect;
        exchange.receive({ message, remote: path.local, encapsulated });
      }
    };
    const talk = (): void => {
      for (let next = toHome.shift(); next !== undefined; next = toHome.shift()) {
        const port = next.encapsulated ? 4500 : 500;
        const path = { local: { address: HOME, port }, remote: { address: SERVER, port } };
        const { message, encapsulated } = next;
        const input = { kind: "message", message, path, encapsulated, wallTime: 0 } as const;
        toServer(home.handle(input, clock.now()));
      }
    };
    exchange.retain([homeWith()]);
    exchange.serve([homeWith()]);
    const path = { local: { address: HOME, port: 500 }, remote: { address: SERVER, port: 500 } };
    toServer(home.handle({ kind: "start", path }, clock.now()));
    talk();
    expect(calls).toContain("add");
    calls.length = 0;
    // Its rekey is under way, in either direction, when it has to go; somebody else has its name now.
    for (let old = 0x3000; old < 0x3008; old++) exchange.rekey(alice, old);
    expect(toHome).toHaveLength(1);
    exchange.retain([homeWith({ identity: "mallory.example" })]);
    exchange.serve([homeWith({ identity: "mallory.example" })]);
    talk();
    expect(calls).toEqual([]);
    expect(exchange.statusOf(alice)).toMatchObject({ state: "none", associations: [] });
  });
});
