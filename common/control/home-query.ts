/** Which homes of a server a status shall show: there may be thousands. */

import { MalformedError } from "../errors.ts";

/** `move`: the last moved first; `state`: what needs a look first; `traffic`: the most octets first. */
export const HOME_SORTS = ["move", "name", "state", "traffic"] as const;
export type HomeSort = (typeof HOME_SORTS)[number];

/** `held`: the home does not answer at its endpoint, and nothing but probes is sent there. */
export const HOME_STATES = ["confirmed", "unconfirmed", "held", "never-heard"] as const;
export type HomeStateKind = (typeof HOME_STATES)[number];

export interface HomeQuery {
  /** Default `move`. */
  readonly sort?: HomeSort;
  /** Homes in this state only; default all. */
  readonly state?: HomeStateKind;
  /** At most so many; default all. */
  readonly limit?: number;
}

/** Throws `MalformedError` `bad-query`. */
export function decodeHomeQuery(raw: unknown): HomeQuery {
  if (typeof raw !== "object" || raw === null) throw malformed("a query is an object");
  const { sort, state, limit } = raw as Record<string, unknown>;
  if (limit !== undefined && !(Number.isSafeInteger(limit) && Number(limit) >= 0)) {
    throw malformed("a limit is a number of homes");
  }
  return {
    ...(sort === undefined ? {} : { sort: oneOf(HOME_SORTS, sort) }),
    ...(state === undefined ? {} : { state: oneOf(HOME_STATES, state) }),
    ...(limit === undefined ? {} : { limit: Number(limit) }),
  };
}

function oneOf<Word extends string>(words: readonly Word[], raw: unknown): Word {
  const word = words.find((each) => each === raw);
  if (word === undefined) throw malformed(`expected one of ${words.join(", ")}`);
  return word;
}

function malformed(detail: string): MalformedError {
  return new MalformedError("control", "bad-query", detail);
}
