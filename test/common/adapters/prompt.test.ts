import { expect, it } from "vitest";
import { insist } from "../../../common/adapters/prompt.ts";
import { ConfigError } from "../../../common/errors.ts";

const even = (text: string) => {
  if (Number(text) % 2 !== 0) throw new ConfigError(`${text} is odd`);
  return Number(text);
};

/** Asked with these answers: what came of it, and what was told. */
async function asked(answers: string[]) {
  const told: string[] = [];
  const ask = async () => answers.shift() ?? "";
  const outcome = await insist({ ask, read: even, tell: (why) => told.push(why) }).catch(String);
  return { outcome, told, unused: answers };
}

it("a wrong answer is told, and asked for again", async () => {
  expect(await asked(["1", "4", "6"])).toEqual({ outcome: 4, told: ["1 is odd"], unused: ["6"] });
});

it("the third wrong answer is a mistake", async () => {
  expect(await asked(["1", "3", "5", "6"])).toEqual({
    outcome: "ConfigError: 5 is odd",
    told: ["1 is odd", "3 is odd"],
    unused: ["6"],
  });
});
