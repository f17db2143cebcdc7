/** The gateway's process dies, more than once, with every session that it had. */

import { describe, expect, it } from "vitest";
import { encodeInvalidSpi } from "../../../common/ikev2/exchanges/informational.ts";
import { decodeIkeHeader } from "../../../common/ikev2/wire/header.ts";
import { encodeClearMessage, notify } from "../../../common/ikev2/wire/message.ts";
import { NotifyType } from "../../../common/ikev2/wire/payloads/notify.ts";
import { DELAY, exchangeOf, GATEWAY, gatewayWith, Network } from "./support/network.ts";

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

it("a gateway that died may send with the keys of before until it hears with others: the home is told so", () => {
  const deleted = (network: Network) =>
    network.seen.home.filter(({ kind }) => kind === "child-deleted");
  const network = new Network().start().run(2_000);
  const [spi] = network.children.home.keys();
  network.tell({ kind: "reauthenticate" });
  network.run(2_000);
  expect(deleted(network)).toEqual([{ kind: "child-deleted", spi }]);

  const [next] = network.children.home.keys();
  network.gateway = gatewayWith({ seed: 5 });
  network.tell({ kind: "probe" });
  network.run(2_000);
  expect(deleted(network).slice(1)).toEqual([{ kind: "child-deleted", spi: next, unagreed: true }]);
});

describe("a gateway that dies between its two answers", () => {
  /** It has agreed to an IKE SA that the home now wants to prove itself in. */
  function diesHavingAnswered(network: Network): void {
    network.fault = ({ from, message }) =>
      from === "gateway" && exchangeOf(message).startsWith("IKE_AUTH") ? [] : undefined;
    network.run(100);
    network.fault = () => undefined;
    network.gateway = gatewayWith({ seed: 5 });
    network.children.gateway.clear();
  }

  it("is found again in a second by a home that had nothing yet", () => {
    const network = new Network().start();
    diesHavingAnswered(network);
    network.run(1_000);
    expect(network.established).toEqual({ home: 1, gateway: 1 });
    expectSameKeys(network);
  });

  it("and by one that had found out that it died before", () => {
    const network = new Network().start().run(2_000);
    network.carriesPackets = false;
    network.gateway = gatewayWith({ seed: 4 });
    network.tell({ kind: "probe" });
    diesHavingAnswered(network);
    network.run(1_000);
    expectSameKeys(network);
  });

  it("leaves nothing of what it had agreed to", () => {
    const network = new Network().start();
    diesHavingAnswered(network);
    network.run(120_000);
    expect(network.established).toEqual({ home: 1, gateway: 1 });
    expect(network.home.deadline).toBeUndefined();
  });
});

describe("a stranger who says in the gateway's name that it knows no such IKE SA", () => {
  /** Before the gateway's answer to IKE_AUTH comes. */
  function says(network: Network): void {
    const { message } = network.sent.at(-1) ?? expect.fail("nothing was sent");
    const header = { ...decodeIkeHeader(message), fromInitiator: false, response: true };
    network.tell({
      kind: "message",
      message: encodeClearMessage(header, [notify(NotifyType.invalidIkeSpi)]),
      path: { local: network.homeAddress, remote: GATEWAY },
      encapsulated: false,
      wallTime: 0,
    });
  }

  it("does not keep the home from its keys", () => {
    const network = new Network().start().run(2 * DELAY + 1);
    says(network);
    network.run(1_000);
    expect(network.established).toEqual({ home: 1, gateway: 1 });
    expectSameKeys(network);
  });

  it("makes it begin anew only so often", () => {
    const network = new Network().start();
    network.fault = ({ message }) => (exchangeOf(message).startsWith("IKE_AUTH") ? [] : undefined);
    for (let ms = 0; ms < 10_000; ms += 5) {
      network.run(5);
      if (exchangeOf(network.sent.at(-1)?.message ?? new Uint8Array(0)).startsWith("IKE_AUTH")) {
        says(network);
      }
    }
    const begun = network.sent.filter(
      ({ from, message }) => from === "home" && exchangeOf(message) === "IKE_SA_INIT request",
    );
    expect(begun.length).toBeLessThanOrEqual(1 + 5 + 10 / 2);
  });
});

describe("INVALID_SPI, outside of any IKE SA", () => {
  function hears(network: Network, message: Uint8Array, remote = GATEWAY): void {
    const path = { local: network.homeAddress, remote };
    network.tell({ kind: "message", message, path, encapsulated: false, wallTime: 0 });
  }

  const spiOfHome = (network: Network) =>
    [...network.children.home.values()].at(-1)?.outbound.spi ?? expect.fail("no SAs");

  const requests = (network: Network) =>
    network.sent.filter(
      ({ from, message }) => from === "home" && exchangeOf(message) === "INFORMATIONAL request",
    ).length;

  it("is as RFC 7296 section 1.5 has it", () => {
    // Zero SPIs; next payload 41 (N), version 2.0, exchange 37, flag I, message ID 0, 40 octets; then a Notify payload
    // of 12 octets: no protocol, no SPI, type 11, and the SPI as its data.
    expect(Buffer.from(encodeInvalidSpi(0x89abcdef)).toString("hex")).toBe(
      `${"00".repeat(16)}29202508${"00000000"}00000028${"0000000c"}0000000b89abcdef`,
    );
  });

  it("brings a home to a gateway that has begun anew, without waiting for its packets to be missed", () => {
    const network = new Network().start().run(2_000);
    const spi = spiOfHome(network);
    network.carriesPackets = false;
    network.gateway = gatewayWith({ seed: 5 });
    network.children.gateway.clear();
    hears(network, encodeInvalidSpi(spi));
    network.run(12 * DELAY);
    expectSameKeys(network);
    expect(spiOfHome(network)).not.toBe(spi);
  });

  it("changes nothing while the gateway is as it was", () => {
    const network = new Network().start().run(2_000);
    const spi = spiOfHome(network);
    hears(network, encodeInvalidSpi(spi));
    network.run(10_000);
    expect(requests(network)).toBe(1);
    expect(network.established).toEqual({ home: 1, gateway: 1 });
    expect(spiOfHome(network)).toBe(spi);
  });

  it.each([
    ["of another SPI", (spi: number) => encodeInvalidSpi(spi ^ 1), GATEWAY],
    [
      "from elsewhere",
      encodeInvalidSpi,
      { ...GATEWAY, address: "192.0.2.66" as typeof GATEWAY.address },
    ],
    ["that is cut off", (spi: number) => encodeInvalidSpi(spi).subarray(0, 39), GATEWAY],
  ])("%s is nothing to a home", (_, make, remote) => {
    const network = new Network().start().run(2_000);
    hears(network, make(spiOfHome(network)), remote);
    network.run(10_000);
    expect(requests(network)).toBe(0);
  });

  it("makes a home ask only so often, whoever says it", () => {
    const network = new Network().start().run(2_000);
    const spi = spiOfHome(network);
    for (let ms = 0; ms < 10_000; ms += 50) {
      hears(network, encodeInvalidSpi(spi));
      network.run(50);
    }
    expect(requests(network)).toBeLessThanOrEqual(5 + 10 / 2 + 1);
  });
});
