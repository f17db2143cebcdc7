import { expect, test } from "vitest";
import { nearest } from "../../../common/text/nearest.ts";

const WORDS = ["prefixes", "link-local", "server-link-local", "mtu", "encapsulation"];

test.each([
  ["prefix", "prefixes"],
  ["linklocal", "link-local"],
  ["encapsulatoin", "encapsulation"],
  ["mut", undefined],
  ["mtuu", "mtu"],
  ["bandwidth", undefined],
  ["", undefined],
])("%s is meant to be %s", (word, meant) => {
  expect(nearest(word, WORDS)).toBe(meant);
});
