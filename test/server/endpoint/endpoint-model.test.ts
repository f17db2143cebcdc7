/**
 * Any history at all, against what must never happen. The model knows only effects: what the data plane was told, and
 * which answers were given.
 */

import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { Ipv4Address } from "../../../common/ip/address.ts";
import type { TunnelName } from "../../../common/tunnel/tunnel.ts";
import {
  type EndpointEffect,
  type EndpointInput,
  EndpointTable,
  type EndpointTableOptions,
} from "../../../server/endpoint/endpoint-table.ts";
import { at } from "../../support/timeline.ts";

const CREDIT_MS = 1000;
const homes = ["alice", "bob", "carol"].map((name) => name as TunnelName);
const addresses = ["192.0.2.1", "192.0.2.2", "192.0.2.3"].map((text) => text as Ipv4Address);

const tunnel = fc.constantFrom(...homes);
const address = fc.constantFrom(...addresses);
const input: fc.Arbitrary<EndpointInput> = fc.oneof(
  { weight: 4, arbitrary: fc.record({ kind: fc.constant("moved"), tunnel, address }) },
  { weight: 4, arbitrary: fc.record({ kind: fc.constant("answered"), tunnel }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant("heard"), tunnel }) },
  {
    weight: 2,
    arbitrary: fc.record({ kind: fc.constant("traffic"), tunnel, sentPackets: fc.nat() }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("remove"), tunnel }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("add"), tunnel }) },
  {
    weight: 1,
    arbitrary: fc.record({
      kind: fc.constant("restored"),
      tunnel,
      endpoint: address.map((address) => ({ address, port: 4500 })),
    }),
  },
);
const wait = fc.oneof(
  fc.constant(0),
  fc.integer({ min: 1, max: 600 }),
  fc.integer({ min: 1, max: 90_000 }),
);
const history = fc.array(fc.record({ wait, input }), { maxLength: 60 });

/** Replays a history, deadlines included, and shows every step to `look`. */
function replay(
  steps: readonly { wait: number; input: EndpointInput }[],
  options: EndpointTableOptions,
  look: (now: number, input: EndpointInput | undefined, effects: EndpointEffect[]) => void,
): EndpointTable {
  const table = new EndpointTable(options);
  let now = 0;
  const give = (input: EndpointInput) => look(now, input, table.handle(input, at(now)));
  for (const tunnel of homes) give({ kind: "add", tunnel });
  for (const { wait, input } of steps) {
    const until = now + wait;
    while (table.deadline !== undefined && table.deadline <= until) {
      now = Math.max(now, table.deadline);
      look(now, undefined, table.handleDeadline(at(now)));
    }
    now = until;
    give(input);
  }
  return table;
}

describe("whatever happens", () => {
  it("only an answer releases a home", () => {
    fc.assert(
      fc.property(history, (steps) => {
        replay(steps, {}, (_, input, effects) => {
          for (const effect of effects.filter(({ kind }) => kind === "release")) {
            expect(input).toEqual({ kind: "answered", tunnel: effect.tunnel });
          }
        });
      }),
    );
  });

  it("no home is sent traffic for more than a second after a move without having answered", () => {
    fc.assert(
      fc.property(history, (steps) => {
        /** When the credit of a home whose traffic flows began. */
        const credit = new Map<TunnelName, number>();
        const held = new Set<TunnelName>();
        replay(steps, {}, (now, input, effects) => {
          if (input?.kind === "remove") {
            credit.delete(input.tunnel);
            held.delete(input.tunnel);
          }
          for (const effect of effects) {
            if (effect.kind === "hold") held.add(effect.tunnel);
            if (effect.kind === "release") held.delete(effect.tunnel);
            if (effect.kind === "hold" || effect.kind === "confirmed") credit.delete(effect.tunnel);
            const isMove = effect.kind === "set-remote" && !held.has(effect.tunnel);
            if (isMove && !credit.has(effect.tunnel)) credit.set(effect.tunnel, now);
          }
          for (const since of credit.values()) expect(now - since).toBeLessThanOrEqual(CREDIT_MS);
        });
      }),
    );
  });

  it("hold and release alternate, and traffic never flows to a restored endpoint first", () => {
    fc.assert(
      fc.property(history, (steps) => {
        const held = new Set<TunnelName>();
        replay(steps, {}, (_, input, effects) => {
          if (input?.kind === "remove") held.delete(input.tunnel);
          for (const effect of effects) {
            if (effect.kind === "hold") {
              expect(held.has(effect.tunnel)).toBe(false);
              held.add(effect.tunnel);
            }
            if (effect.kind === "release") expect(held.delete(effect.tunnel)).toBe(true);
            if (effect.kind === "set-remote" && input?.kind === "restored") {
              expect(held.has(effect.tunnel)).toBe(true);
            }
          }
        });
      }),
    );
  });

  it("no two homes are confirmed at one address", () => {
    fc.assert(
      fc.property(history, (steps) => {
        const check = (table: EndpointTable) => {
          const confirmed = homes
            .map((home) => table.statusOf(home))
            .filter((status) => status?.state === "confirmed")
            .map((status) => status?.endpoint?.address);
          expect(new Set(confirmed).size).toBe(confirmed.length);
        };
        for (let length = 0; length <= steps.length; length += 5) {
          check(replay(steps.slice(0, length), {}, () => {}));
        }
      }),
    );
  });

  it("homes that share addresses are confirmed whenever they answer", () => {
    fc.assert(
      fc.property(history, (steps) => {
        replay(steps, { sharedEndpoints: true }, (_, __, effects) => {
          for (const effect of effects.filter(({ kind }) => kind === "refused")) {
            expect(effect).toMatchObject({ reason: "advertisement-rate" });
          }
        });
      }),
    );
  });

  it("every move is confirmed at most once, and with a time that is not negative", () => {
    fc.assert(
      fc.property(history, (steps) => {
        const open = new Set<TunnelName>();
        replay(steps, {}, (_, input, effects) => {
          if (input?.kind === "remove") open.delete(input.tunnel);
          for (const effect of effects) {
            if (effect.kind === "persist") open.add(effect.tunnel);
            if (effect.kind !== "confirmed") continue;
            expect(open.delete(effect.tunnel)).toBe(true);
            expect(effect.elapsedMs).toBeGreaterThanOrEqual(0);
          }
        });
      }),
    );
  });

  it("a home that answers every probe sent to where it is, and states it, ends confirmed there", () => {
    fc.assert(
      fc.property(history, address, (steps, last) => {
        const [alice, ...others] = homes as [TunnelName, ...TunnelName[]];
        const table = replay(steps, {}, () => {});
        let now = steps.reduce((sum, { wait }) => sum + wait, 0) + 10_000;
        table.handle({ kind: "add", tunnel: alice }, at(now));
        for (const tunnel of others) table.handle({ kind: "heard", tunnel }, at(now));
        // Its client repeats the advertisement; the others are silent, so a holder loses the address.
        for (let second = 0; second < 5; second++, now += 1000) {
          const effects = table.handle({ kind: "moved", tunnel: alice, address: last }, at(now));
          const probed = effects.some(({ kind, tunnel }) => kind === "probe" && tunnel === alice);
          if (probed && table.statusOf(alice)?.endpoint?.address === last) {
            table.handle({ kind: "answered", tunnel: alice }, at(now));
          }
          table.handleDeadline(at(now + 999));
        }
        const status = table.statusOf(alice);
        expect([status?.state, status?.endpoint?.address]).toEqual(["confirmed", last]);
      }),
    );
  });
});
