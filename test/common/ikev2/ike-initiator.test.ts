/** When a home without an IKE SA tries again; Network is the gateway's end and virtual time. */

import { describe, expect, it } from "vitest";
import type { InitiatorInput } from "../../../common/ikev2/ike-initiator.ts";
import type { Ipv4Address } from "../../../common/ip/address.ts";
import { exchangeOf, Network, SETTINGS } from "./support/network.ts";

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

describe("a home that shall prove anew who it is", () => {
  const attempts = (network: Network) =>
    network.sent.filter(({ message }) => exchangeOf(message) === "IKE_SA_INIT request").length;

  it("tries again when that fails, and loses nothing, since it began early", () => {
    const network = new Network({ policy: { authLifetime: 1_000 } });
    network.start().run(795_000);
    network.fault = () => []; // just when it is time: at 800 s
    network.run(90_000);
    network.fault = () => undefined;
    network.run(300_000);
    expect(network.established).toEqual({ home: 1, gateway: 1 });
    expect(network.kinds("home").filter((kind) => kind === "established")).toHaveLength(2);
    expect(attempts(network)).toBeGreaterThan(2);
    expect(network.lost).toEqual([]);
  });

  it("loses no packet when an answer to the session before comes late", () => {
    const network = new Network();
    network.start().run(1_000);
    network.fault = ({ from, message }) =>
      from === "gateway" && exchangeOf(message) === "CREATE_CHILD_SA response" ? [300] : undefined;
    const before = network.packets;
    network.tell({ kind: "rekey-child", spi: network.childOf("home").inbound.spi });
    network.tell({ kind: "reauthenticate" });
    network.run(3_000);
    expect(network.established).toEqual({ home: 1, gateway: 1 });
    expect(network.packets).toBeGreaterThan(before);
    expect(network.lost).toEqual([]);
  });
});

describe("a gateway that refuses a rekey of the IKE SA", () => {
  it("is not asked again and again: the home makes another IKE SA", () => {
    const suites = [...SETTINGS.ikeSuites];
    const network = new Network({
      homeSettings: { ikeLifetimeMs: 60_000 },
      gatewaySettings: { ikeSuites: suites },
    });
    network.start().run(59_000);
    suites.length = 0; // none is good enough any more, until it has said so
    network.fault = ({ message }) => {
      if (exchangeOf(message) === "CREATE_CHILD_SA response") suites.push(...SETTINGS.ikeSuites);
      return undefined;
    };
    const before = network.sent.length;
    network.run(10_000);
    const asked = network.sent
      .slice(before)
      .filter(({ message }) => exchangeOf(message) === "CREATE_CHILD_SA request");
    expect(asked).toHaveLength(1);
    expect(network.kinds("home").filter((kind) => kind === "established")).toHaveLength(2);
    expect(network.established).toEqual({ home: 1, gateway: 1 });
    expect(network.lost).toEqual([]);
  });

  it("and so does not the gateway, whose home refuses: it asks again after another lifetime", () => {
    const suites = [...SETTINGS.ikeSuites];
    const network = new Network({
      homeSettings: { ikeSuites: suites },
      gatewaySettings: { ikeLifetimeMs: 60_000 },
    });
    network.carriesPackets = false;
    network.start().run(59_000);
    suites.length = 0;
    const before = network.sent.length;
    network.run(130_000);
    const asked = network.sent
      .slice(before)
      .filter(({ message }) => exchangeOf(message) === "CREATE_CHILD_SA request");
    expect(asked.length).toBeLessThanOrEqual(3);
  });
});
