import { describe, expect, it, test } from "vitest";
import { parseOpenPort } from "../../../client/firewall/open-port.ts";
import {
  describeFirewall,
  describeLan,
  firewallStatus,
  type LanInterfaceStatus,
} from "../../../client/lan/lan-status.ts";
import { PLAIN } from "../../../common/text/style.ts";

const lan = (...interfaces: LanInterfaceStatus[]) =>
  describeLan({ mode: "built-in", interfaces }, PLAIN).map((fact) => fact.join(" ").trim());

describe("the LAN's lines in the status", () => {
  const prefix = "2001:db8:a:1::/64";
  test.each<LanInterfaceStatus & { line: string }>([
    {
      interface: "eth1",
      prefix,
      state: "advertising",
      line: "eth1 2001:db8:a:1::/64, hosts are told",
    },
    {
      interface: "eth1",
      prefix: undefined,
      state: "unassigned",
      line: "eth1, no prefix from the server yet",
    },
    {
      interface: "eth1",
      prefix: undefined,
      state: "no-prefix",
      line: "eth1, the home has no /64 for it",
    },
    {
      interface: "eth1",
      prefix,
      state: "failing",
      trouble: "cannot configure the LAN interface eth1: EPERM",
      line: "eth1 2001:db8:a:1::/64, cannot configure the LAN interface eth1: EPERM",
    },
  ])("say how each is: $state", ({ line, ...status }) => {
    expect(lan(status)).toEqual([`LAN ${line}`]);
  });

  it("name the file that others read", () => {
    const status = { mode: "export", interfaces: [], exportFile: "/run/hometun/lan.json" } as const;
    expect(describeLan(status, PLAIN)).toEqual([["LAN", "by /run/hometun/lan.json"]]);
  });
});

describe("the firewall's lines in the status", () => {
  const open = (...texts: string[]) => texts.flatMap((text) => parseOpenPort(text) ?? []);

  it("show the open ports as users write them", () => {
    const ports = open("tcp 2001:db8:a:1::10 443,8000-8010", "esp 2001:db8:a:1::/64");
    expect(describeFirewall(firewallStatus({ enabled: true, open: ports }))).toEqual([
      ["Firewall", "on, open: tcp 2001:db8:a:1::10 443,8000-8010"],
      ["", "          esp 2001:db8:a:1::/64"],
    ]);
  });

  it("say whether nobody or everybody gets in", () => {
    const said = (enabled: boolean) => describeFirewall(firewallStatus({ enabled, open: [] }));
    expect(said(true)).toEqual([["Firewall", "on: nobody gets in unasked"]]);
    expect(said(false)).toEqual([["Firewall", "off: whoever is behind the tunnel can be reached"]]);
  });
});
