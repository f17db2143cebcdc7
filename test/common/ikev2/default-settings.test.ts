import { expect, it } from "vitest";
import { DEFAULT_SETTINGS, settingsOf } from "../../../common/ikev2/default-settings.ts";
import { childProposals } from "../../../common/ikev2/proposals.ts";
import { exchangeOf, Network, readWith } from "./support/network.ts";

const usual = { suites: undefined, groups: undefined, probeIntervalMs: 0, ikeLifetimeMs: 0 };

it("is as usual when nobody chooses", () => {
  expect(settingsOf({ ...usual, ikeLifetimeMs: DEFAULT_SETTINGS.ikeLifetimeMs })).toEqual(
    DEFAULT_SETTINGS,
  );
});

it("has every chosen suite with every chosen group, the preferred first", () => {
  const suites = ["aes-gcm-128", "aes-gcm-256"] as const;
  const { ikeSuites, childSuites } = settingsOf({
    ...usual,
    suites,
    groups: ["ecp-256", "x25519"],
  });
  const wanted = [
    ["aes-gcm-128", "ecp-256"],
    ["aes-gcm-128", "x25519"],
    ["aes-gcm-256", "ecp-256"],
    ["aes-gcm-256", "x25519"],
  ];
  expect(ikeSuites.map(({ encryption, group }) => [encryption, group])).toEqual(wanted);
  expect(childSuites.map(({ suite, group }) => [suite, group])).toEqual([
    ...wanted,
    ["aes-gcm-128", undefined],
    ["aes-gcm-256", undefined],
  ]);
});

it("offers a suite once in IKE_AUTH, where there are no groups", () => {
  const { childSuites } = settingsOf({ ...usual, suites: ["aes-gcm-128", "aes-gcm-256"] });
  expect(childProposals(childSuites, 0x1234, { withGroups: false })).toHaveLength(2);
  expect(childProposals(childSuites, 0x1234, { withGroups: true })).toHaveLength(8);
});

it("lets two ends meet that share one suite and one group, also when keys are renewed", () => {
  const homeSettings = settingsOf({
    ...usual,
    suites: ["aes-gcm-256", "aes-cbc-256-hmac-sha2-256-128"],
    groups: ["x25519", "modp-2048"],
  });
  const gatewaySettings = settingsOf({
    ...usual,
    suites: ["aes-gcm-128", "aes-cbc-256-hmac-sha2-256-128"],
    groups: ["ecp-256", "modp-2048"],
  });
  const network = new Network({ homeSettings, gatewaySettings }).start().run(5_000);
  expect(network.established).toEqual({ home: 1, gateway: 1 });
  const { spi, suite } = network.childOf("home").inbound;
  expect(suite).toBe("aes-cbc-256-hmac-sha2-256-128");
  network.tell({ kind: "rekey-child", spi });
  network.run(5_000);
  expect(network.childOf("home").inbound.spi).not.toBe(spi);
  expect(network.lost).toEqual([]);
});

it.each(["home", "gateway"] as const)(
  "renews keys by the %s's wish also when the other end does without a group for ESP",
  (end) => {
    const ours = settingsOf({ ...usual, groups: ["x25519"] });
    const plain = {
      ...ours,
      childSuites: ours.childSuites.filter(({ group }) => group === undefined),
    };
    const network = new Network({ homeSettings: ours, gatewaySettings: plain });
    network.start().run(5_000);
    const { spi } = network.childOf(end).inbound;
    if (end === "home") network.tell({ kind: "rekey-child", spi });
    else network.tellGateway({ kind: "rekey-child", spi });
    network.run(5_000);
    expect(network.childOf(end).inbound.spi).not.toBe(spi);
    expect(network.established).toEqual({ home: 1, gateway: 1 });
    expect(network.lost).toEqual([]);
  },
);

it("agrees on a group for ESP whenever both ends can", () => {
  const settings = { ...DEFAULT_SETTINGS, revealKeys: true };
  const network = new Network({ homeSettings: settings, gatewaySettings: settings });
  network.start().run(5_000);
  const { spi } = network.childOf("home").inbound;
  network.tell({ kind: "rekey-child", spi });
  network.run(5_000);
  const rekeys = network.sent.filter(({ message }) =>
    exchangeOf(message).startsWith("CREATE_CHILD_SA"),
  );
  const kinds = rekeys.map(({ message }) => readWith(network, message).map(({ kind }) => kind));
  expect(kinds).toEqual([expect.arrayContaining(["KE"]), expect.arrayContaining(["KE"])]);
});
