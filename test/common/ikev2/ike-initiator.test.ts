/** When a home without an IKE SA tries again; Network is the gateway's end and virtual time. */

import { describe, expect, it } from "vitest";
import type { InitiatorInput } from "../../../common/ikev2/ike-initiator.ts";
import type { Ipv4Address } from "../../../common/ip/address.ts";
import { Network } from "./support/network.ts";

/** Long enough that a pause of most of a minute has begun. */
const LATER_MS = 15 * 60_000;

describe("a home whose gateway does not answer", () => {
  /** Sends nothing for a while after a try that failed. */
  function pausing(): Network {
    const network = new Network();
    network.fault = () => [];
    network.start().run(LATER_MS);
    while (network.home.deadline === undefined || network.home.deadline - network.now < 20_000) {
      network.run(1_000);
    }
    network.fault = () => undefined;
    return network;
  }

  const reasons: readonly { readonly name: string; readonly input: InitiatorInput }[] = [
    { name: "it is asked to hurry", input: { kind: "hurry" } },
    {
      name: "its address changes",
      input: {
        kind: "moved",
        path: { local: { address: "192.0.2.99" as Ipv4Address, port: 500 } },
      },
    },
  ];

  it.each(reasons)("tries again at once when $name", ({ input }) => {
    const network = pausing();
    const before = network.sent.length;
    if (input.kind === "moved" && input.path.local !== undefined) {
      network.homeAddress = input.path.local;
    }
    network.tell(input);
    expect(network.sent.length).toBe(before + 1);
    network.run(1_000);
    expect(network.established).toEqual({ home: 1, gateway: 1 });
  });

  it("otherwise waits out its pause", () => {
    const network = pausing();
    network.run(1_000);
    expect(network.established).toEqual({ home: 0, gateway: 0 });
  });

  it("repeats what is not answered yet when it is asked to hurry", () => {
    const network = new Network();
    network.fault = () => [];
    network.start().run(20_000); // the next repetition is many seconds away
    const before = network.sent.length;
    network.fault = () => undefined;
    network.tell({ kind: "hurry" });
    expect(network.sent.length).toBe(before + 1);
    network.run(1_000);
    expect(network.established).toEqual({ home: 1, gateway: 1 });
  });

  it("has no second IKE SA when it is asked to hurry with the first", () => {
    const network = new Network().start().run(1_000);
    network.tell({ kind: "hurry" });
    network.run(5_000);
    expect(network.kinds("home").filter((kind) => kind === "established")).toHaveLength(1);
  });
});
