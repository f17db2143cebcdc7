/** Mistakes in a configuration: all of them are told at once, one line each, and never a secret. */

import { ConfigError } from "../errors.ts";
import { nearest } from "../text/nearest.ts";

/** Longer texts are not repeated to the user. */
const LONGEST_ECHO = 60; // characters
/** What a key or a salt looks like. No address, name or number of ours has so many in a row. */
export const LOOKS_SECRET = /[0-9a-f]{8}/i;
const BARE_KEY = /^[A-Za-z0-9_-]+$/;

/** Where a value stands: `["tunnel", "prefixes", 0]`. */
export type KeyPath = readonly PropertyKey[];

/** Every mistake of a configuration; its message has one line for each. */
export class ConfigMistakes extends ConfigError {
  readonly mistakes: readonly ConfigError[];

  constructor(mistakes: readonly ConfigError[]) {
    super(mistakes.map((mistake) => mistake.message).join("\n"));
    this.mistakes = mistakes;
  }
}

/** A configuration read, or what is wrong with it. */
export type Outcome<Value> =
  | { readonly kind: "good"; readonly value: Value }
  | { readonly kind: "mistaken"; readonly mistakes: readonly ConfigError[] };

/** The value of an outcome. Throws `ConfigMistakes`. */
export function goodOrThrow<Value>(outcome: Outcome<Value>): Value {
  if (outcome.kind === "mistaken") throw new ConfigMistakes(outcome.mistakes);
  return outcome.value;
}

/** `mistaken` when there are mistakes, else `good`. */
export function outcomeOf<Value>(value: Value, mistakes: readonly ConfigError[]): Outcome<Value> {
  return mistakes.length > 0 ? { kind: "mistaken", mistakes } : { kind: "good", value };
}

export function mistake(file: string, path: KeyPath, expectation: string): ConfigError {
  return new ConfigError(expectation, path.length > 0 ? { file, key: formatPath(path) } : { file });
}

/** An unknown key, with the known one it probably stands for. */
export function unknownKey(
  place: { file: string; table: KeyPath },
  key: string,
  known: readonly string[],
): ConfigError {
  const meant = nearest(key, known);
  const help =
    meant === undefined ? `expected one of ${known.join(", ")}` : `did you mean ${meant}?`;
  return mistake(place.file, [...place.table, key], `unknown key, ${help}`);
}

/** A wrong value for a message. Texts that may be secret are measured, not shown. */
export function describe(value: unknown): string {
  if (typeof value === "string") {
    return isShowable(value) ? JSON.stringify(value) : `a text of ${value.length} characters`;
  }
  if (typeof value === "boolean") return String(value);
  if (typeof value === "number") return isShowable(String(value)) ? String(value) : "a long number";
  if (Array.isArray(value)) return "a list";
  return value instanceof Date ? "a date" : "a table";
}

/** A wrong value where secrets stand: only what sort of thing it is. */
export function describeSecret(value: unknown): string {
  if (typeof value === "string") return `a text of ${value.length} characters`;
  return typeof value === "number" ? "another number" : describe(value);
}

/** `tunnel.prefixes[0]` */
function formatPath(path: KeyPath): string {
  return path
    .map((part, index) => {
      if (typeof part === "number") return `[${part}]`;
      const key = String(part);
      const shown = BARE_KEY.test(key) && isShowable(key) ? key : describe(key);
      return index === 0 ? shown : `.${shown}`;
    })
    .join("");
}

function isShowable(text: string): boolean {
  return text.length <= LONGEST_ECHO && !LOOKS_SECRET.test(text);
}
