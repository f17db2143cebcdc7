/** The gateway's process dies, more than once, with every session that it had. */

import { expect, it } from "vitest";
import { gatewayWith, Network } from "./support/network.ts";

function expectSameKeys(network: Network): void {
  const fresh = [...network.children.gateway.keys()].at(-1);
  expect(fresh).toBeDefined();
  expect([...network.children.home.values()].at(-1)?.outbound.spi).toBe(fresh);
}

it("a gateway that dies again before the home has let go of the first is found again as quickly", () => {
  const network = new Network().start().run(2_000);
  network.carriesPackets = false;
  for (const seed of [5, 6, 7]) {
    network.gateway = gatewayWith({ seed });
    network.children.gateway.clear();
    network.tell({ kind: "probe" });
    // What waits for an answer is sent again at the same instant, from the session before too.
    network.tell({ kind: "moved", path: {} });
    network.run(1_500);
    expectSameKeys(network);
  }
});
