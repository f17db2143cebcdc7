/** The order in which homes are listed, and which of them. */

import {
  HOME_STATES,
  type HomeQuery,
  type HomeSort,
  type HomeStateKind,
} from "../common/control/home-query.ts";

/** What of a home decides its place; little, since all homes are looked at to show a few. */
export interface ListedHome {
  readonly name: string;
  readonly state: HomeStateKind;
  /** Since when it is where it is; wall clock. */
  readonly since: number | undefined;
  /** Sent and received. */
  readonly octets: number;
}

export type HomeCounts = Readonly<Record<HomeStateKind, number>>;

export interface HomeSelection<Home> {
  /** The homes to show, in order. */
  readonly homes: readonly Home[];
  /** How many the query fits, shown or not. */
  readonly matching: number;
  /** All homes, by state. */
  readonly counts: HomeCounts;
}

/** What needs a look comes first. */
const URGENCY: Readonly<Record<HomeStateKind, number>> = {
  held: 0,
  unconfirmed: 1,
  confirmed: 2,
  "never-heard": 3,
};

/** Homes taken between two turns; about a millisecond's work. */
const HOMES_A_TURN = 500;

/** Yields when others should have their turn. */
export function* selectHomes<Home extends ListedHome>(
  homes: Iterable<Home>,
  { sort = "move", state, limit = Number.POSITIVE_INFINITY }: HomeQuery,
): Generator<undefined, HomeSelection<Home>> {
  const counts = Object.fromEntries(HOME_STATES.map((each) => [each, 0])) as Record<
    HomeStateKind,
    number
  >;
  const fitting: Home[] = [];
  let taken = 0;
  for (const home of homes) {
    counts[home.state] += 1;
    if (state === undefined || home.state === state) fitting.push(home);
    taken += 1;
    if (taken % HOMES_A_TURN === 0) yield;
  }
  if (limit > 0) fitting.sort(ORDERS[sort]);
  return { homes: fitting.slice(0, limit), matching: fitting.length, counts };
}

type Order = (a: ListedHome, b: ListedHome) => number;

const byName: Order = (a, b) => (a.name < b.name ? -1 : 1);
/** Those that were never anywhere come last. */
const byMove: Order = (a, b) => (b.since ?? 0) - (a.since ?? 0) || byName(a, b);

const ORDERS: Readonly<Record<HomeSort, Order>> = {
  name: byName,
  move: byMove,
  state: (a, b) => URGENCY[a.state] - URGENCY[b.state] || byMove(a, b),
  traffic: (a, b) => b.octets - a.octets || byName(a, b),
};
