import { beforeEach, describe, expect, it } from "vitest";
import type { TunnelName } from "../../common/tunnel/tunnel.ts";
import { FormerAssociations } from "../../server/former-associations.ts";
import {
  type AssociationEntry,
  type AssociationPair,
  proofOf,
} from "../../server/state/association-entry.ts";
import { VirtualClock } from "../support/virtual-clock.ts";

const name = (index: number) => `home${index}` as TunnelName;
const alice = "alice" as TunnelName;
const KEYS = Uint8Array.of(1, 2, 3);
const STANDING = { inbound: 5, outbound: 6, keys: KEYS };

describe("what an earlier process negotiated", () => {
  let clock: VirtualClock;
  let memory: Map<TunnelName, AssociationEntry>;
  let settled: Set<TunnelName>;
  let told: { home: TunnelName; spi: number; at: number }[];
  let expiries: number;
  let former: FormerAssociations;

  const advance = (ms: number) => clock.advanceTo(clock.now() + ms);

  const pairOf = (inbound: number): AssociationPair => ({
    ...{ inbound, outbound: 6, suite: "aes-gcm-128" },
    proof: proofOf(KEYS, "alice's key"),
  });

  const remember = (home: TunnelName, inbound: number, until?: number) =>
    memory.set(home, { home, until, pairs: [pairOf(inbound)] });

  beforeEach(() => {
    clock = new VirtualClock();
    memory = new Map();
    settled = new Set();
    told = [];
    expiries = 0;
    former = new FormerAssociations({
      memory: { recall: (home) => memory.get(home) },
      clock,
      isSettled: (home) => settled.has(home),
      tell: (home, spi) => told.push({ home, spi, at: clock.now() }),
      expired: () => {
        expiries += 1;
      },
    });
  });

  it("may be gone on with by the one it was negotiated with", () => {
    remember(alice, 5);
    expect(former.mayInherit(alice, STANDING, "alice's key")).toBe(true);
  });

  it.each([
    ["a home that is believed by something else now", alice, STANDING, "her new key"],
    ["another home", "bob" as TunnelName, STANDING, "alice's key"],
    ["another inbound SPI", alice, { ...STANDING, inbound: 7 }, "alice's key"],
    ["another outbound SPI", alice, { ...STANDING, outbound: 7 }, "alice's key"],
    ["other keys", alice, { ...STANDING, keys: Uint8Array.of(1, 2, 4) }, "alice's key"],
  ])("and not with %s", (_, home, standing, believedBy) => {
    remember(alice, 5);
    expect(former.mayInherit(home, standing, believedBy)).toBe(false);
  });

  it("and not beyond the time for which the home was believed", () => {
    remember(alice, 5, clock.wall() + 300_001);
    expect(former.mayInherit(alice, STANDING, "alice's key")).toBe(true);
    advance(1);
    expect(former.mayInherit(alice, STANDING, "alice's key")).toBe(false);
  });

  it("and not for more than five minutes in all, however often the server begins anew", () => {
    const inheritedAt = clock.wall();
    memory.set(alice, { home: alice, pairs: [{ ...pairOf(5), inheritedAt }] });
    advance(200_000);
    expect(former.mayInherit(alice, STANDING, "alice's key")).toBe(true);
    former.begin([], [{ ...pairOf(5), inheritedAt }, pairOf(7)]);
    advance(99_999);
    expect(expiries).toBe(0);
    advance(1);
    expect(expiries).toBe(1);
    expect(former.mayInherit(alice, STANDING, "alice's key")).toBe(false);
  });

  it("nor when the clock was set back", () => {
    former.begin([], [{ ...pairOf(5), inheritedAt: clock.wall() + 86_400_000 }]);
    advance(300_000);
    expect(expiries).toBe(1);
  });

  it("is told to the homes a hundred a second, and again to those who do not come", () => {
    const homes = Array.from({ length: 250 }, (_, index) => name(index));
    for (const [index, home] of homes.entries()) remember(home, 1_000 + index);
    former.begin(homes, [{ ...pairOf(1_000), inheritedAt: clock.wall() }]);
    advance(999);
    expect(told).toHaveLength(100);
    expect(told[17]).toMatchObject({ home: name(17), spi: 1_017 });
    advance(2_000);
    expect(told).toHaveLength(250);
    for (const home of homes.slice(1)) settled.add(home);
    advance(600_000);
    expect(told.slice(250).map(({ home }) => home)).toEqual([name(0), name(0), name(0)]);
    expect(expiries).toBe(1);
  });

  it("is told to nobody of whom nothing is known, or who came first", () => {
    remember(alice, 5);
    settled.add(alice);
    former.begin([alice, "bob" as TunnelName], []);
    advance(600_000);
    expect(told).toEqual([]);
  });

  it("begins once, however often the homes are read anew", () => {
    remember(alice, 5);
    former.begin([alice], []);
    former.begin([alice], []);
    advance(1_000);
    expect(told).toHaveLength(1);
  });

  it("ends with the process", () => {
    remember(alice, 5);
    former.begin([alice], []);
    former.succeeded(() => expect.fail("closed"));
    former.close();
    advance(600_000);
    expect(told).toHaveLength(1);
    expect(expiries).toBe(0);
  });
});
