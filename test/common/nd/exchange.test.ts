/**
 * Both ends of Neighbor Discovery with a bad network between them: announcer — queue — endpoint table.
 *
 * A packet takes 10 ms. What the server sends arrives only if the home still has the address it was sent to. In
 * turn every single packet is lost, overtaken or doubled; then packets are lost at random.
 */

import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  Announcer,
  type AnnouncerEffect,
  type AnnouncerInput,
} from "../../../client/announce/announcer.ts";
import type { Ipv4Address } from "../../../common/ip/address.ts";
import { earliest, type Instant } from "../../../common/time.ts";
import type { TunnelName } from "../../../common/tunnel/tunnel.ts";
import { type EndpointEffect, EndpointTable } from "../../../server/endpoint/endpoint-table.ts";
import { at } from "../../support/timeline.ts";

const DELAY_MS = 10;
const ALICE = "alice" as TunnelName;
const ipv4 = (text: string) => text as Ipv4Address;
const [FIRST, SECOND, LAST] = [ipv4("192.0.2.1"), ipv4("198.51.100.2"), ipv4("203.0.113.3")];

/** How long each packet takes, one number for each copy that arrives. */
type Weather = (packet: number, now: number) => readonly number[];
const FINE: Weather = () => [DELAY_MS];

class Exchange {
  now = 0;
  packets = 0;
  readonly announcer = new Announcer();
  readonly table = new EndpointTable();
  readonly log: string[] = [];
  readonly #weather: Weather;
  #address: Ipv4Address | undefined;
  #queue: { time: number; arrive: () => void }[] = [];

  constructor(weather: Weather) {
    this.#weather = weather;
    this.table.handle({ kind: "add", tunnel: ALICE }, at(0));
  }

  /** The home has this address from now on. */
  address(address: Ipv4Address | undefined): void {
    this.#address = address;
    this.#tell({ kind: "address", address });
  }

  runUntil(until: number): void {
    for (;;) {
      this.#queue.sort((a, b) => a.time - b.time);
      const packet = this.#queue[0];
      const deadline = earliest(this.announcer.deadline, this.table.deadline);
      const next = earliest(packet?.time as Instant | undefined, deadline);
      if (next === undefined || next > until) break;
      this.now = Math.max(this.now, next);
      if (packet?.time === next) {
        this.#queue.shift();
        packet.arrive();
      } else {
        this.#perform(this.announcer.handleDeadline(at(this.now)));
        this.#serve(this.table.handleDeadline(at(this.now)));
      }
    }
    this.now = until;
  }

  #tell(input: AnnouncerInput): void {
    this.#perform(this.announcer.handle(input, at(this.now)));
  }

  #perform(effects: readonly AnnouncerEffect[]): void {
    for (const effect of effects) {
      this.log.push(`${this.now} client ${effect.kind}`);
      if (effect.kind === "advertise") {
        this.#toServer(() => {
          const moved = { kind: "moved", tunnel: ALICE, address: effect.address } as const;
          this.#serve(this.table.handle(moved, at(this.now)));
        });
      }
      if (effect.kind === "solicit") {
        this.#toServer(() => this.#toHome(() => this.#tell({ kind: "answer" })));
      }
    }
  }

  #serve(effects: readonly EndpointEffect[]): void {
    for (const effect of effects) {
      this.log.push(`${this.now} server ${effect.kind}`);
      if (effect.kind !== "probe") continue;
      this.#toHome(() => {
        this.#tell({ kind: "heard" });
        this.#toServer(() => {
          const answered = { kind: "answered", tunnel: ALICE, move: effect.move } as const;
          this.#serve(this.table.handle(answered, at(this.now)));
        });
      });
    }
  }

  #toServer(arrive: () => void): void {
    if (this.#address !== undefined) this.#send(arrive);
  }

  #toHome(arrive: () => void): void {
    const destination = this.table.statusOf(ALICE)?.endpoint?.address;
    if (destination === undefined) return;
    this.#send(() => {
      if (destination === this.#address) arrive();
    });
  }

  #send(arrive: () => void): void {
    for (const delay of this.#weather(this.packets, this.now)) {
      this.#queue.push({ time: this.now + delay, arrive });
    }
    this.packets += 1;
  }
}

/** Three addresses, the second only for a moment and with nothing after it for a while. */
function story(weather: Weather): Exchange {
  const exchange = new Exchange(weather);
  exchange.address(FIRST);
  exchange.runUntil(2000);
  exchange.address(SECOND);
  exchange.runUntil(2025);
  exchange.address(undefined);
  exchange.runUntil(2200);
  exchange.address(LAST);
  return exchange;
}

function expectConfirmedAtLast(exchange: Exchange): void {
  expect(exchange.announcer.state).toMatchObject({ kind: "confirmed", address: LAST });
  expect(exchange.table.statusOf(ALICE)).toMatchObject({
    state: "confirmed",
    endpoint: { address: LAST },
  });
}

describe("announcer and endpoint table", () => {
  it("in fine weather agree after one round trip, each side", () => {
    const exchange = new Exchange(FINE);
    exchange.address(FIRST);
    exchange.runUntil(900);
    expect(exchange.log).toEqual([
      "0 client advertise",
      "0 client solicit",
      "10 server set-remote",
      "10 server probe",
      "10 server persist",
      "20 client confirmed",
      "30 server confirmed",
    ]);
  });

  it("agree on the newest address of several", () => {
    const exchange = story(FINE);
    exchange.runUntil(2300);
    expectConfirmedAtLast(exchange);
  });

  const packets = story(FINE).packets + 12;
  const faults: Record<string, readonly number[]> = {
    lost: [],
    "overtaken by 50 ms": [60],
    "overtaken by 400 ms": [400],
    "overtaken by 5 s": [5000],
    doubled: [DELAY_MS, DELAY_MS],
    "doubled 700 ms later": [DELAY_MS, 700],
  };
  const cases = Object.entries(faults).flatMap(([fault, delays]) =>
    Array.from({ length: packets }, (_, packet) => ({ packet, fault, delays })),
  );

  it.each(cases)("end confirmed at the newest address: packet $packet $fault", (given) => {
    const exchange = story((packet) => (packet === given.packet ? given.delays : [DELAY_MS]));
    // The closing advertisement mends what is up to a second late, the liveness solicitation the rest.
    exchange.runUntil(Math.max(...given.delays, 0) > 1000 ? 70_000 : 4_000);
    expectConfirmedAtLast(exchange);
  });

  it("end confirmed at the newest address after a minute of any losses and delays", () => {
    const fates = fc.array(
      fc.constantFrom<readonly number[]>([], [], [10], [10], [25], [900], [10, 10], [10, 4000]),
      { minLength: 1, maxLength: 50 },
    );
    fc.assert(
      fc.property(fates, (fates) => {
        const exchange = story((packet, now) =>
          now < 60_000 ? (fates[packet % fates.length] ?? []) : [DELAY_MS],
        );
        exchange.runUntil(200_000);
        expectConfirmedAtLast(exchange);
      }),
    );
  });

  it("find each other again after the server lost its table", () => {
    const exchange = story(FINE);
    exchange.runUntil(10_000);
    exchange.table.handle({ kind: "remove", tunnel: ALICE }, at(10_000));
    exchange.table.handle({ kind: "add", tunnel: ALICE }, at(10_000));
    exchange.runUntil(75_000);
    expectConfirmedAtLast(exchange);
  });

  it("need no advertisement after the server restarts from its journal", () => {
    const exchange = story(FINE);
    exchange.runUntil(10_000);
    exchange.log.length = 0;
    exchange.table.handle({ kind: "remove", tunnel: ALICE }, at(10_000));
    exchange.table.handle({ kind: "add", tunnel: ALICE }, at(10_000));
    const endpoint = { address: LAST, port: 4500 };
    exchange.table.handle({ kind: "restored", tunnel: ALICE, endpoint }, at(10_000));
    exchange.runUntil(10_100);
    expect(exchange.log).toEqual(["10001 server probe", "10021 server release"]);
  });
});
