import fc from "fast-check";
import { expect, it, test } from "vitest";
import { HOME_SORTS, HOME_STATES, type HomeQuery } from "../../common/control/home-query.ts";
import { type ListedHome, selectHomes } from "../../server/home-list.ts";

const homes: readonly ListedHome[] = [
  { name: "alice", state: "confirmed", since: 100, octets: 5 },
  { name: "dave", state: "never-heard", since: undefined, octets: 0 },
  { name: "bob", state: "held", since: 300, octets: 9 },
  { name: "carol", state: "unconfirmed", since: 200, octets: 7 },
  { name: "erin", state: "confirmed", since: 300, octets: 7 },
];

const select = (query: HomeQuery, from = homes) => {
  const steps = selectHomes(from, query);
  let step = steps.next();
  let turns = 0;
  for (; step.done !== true; step = steps.next()) turns += 1;
  return { ...step.value, turns };
};
const namesOf = (query: HomeQuery) => select(query).homes.map(({ name }) => name);

test.each([
  { sort: undefined, names: ["bob", "erin", "carol", "alice", "dave"] },
  { sort: "move", names: ["bob", "erin", "carol", "alice", "dave"] },
  { sort: "name", names: ["alice", "bob", "carol", "dave", "erin"] },
  { sort: "state", names: ["bob", "carol", "erin", "alice", "dave"] },
  { sort: "traffic", names: ["bob", "carol", "erin", "alice", "dave"] },
] as const)("by $sort: $names", ({ sort, names }) => {
  expect(namesOf(sort === undefined ? {} : { sort })).toEqual(names);
});

it("counts all homes by state, whatever is shown", () => {
  const counts = { confirmed: 2, unconfirmed: 1, held: 1, "never-heard": 1 };
  expect(select({ state: "held", limit: 0 })).toMatchObject({ counts, matching: 1, homes: [] });
});

it("shows homes of one state, and says how many there are", () => {
  const selected = select({ state: "confirmed", limit: 1 });
  expect(selected.matching).toBe(2);
  expect(selected.homes.map(({ name }) => name)).toEqual(["erin"]);
});

it("lets others have their turn every 500 homes", () => {
  const many = Array.from({ length: 10_000 }, (_, i) => ({ ...homes[0], name: `home-${i}` }));
  expect(select({ limit: 50 }, many as ListedHome[]).turns).toBe(20);
});

it("shows each home once, in one order, whatever order they came in", () => {
  const some = fc.uniqueArray(
    fc.record({
      name: fc.string(),
      state: fc.constantFrom(...HOME_STATES),
      since: fc.option(fc.nat(3), { nil: undefined }),
      octets: fc.nat(3),
    }),
    { selector: ({ name }) => name },
  );
  fc.assert(
    fc.property(some, fc.constantFrom(...HOME_SORTS), (list, sort) => {
      const there = select({ sort }, list).homes;
      const back = select({ sort }, [...list].reverse()).homes;
      expect(back).toEqual(there);
      expect(there).toHaveLength(list.length);
    }),
  );
});
