/** That a rehearsed change is a whole one. */

import { expect, it } from "vitest";
import { parseClientConfig } from "../../client/config.ts";
import { rehearsal } from "../../client/rehearsal.ts";
import { goodOrThrow } from "../../common/config/mistakes.ts";
import { CLIENT_TEXT } from "../support/config-text.ts";

it("asks for the route, announces and is confirmed each time", async () => {
  const source = { file: "client.toml", text: CLIENT_TEXT, exposed: false };
  let queries = 0;
  const rehearsed = await rehearsal(goodOrThrow(parseClientConfig(source)), () => {
    queries += 1;
  });
  for (let time = 1; time <= 50; time++) {
    rehearsed.once();
    expect(rehearsed.completed).toBe(time);
    expect(queries).toBe(time);
  }
  await rehearsed.close();
});
