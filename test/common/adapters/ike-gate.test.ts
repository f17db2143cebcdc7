import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { IkeGate } from "../../../common/adapters/ike-gate.ts";
import type { IkeShares } from "../../../common/adapters/linux/esp-filter.ts";
import { decodeIkeHeader, ExchangeType, ZERO_SPI } from "../../../common/ikev2/wire/header.ts";
import { at } from "../../support/timeline.ts";
import { charonSessions } from "../ikev2/vectors/charon.ts";

/** Of a real home: IKE_SA_INIT, and a message of the IKE SA that came of it. */
const messages = charonSessions[0]?.messages ?? [];
const init = messages.find((message) => decodeIkeHeader(message).responderSpi === ZERO_SPI);
const auth = messages.find((message) => decodeIkeHeader(message).exchange === ExchangeType.ikeAuth);
/** Where a datagram lies in the socket's memory. */
const OFFSET = 100;

let shares: IkeShares[];
let now: number;
let gate: IkeGate;
const octets = new Uint8Array(4_096);
const received = { octets, view: new DataView(octets.buffer) };

beforeEach(() => {
  vi.useFakeTimers();
  shares = [];
  now = 0;
  const socket = { received, shareIke: (wanted: IkeShares) => void shares.push(wanted) };
  gate = new IkeGate(socket, () => at(now));
});

afterEach(() => {
  gate.close();
  vi.useRealTimers();
});

/** How many of so many are let in; they come evenly within a second. */
function admitted(message: Uint8Array | undefined, count: number): number {
  if (message === undefined) throw new Error("no message");
  octets.fill(0);
  octets.set(message, OFFSET + 4);
  let admittedCount = 0;
  for (let index = 0; index < count; index++) {
    pass(1_000 / count);
    if (gate.admit(OFFSET, 4 + message.length)) admittedCount += 1;
  }
  return admittedCount;
}

function pass(milliseconds: number): void {
  now += milliseconds;
  vi.advanceTimersByTime(milliseconds);
}

describe("IKE at port 4500", () => {
  it("is let in as long as it is not too much", () => {
    expect(admitted(init, 250)).toBe(250);
    expect(admitted(auth, 1_900)).toBe(1_900);
    expect(shares).toEqual([]);
  });

  it("is not let in when it is shorter than a header", () => {
    expect(gate.admit(OFFSET, 4 + 27)).toBe(false);
  });

  it("of newcomers is let in so far, and the kernel is told to drop a part", () => {
    const count = admitted(init, 6_000);
    // The burst, and the rate of a second.
    expect(count).toBeGreaterThanOrEqual(300);
    expect(count).toBeLessThanOrEqual(601);
    expect(shares.at(-1)?.unknown).toBeLessThan(0.2);
    expect(shares.at(-1)?.rest).toBe(1);
  });

  it("of newcomers takes nothing from those who have an IKE SA", () => {
    admitted(init, 6_000);
    expect(admitted(auth, 1_000)).toBe(1_000);
  });

  it("is let in again, all of it, when the flood is over", () => {
    admitted(init, 6_000);
    for (let window = 0; window < 20; window++) pass(200);
    expect(shares.at(-1)).toEqual({ unknown: 1, rest: 1 });
    expect(vi.getTimerCount()).toBe(0);
    expect(admitted(init, 250)).toBe(250);
  });
});
