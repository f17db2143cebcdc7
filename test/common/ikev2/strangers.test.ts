/** What a gateway answers to messages that belong to no IKE SA of its, and to which it does not. */

import { describe, expect, it } from "vitest";
import { parseIpv4 } from "../../../common/ip/address.ts";
import type { Instant } from "../../../common/time.ts";
import { GATEWAY, gatewayWith } from "./support/network.ts";

const STRANGER = { address: parseIpv4("203.0.113.66"), port: 500 };
const SPIS = "0102030405060708 1112131415161718";

const octets = (text: string) => new Uint8Array(Buffer.from(text.replaceAll(" ", ""), "hex"));

function answersTo(message: Uint8Array, gateway = gatewayWith()): string[] {
  const path = { local: GATEWAY, remote: STRANGER };
  const input = { kind: "message", message, path, encapsulated: false, wallTime: 0 } as const;
  return gateway
    .handle(input, 0 as Instant)
    .flatMap((effect) =>
      effect.kind === "send" ? Buffer.from(effect.message).toString("hex") : [],
    );
}

describe("a gateway that hears from a stranger", () => {
  it.each([
    // Header: SPIs, next payload, version, exchange, flags, message ID, length; then a Notify payload without data.
    {
      name: "an unknown IKE SA with INVALID_IKE_SPI",
      request: `${SPIS} 00 20 25 08 00000007 0000001c`,
      answer: `${SPIS} 29 20 25 20 00000007 00000024 00000008 0000 0004`,
    },
    {
      name: "a later version with INVALID_MAJOR_VERSION, in ours",
      request: `${SPIS} 00 30 25 08 00000007 0000001c`,
      answer: `${SPIS} 29 20 25 20 00000007 00000024 00000008 0000 0005`,
    },
    {
      name: "IKE_SA_INIT of a later version in the same way",
      request: `0102030405060708 0000000000000000 21 40 22 08 00000000 0000001c`,
      answer: `0102030405060708 0000000000000000 29 20 22 20 00000000 00000024 00000008 0000 0005`,
    },
  ])("answers $name", ({ request, answer }) => {
    expect(answersTo(octets(request))).toEqual([answer.replaceAll(" ", "")]);
  });

  it.each([
    ["a response", `${SPIS} 00 20 25 20 00000007 0000001c`],
    ["a response of a later version", `${SPIS} 00 30 25 28 00000007 0000001c`],
    ["IKEv1", `${SPIS} 01 10 02 00 00000000 0000001c`],
    ["what is cut off", `${SPIS} 00 30 25 08 000000`],
    ["what is longer than it says", `${SPIS} 00 30 25 08 00000007 0000001c 00`],
  ])("does not answer %s", (_, message) => {
    expect(answersTo(octets(message))).toEqual([]);
  });

  it("answers only so many", () => {
    const gateway = gatewayWith();
    let answers = 0;
    for (let count = 0; count < 1_000; count++) {
      const version = count % 2 === 0 ? "20" : "30";
      const message = octets(`${SPIS} 00 ${version} 25 08 00000007 0000001c`);
      answers += answersTo(message, gateway).length;
    }
    expect(answers).toBe(500);
  });
});
