import { describe, expect, it } from "vitest";
import { HomeFirewall, type NftOutcome } from "../../../client/firewall/firewall.ts";
import { parseOpenPort } from "../../../client/firewall/open-port.ts";
import { firewallRuleset, firewallTable } from "../../../client/firewall/ruleset.ts";
import { SystemError } from "../../../common/errors.ts";
import { openLog } from "../../../common/runtime/log.ts";

const GOOD: NftOutcome = { status: 0, stderr: "" };

const setUp = (enabled: boolean, options: { marked?: string; outcome?: NftOutcome } = {}) => {
  const loaded: string[] = [];
  const state = { marked: options.marked, damaged: 0 };
  const firewall = new HomeFirewall({
    config: { enabled, open: [] },
    interfaceName: "ht0",
    nft: (text) => {
      loaded.push(text);
      return Promise.resolve(options.outcome ?? GOOD);
    },
    marker: {
      read: () => state.marked,
      write: (name) => {
        state.marked = name;
      },
      remove: () => {
        state.marked = undefined;
      },
      damaged: () => {
        state.damaged += 1;
      },
    },
    log: openLog({ level: "error", format: "json" }),
  });
  return { firewall, loaded, state };
};

describe("the home's firewall", () => {
  it("is put up whole, and remembered", async () => {
    const { firewall, loaded, state } = setUp(true, { marked: "ht0" });
    await firewall.open();
    expect(loaded).toEqual([firewallRuleset({ interfaceName: "ht0", open: [] })]);
    expect(state.marked).toBe("ht0");
  });

  it("of an interface that was renamed is taken down first", async () => {
    const { firewall, loaded, state } = setUp(true, { marked: "ht7" });
    await firewall.open();
    expect(loaded).toEqual([
      "table inet hometun-ht7 {}\ndelete table inet hometun-ht7\n",
      firewallRuleset({ interfaceName: "ht0", open: [] }),
    ]);
    expect(state.marked).toBe("ht0");
  });

  it.each([true, false])(
    "whose mark is damaged is taken for that of the present name: %j",
    async (enabled) => {
      const { firewall, loaded, state } = setUp(enabled, { marked: "\0\0\0 { }" });
      await firewall.open();
      expect(loaded).toEqual([
        enabled
          ? firewallRuleset({ interfaceName: "ht0", open: [] })
          : "table inet hometun {}\ndelete table inet hometun\n",
      ]);
      expect(state).toEqual({ marked: enabled ? "ht0" : undefined, damaged: 1 });
    },
  );

  it("touches nothing when it is off", async () => {
    const { firewall, loaded } = setUp(false);
    await firewall.open();
    expect(loaded).toEqual([]);
  });

  it.each(["ht0", ""])("that is switched off is taken down: %j", async (marked) => {
    const { firewall, loaded, state } = setUp(false, { marked });
    await firewall.open();
    expect(loaded).toEqual(["table inet hometun {}\ndelete table inet hometun\n"]);
    expect(state.marked).toBeUndefined();
  });

  it("that nft refuses fails with nft's own words", async () => {
    const outcome = { status: 1, stderr: "Error: Could not process rule: Operation not permitted" };
    const { firewall, loaded } = setUp(true, { outcome });
    await expect(firewall.open()).rejects.toThrow(/Operation not permitted; or set firewall/);
    expect(loaded).toHaveLength(1);
  });

  it("without nft says which package to install", async () => {
    const firewall = new HomeFirewall({
      config: { enabled: true, open: [] },
      interfaceName: "ht0",
      nft: () => Promise.reject(new SystemError("run nft", "ENOENT")),
      marker: {
        read: () => undefined,
        write: () => undefined,
        remove: () => undefined,
        damaged: () => undefined,
      },
      log: openLog({ level: "error", format: "json" }),
    });
    await expect(firewall.open()).rejects.toThrow(
      "cannot install the firewall: ENOENT (nft is missing: install the package nftables, or set firewall = false)",
    );
  });
});

describe("the ruleset", () => {
  it("has one line for each open port", () => {
    const open = ["tcp 2001:db8:a:1::10 443,8000-8010", "esp 2001:db8:a:1::/64"].flatMap(
      (text) => parseOpenPort(text) ?? [],
    );
    const text = firewallRuleset({ interfaceName: "ht0", open });
    expect(text).toContain(
      "\n    ip6 daddr 2001:db8:a:1::10 tcp dport { 443, 8000-8010 } accept\n",
    );
    expect(text).toContain("\n    ip6 daddr 2001:db8:a:1::/64 meta l4proto esp accept\n");
  });

  it("of another tunnel stands in a table of its own", () => {
    expect([firewallTable("ht0"), firewallTable("ht1")]).toEqual(["hometun", "hometun-ht1"]);
  });
});
