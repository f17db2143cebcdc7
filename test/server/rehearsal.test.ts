/** That a rehearsed move is a whole one. */

import { expect, it } from "vitest";
import { rehearsal } from "../../server/rehearsal.ts";
import { SimulatedServer } from "../support/simulated-server.ts";
import { VirtualClock } from "../support/virtual-clock.ts";

it("moves and confirms each time", async () => {
  const simulated = await SimulatedServer.open({ homes: 1, clock: new VirtualClock() });
  const rehearsed = await rehearsal(simulated.config);
  for (let time = 1; time <= 50; time++) {
    rehearsed.once();
    expect(rehearsed.completed).toBe(time);
  }
  await rehearsed.close();
  await simulated.close();
});
