import { expect, it } from "vitest";
import type { HomeView } from "../../../client/home-view.ts";
import { ExportedLan } from "../../../client/lan/exported-lan.ts";
import { SystemError } from "../../../common/errors.ts";
import { formatIpv6Prefix, type Ipv6Prefix, parseIpv6Prefix } from "../../../common/ip/address.ts";
import { silentLog } from "../../../common/runtime/log.ts";
import { VirtualClock } from "../../support/virtual-clock.ts";

const viewOf = (...prefixes: string[]): HomeView => ({
  confirmed: true,
  address: undefined,
  mtu: 1_422,
  prefixes: prefixes.map(parseIpv6Prefix),
  confirmedInMs: undefined,
});

/** A LAN on `eth1` that another daemon looks after, what was written, and what is unreachable. */
function openLan() {
  const written: string[] = [];
  const guarded = new Set<string>();
  const disk = { isFull: false };
  const each = async (prefixes: readonly Ipv6Prefix[], work: (text: string) => unknown) =>
    prefixes.map(formatIpv6Prefix).forEach(work);
  const lan = new ExportedLan({
    config: { mode: "export", interfaces: ["eth1"], dns: [], deadAfterMs: 0, exportFile: "/x" },
    tunnelAddress: undefined,
    clock: new VirtualClock(),
    links: {
      configure: async () => undefined,
      release: async () => undefined,
      guard: (prefixes) => each(prefixes, (text) => guarded.add(text)),
      unguard: (prefixes) => each(prefixes, (text) => guarded.delete(text)),
    },
    enableForwarding: () => false,
    write: (text) => {
      if (disk.isFull) throw new SystemError("write /x", "ENOSPC");
      written.push(text);
    },
    log: silentLog(),
  });
  return { lan, written, guarded, disk };
}

it("prefixes that the server gives later are guarded as those at the start, others no longer", async () => {
  const { lan, guarded } = openLan();
  await lan.open(viewOf());
  expect(lan.status().interfaces).toMatchObject([{ state: "unassigned" }]);
  lan.follow(viewOf("2001:db8:a::/56"));
  await new Promise(setImmediate);
  expect([...guarded]).toEqual(["2001:db8:a::/56"]);
  lan.follow(viewOf("2001:db8:b::/72"));
  await new Promise(setImmediate);
  expect([...guarded]).toEqual(["2001:db8:b::/72"]);
  expect(lan.status().interfaces).toMatchObject([{ state: "no-prefix" }]);
  await lan.close();
  expect([...guarded]).toEqual([]);
});

it("what could not be written is written as soon as it can be", async () => {
  const { lan, written, disk } = openLan();
  await lan.open(viewOf());
  disk.isFull = true;
  lan.follow(viewOf("2001:db8:a::/56"));
  disk.isFull = false;
  lan.follow(viewOf("2001:db8:a::/56"));
  expect(written.at(-1)).toContain("2001:db8:a:1::/64");
  await lan.close();
});
