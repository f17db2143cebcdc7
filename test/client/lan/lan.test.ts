import { expect, it } from "vitest";
import type { HomeView } from "../../../client/home-view.ts";
import { BuiltInLan } from "../../../client/lan/lan.ts";
import { SystemError } from "../../../common/errors.ts";
import type { Ipv6Address } from "../../../common/ip/address.ts";
import { silentLog } from "../../../common/runtime/log.ts";
import { VirtualClock } from "../../support/virtual-clock.ts";

const view: HomeView = {
  confirmed: false,
  address: undefined,
  mtu: 1_422,
  prefixes: [{ address: "2001:db8:a::" as Ipv6Address, length: 56 }],
  confirmedInMs: undefined,
};

/** A LAN on `eth1`, and what is done to the interface. */
function openLan() {
  const done: string[] = [];
  const kernel = { isBusy: false };
  const clock = new VirtualClock();
  let hint = () => {};
  const lan = new BuiltInLan({
    config: { mode: "built-in", interfaces: ["eth1"], dns: [], deadAfterMs: 0, exportFile: "" },
    tunnelAddress: undefined,
    clock,
    links: {
      configure: async () => {
        if (kernel.isBusy) throw new SystemError("configure the LAN interface eth1", "ETIMEDOUT");
        return {
          interfaceIndex: 2,
          linkLayerAddress: Uint8Array.of(2, 0, 0, 0, 0, 1),
          usable: true,
        };
      },
      release: async () => void done.push("released"),
      guard: async () => undefined,
      unguard: async () => undefined,
    },
    openRouter: () => ({
      send: () => done.push("sent"),
      flushed: async () => undefined,
      close: () => done.push("closed"),
    }),
    subscribe: (onHint) => {
      hint = onHint;
      return { close: () => undefined };
    },
    enableForwarding: () => false,
    random: () => 0.5,
    memory: { read: () => undefined, write: () => true, damaged: () => undefined },
    log: silentLog(),
  });
  return { lan, done, clock, kernel, hint: () => hint() };
}

it("an interface that turns out to be the uplink is let go, and never told anything", async () => {
  const { lan, done, clock } = openLan();
  await lan.open(view);
  lan.follow({ ...view, ispInterface: "eth1" });
  lan.follow({ ...view, ispInterface: "eth1", confirmed: true });
  expect(lan.status().interfaces).toMatchObject([{ interface: "eth1", state: "uplink" }]);
  await new Promise(setImmediate);
  clock.advanceTo(60_000);
  expect(done).toEqual(["closed", "released"]);
  lan.follow({ ...view, ispInterface: "eth0", confirmed: true });
  await new Promise(setImmediate);
  expect(lan.status().interfaces).toMatchObject([{ state: "advertising" }]);
  clock.advanceTo(120_000);
  expect(done).toContain("sent");
  await lan.close();
});

it("no prefix from the server yet is no small prefix", async () => {
  const { lan } = openLan();
  await lan.open({ ...view, prefixes: [] });
  expect(lan.status().interfaces).toMatchObject([{ state: "unassigned" }]);
  lan.follow({ ...view, prefixes: [{ address: "2001:db8:a::" as Ipv6Address, length: 72 }] });
  expect(lan.status().interfaces).toMatchObject([{ state: "no-prefix" }]);
  await lan.close();
});

it("an interface that could not be used is tried again, though nobody says that it is another", async () => {
  const { lan, kernel, hint, done, clock } = openLan();
  await lan.open({ ...view, confirmed: true });
  kernel.isBusy = true;
  hint();
  await new Promise(setImmediate);
  expect(lan.status().interfaces).toMatchObject([{ state: "failing" }]);
  kernel.isBusy = false;
  clock.advanceTo(1_000);
  lan.follow({ ...view, confirmed: true });
  await new Promise(setImmediate);
  expect(lan.status().interfaces).toMatchObject([{ state: "advertising" }]);
  clock.advanceTo(10_000);
  expect(done).toContain("sent");
  await lan.close();
});
