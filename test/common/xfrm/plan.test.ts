import { describe, expect, it, test } from "vitest";
import {
  type Ipv4Address,
  type Ipv6Address,
  parseIpv4,
  parseIpv6Prefix,
} from "../../../common/ip/address.ts";
import type { TunnelName, TunnelSpec } from "../../../common/tunnel/tunnel.ts";
import {
  chooseInterfaceId,
  interfaceIdOf,
  isMulticastRequestId,
  isOwnedBy,
  multicastRequestId,
} from "../../../common/xfrm/interface-id.ts";
import { planMove, succeededStates } from "../../../common/xfrm/move.ts";
import { planXfrm, SEQUENCE_SKIP } from "../../../common/xfrm/plan.ts";
import type { PresentState, XfrmState } from "../../../common/xfrm/state-message.ts";
import {
  type Attachment,
  negotiatedXfrm,
  nowhere,
  stateKeys,
  type WantedXfrm,
  type XfrmTunnel,
  xfrmTunnel,
} from "../../../common/xfrm/tunnel-xfrm.ts";

const server = parseIpv4("198.51.100.1");
const oldHome = parseIpv4("192.0.2.7");
const newHome = parseIpv4("192.0.2.8");
const everything = parseIpv6Prefix("::/0");
const alicePrefix = parseIpv6Prefix("2001:db8:a::/48");

function keys(spi: number, octet = spi) {
  return {
    spi,
    suite: "aes-gcm-128",
    encryptionKey: new Uint8Array(16).fill(octet),
    companion: new Uint8Array(4).fill(octet),
    extendedSequenceNumbers: true,
  } as const;
}

/** The server's end of a home's tunnel. */
const atServer: TunnelSpec = {
  name: "alice" as TunnelName,
  interfaceName: "ht-alice",
  encapsulation: "esp",
  localAddresses: ["fe80::5" as Ipv6Address],
  peerLinkLocal: "fe80::c" as Ipv6Address,
  remotePrefixes: [alicePrefix],
  localPrefixes: [everything],
  routes: [alicePrefix],
  mtu: 1446,
  clampMss: false,
  outbound: keys(0x2001),
  inbound: keys(0x1001),
};
const atHome: TunnelSpec = {
  ...atServer,
  localAddresses: ["fe80::c" as Ipv6Address, "2001:db8:a::1" as Ipv6Address],
  peerLinkLocal: "fe80::5" as Ipv6Address,
  remotePrefixes: [everything],
  localPrefixes: [alicePrefix],
  outbound: keys(0x1001),
  inbound: keys(0x2001),
};
const serverEnd: Attachment = {
  interfaceId: 0x7300_0011,
  local: { address: server, fixed: true },
  remote: { address: oldHome, port: 4500 },
  sending: "open",
};
const homeEnd: Attachment = {
  interfaceId: 0x6800_0011,
  local: { address: oldHome, fixed: false },
  remote: { address: server, port: 4500 },
  sending: "open",
};

/** As the kernel would tell it. */
function standing(state: XfrmState, counters: { sent?: number; received?: number } = {}) {
  const { replay } = state;
  return {
    ...state,
    replay: replay && { ...replay, sent: counters.sent ?? 0, received: counters.received ?? 0 },
    current: { octets: 1000, packets: 10, addedAt: 1, usedAt: 2 },
    failures: { tooOld: 0, replayed: 0, notAuthentic: 0 },
  } satisfies PresentState;
}

function present({ outbound, inbound, policies }: XfrmTunnel) {
  return { states: [standing(outbound, { sent: 10 }), standing(inbound)], policies };
}

const kinds = (operations: readonly { kind: string }[]) => operations.map(({ kind }) => kind);

function said(tunnel: WantedXfrm): string[] {
  return tunnel.policies.map(({ direction, action, priority, selector, templates }) => {
    const { source, sourceLength, destination, destinationLength, protocol } = selector;
    const by = templates.map((each) => `${each.source}>${each.destination}`).join();
    const what = protocol === 0 ? "" : ` protocol ${protocol}`;
    return `${direction} ${priority} ${action} ${source}/${sourceLength} > ${destination}/${destinationLength}${what} ${by}`.trim();
  });
}

describe("a tunnel in the kernel", () => {
  it("pins a home's inner source on the server, and takes its ESP from anywhere", () => {
    const tunnel = xfrmTunnel(atServer, serverEnd);
    expect(tunnel.inbound).toMatchObject({ source: "0.0.0.0", destination: server });
    expect(tunnel.outbound).toMatchObject({ source: server, destination: oldHome });
    expect(said(tunnel)).toEqual([
      "out 30 allow ::/0 > ::/0 198.51.100.1>192.0.2.7",
      "in 10 allow fe80::c/128 > ::/0 0.0.0.0>0.0.0.0",
      "in 30 allow 2001:db8:a::/48 > ::/0 0.0.0.0>0.0.0.0",
      "forward 30 allow 2001:db8:a::/48 > ::/0 0.0.0.0>0.0.0.0",
    ]);
  });

  it("lets nothing out of a home but its own, and nothing in that claims to be", () => {
    expect(said(xfrmTunnel(atHome, homeEnd))).toEqual([
      "out 30 allow fe80::c/128 > ::/0 192.0.2.7>198.51.100.1",
      "out 30 allow 2001:db8:a::/48 > ::/0 192.0.2.7>198.51.100.1",
      "in 10 allow fe80::5/128 > ::/0 198.51.100.1>192.0.2.7",
      "in 20 block fe80::/10 > ::/0",
      "in 20 block ::/128 > ::/0",
      "in 20 block 2001:db8:a::/48 > ::/0",
      "in 30 allow ::/0 > ::/0 0.0.0.0>0.0.0.0",
      "forward 20 block fe80::/10 > ::/0",
      "forward 20 block ::/128 > ::/0",
      "forward 20 block 2001:db8:a::/48 > ::/0",
      "forward 30 allow ::/0 > 2001:db8:a::/48 0.0.0.0>0.0.0.0",
    ]);
  });

  it("sends nothing before it knows where to", () => {
    const tunnel = xfrmTunnel(atServer, { ...serverEnd, remote: undefined });
    expect(tunnel.outbound.destination).toBe("0.0.0.17");
    expect(said(tunnel)[0]).toBe("out 30 block ::/0 > ::/0 198.51.100.1>0.0.0.17");
  });

  it("tells its ends apart where neither is known yet", () => {
    const nobody = { ...homeEnd, local: { address: undefined, fixed: false }, remote: undefined };
    const { outbound, inbound } = xfrmTunnel(atHome, nobody);
    expect(outbound.source).not.toBe(outbound.destination);
    expect(inbound).toMatchObject({ source: outbound.destination, destination: outbound.source });
  });

  it("sends a held home nothing but ICMPv6 of the link", () => {
    expect(said(xfrmTunnel(atServer, { ...serverEnd, sending: "probes-only" }))).toEqual(
      expect.arrayContaining([
        "out 30 block ::/0 > ::/0 198.51.100.1>192.0.2.7",
        "out 10 allow fe80::5/128 > fe80::c/128 protocol 58 198.51.100.1>192.0.2.7",
      ]),
    );
  });

  it("lets outer packets be cut only where inner ones cannot be made smaller", () => {
    expect(xfrmTunnel(atServer, serverEnd).outbound.flags).toBe(128);
    expect(xfrmTunnel({ ...atServer, mtu: 1280 }, serverEnd).outbound.flags).toBe(128 | 4);
  });
});

describe("the plan", () => {
  const wanted = xfrmTunnel(atServer, serverEnd);

  it("does nothing where all stands, whatever was sent and received", () => {
    expect(planXfrm(present(wanted), [wanted])).toEqual([]);
  });

  it("makes blocking policies, then states, then what lets packets out", () => {
    const home = xfrmTunnel(atHome, homeEnd);
    const operations = planXfrm({ states: [], policies: [] }, [home]);
    const order = operations.map((step) =>
      step.kind === "add-policy" ? step.policy.action : step.kind,
    );
    expect([...new Set(order)]).toEqual(["block", "add-state", "allow"]);
    expect(operations).toHaveLength(2 + home.policies.length);
  });

  it("removes what is not wanted, policies before the states they need", () => {
    expect(kinds(planXfrm(present(wanted), []))).toEqual([
      ...wanted.policies.map(() => "delete-policy"),
      "delete-state",
      "delete-state",
    ]);
  });

  it("keeps a state's numbers when anything else of it changes", () => {
    const moved = xfrmTunnel(atServer, { ...serverEnd, remote: { address: newHome, port: 4500 } });
    const operations = planXfrm(present(wanted), [moved]);
    expect(kinds(operations)).toEqual(["delete-state", "add-state", "update-policy"]);
    expect(operations[1]).toMatchObject({
      state: {
        destination: newHome,
        replay: { sent: 10 + SEQUENCE_SKIP },
        current: { packets: 10 },
      },
    });
  });

  it("changes the ports of ESP in UDP in place", () => {
    const inUdp: TunnelSpec = { ...atServer, encapsulation: "udp" };
    const before = xfrmTunnel(inUdp, serverEnd);
    const after = xfrmTunnel(inUdp, { ...serverEnd, remote: { address: oldHome, port: 30_003 } });
    const operations = planXfrm(present(before), [after]);
    expect(operations).toMatchObject([
      {
        kind: "update-state",
        state: { encapsulation: { sourcePort: 4500, destinationPort: 30_003 } },
      },
      {
        kind: "update-state",
        state: { encapsulation: { sourcePort: 30_003, destinationPort: 4500 } },
      },
    ]);
  });

  it("never gives other keys the numbers of old ones", () => {
    const rekeyed = xfrmTunnel({ ...atServer, outbound: keys(0x2001, 7) }, serverEnd);
    const operations = planXfrm(present(wanted), [rekeyed]);
    expect(kinds(operations)).toEqual(["delete-state", "add-state"]);
    expect(operations[1]).toMatchObject({ state: { replay: { sent: 0 } } });
  });

  it("changes a policy in place", () => {
    const held = xfrmTunnel(atServer, { ...serverEnd, remote: undefined });
    const policies = planXfrm({ ...present(wanted), states: [] }, [
      { ...held, ...wanted, policies: held.policies },
    ]).filter(({ kind }) => kind.endsWith("policy"));
    expect(kinds(policies)).toEqual(["update-policy"]);
  });
});

describe("a move", () => {
  const inUdp: TunnelSpec = { ...atServer, encapsulation: "udp" };

  /** Of a tunnel that has sent 10 packets. */
  function move(spec: TunnelSpec, from: Attachment, to: Partial<Attachment>) {
    const before = xfrmTunnel(spec, from);
    const after = xfrmTunnel(spec, { ...from, ...to });
    return planMove(before, after, [standing(before.outbound, { sent: 10 })]);
  }

  it("on the server leaves no packet without a state, and goes on above all numbers", () => {
    const [added, turned, deleted, ...rest] = move(atServer, serverEnd, {
      remote: { address: newHome, port: 4500 },
    });
    expect(rest).toEqual([]);
    expect(added).toMatchObject({
      kind: "add-state",
      state: {
        destination: newHome,
        replay: { sent: 10 + SEQUENCE_SKIP },
        current: { packets: 10 },
      },
    });
    expect(turned).toMatchObject({
      kind: "update-policy",
      policy: { direction: "out", templates: [{ source: server, destination: newHome }] },
    });
    expect(deleted).toMatchObject({ kind: "delete-state", state: { destination: oldHome } });
  });

  it("on a home deletes what sends before its successor is made; what receives is migrated", () => {
    const operations = move(atHome, homeEnd, { local: { address: newHome, fixed: false } });
    expect(kinds(operations)).toEqual([
      "migrate",
      "delete-state",
      "add-state",
      "update-policy",
      "update-policy",
    ]);
    expect(operations[0]).toMatchObject({
      policy: { direction: "in" },
      migration: {
        from: { source: server, destination: oldHome },
        to: { source: server, destination: newHome },
        protocol: 50,
        requestId: homeEnd.interfaceId,
        mode: 1,
      },
    });
    expect(operations[2]).toMatchObject({
      state: { source: newHome, destination: server, replay: { sent: 10 + SEQUENCE_SKIP } },
    });
  });

  it("uses no number twice though nothing had been sent when the state was read", () => {
    const before = xfrmTunnel(atServer, serverEnd);
    const after = xfrmTunnel(atServer, {
      ...serverEnd,
      remote: { address: newHome, port: 4500 },
    });
    const [added] = planMove(before, after, [standing(before.outbound, { sent: 0 })]);
    expect(added).toMatchObject({ state: { replay: { sent: SEQUENCE_SKIP } } });
  });

  it("from nowhere leaves no number out: nothing was sent", () => {
    const nobody = xfrmTunnel(atServer, { ...serverEnd, remote: undefined });
    const after = xfrmTunnel(atServer, serverEnd);
    const [added] = planMove(nobody, after, [standing(nobody.outbound, { sent: 0 })]);
    expect(added).toMatchObject({ kind: "add-state", state: { replay: { sent: 0 } } });
  });

  it("to another port changes the states in place", () => {
    const operations = move(inUdp, serverEnd, { remote: { address: oldHome, port: 30_003 } });
    expect(operations).toEqual([
      expect.objectContaining({
        kind: "update-state",
        state: expect.objectContaining({
          source: "0.0.0.0",
          encapsulation: { type: 2, sourcePort: 30_003, destinationPort: 4500 },
        }),
      }),
      expect.objectContaining({
        kind: "update-state",
        state: expect.objectContaining({
          destination: oldHome,
          encapsulation: { type: 2, sourcePort: 4500, destinationPort: 30_003 },
        }),
      }),
    ]);
  });

  it("takes the port along to another address", () => {
    const operations = move(inUdp, serverEnd, { remote: { address: newHome, port: 30_003 } });
    expect(operations.find(({ kind }) => kind === "add-state")).toMatchObject({
      state: { encapsulation: { type: 2, sourcePort: 4500, destinationPort: 30_003 } },
    });
  });

  it("blocks before it moves to nowhere, and opens after it has moved from there", () => {
    const away = move(atServer, serverEnd, { remote: undefined });
    expect(kinds(away)).toEqual(["update-policy", "add-state", "delete-state"]);
    const nobody = { ...serverEnd, remote: undefined };
    const back = move(atServer, nobody, { remote: { address: newHome, port: 4500 } });
    expect(kinds(back)).toEqual(["add-state", "update-policy", "delete-state"]);
  });

  it("to be held blocks first, and opens the way for probes last", () => {
    const operations = move(atServer, serverEnd, { sending: "probes-only" });
    expect(kinds(operations)).toEqual(["update-policy", "add-policy"]);
    const held: Attachment = { ...serverEnd, sending: "probes-only" };
    const released = move(atServer, held, { sending: "open" });
    expect(kinds(released)).toEqual(["delete-policy", "update-policy"]);
  });

  it("of a held home turns both policies", () => {
    const held: Attachment = { ...serverEnd, sending: "probes-only" };
    const operations = move(atServer, held, { remote: { address: newHome, port: 4500 } });
    expect(kinds(operations)).toEqual([
      "update-policy",
      "add-state",
      "update-policy",
      "delete-state",
    ]);
  });

  it("is nothing when nothing differs", () => {
    expect(move(atHome, homeEnd, {})).toEqual([]);
  });
});

describe("interface numbers", () => {
  it("are the same for the same name, and another when that is taken", () => {
    const first = chooseInterfaceId("server", "ht-alice", new Set());
    expect(chooseInterfaceId("server", "ht-alice", new Set())).toBe(first);
    const second = chooseInterfaceId("server", "ht-alice", new Set([first]));
    expect(second).not.toBe(first);
    expect(isOwnedBy("server", second)).toBe(true);
  });

  test.each([0, 1, 0x11, 0xffff_ffff, 0x6800_0000, 0x7300_0000])(
    "%i is nobody's of ours",
    (interfaceId) => {
      expect(isOwnedBy("client", interfaceId) || isOwnedBy("server", interfaceId)).toBe(false);
    },
  );

  it("tell a home's from a server's", () => {
    const ours = chooseInterfaceId("client", "ht0", new Set());
    expect([isOwnedBy("client", ours), isOwnedBy("server", ours)]).toEqual([true, false]);
  });

  it("give every tunnel another nowhere", () => {
    const places = new Set<Ipv4Address>();
    for (let count = 1; count <= 1000; count++) places.add(nowhere(0x7300_0000 + count, "remote"));
    expect(places.size).toBe(1000);
  });
});

describe("a tunnel with a pair for multicast", () => {
  const REQUEST = 0x5300_0011; // of the interface 0x7300_0011
  const limit = { softPackets: 100, softOctets: 1_000 };
  const negotiated = (spi: number, multicast?: "inbound" | "outbound") => ({
    ...stateKeys(keys(spi)),
    encapsulation: "esp" as const,
    multicast,
    lifetime: limit,
  });
  const serverWith = (attachment: Attachment = serverEnd) =>
    negotiatedXfrm(atServer, attachment, {
      outbound: negotiated(0x2001),
      multicast: negotiated(0x2002, "outbound"),
      inbound: [negotiated(0x1001), negotiated(0x1002, "outbound")],
    });
  const homeWith = (...more: ReturnType<typeof negotiated>[]) =>
    negotiatedXfrm(atHome, homeEnd, {
      outbound: negotiated(0x1001),
      multicast: undefined,
      inbound: [negotiated(0x2001), ...more],
    });
  const ofGroups = (tunnel: WantedXfrm) => said(tunnel).filter((text) => text.includes("> ff0"));
  const requestsOf = ({ policies }: WantedXfrm) =>
    policies
      .filter(({ selector }) => selector.destination.startsWith("ff0"))
      .map(({ templates }) => templates.map(({ requestId }) => requestId));

  it("has states with a request id of their own, known by the interface all the same", () => {
    const { outbound, multicast, negotiated: inbound = [] } = serverWith();
    expect([outbound, multicast, ...inbound].map((state) => state?.requestId)).toEqual([
      ...[serverEnd.interfaceId, REQUEST],
      ...[serverEnd.interfaceId, REQUEST],
    ]);
    expect(multicastRequestId(serverEnd.interfaceId)).toBe(REQUEST);
    expect(interfaceIdOf(REQUEST)).toBe(serverEnd.interfaceId);
    expect([REQUEST, serverEnd.interfaceId].map(isMulticastRequestId)).toEqual([true, false]);
    expect(isOwnedBy("server", interfaceIdOf(REQUEST))).toBe(true);
  });

  it("sends to groups with them, before all else, at a server", () => {
    const tunnel = serverWith();
    expect(ofGroups(tunnel)).toEqual(["out 29 allow ::/0 > ff00::/8 198.51.100.1>192.0.2.7"]);
    expect(requestsOf(tunnel)).toEqual([[REQUEST]]);
  });

  it("sends nothing to groups where nothing is sent", () => {
    for (const change of [{ sending: "probes-only" }, { remote: undefined }] as const) {
      const tunnel = serverWith({ ...serverEnd, ...change });
      expect(ofGroups(tunnel)[0]).toMatch(/^out 29 block ::\/0 > ff00::\/8/);
    }
  });

  it("is needed by a home for groups wider than the link; those of the link come with any", () => {
    const without = homeWith();
    expect(ofGroups(without)).toEqual([
      "in 8 allow fe80::5/128 > ff02::/16 0.0.0.0>0.0.0.0",
      "in 28 allow ::/0 > ff02::/16 0.0.0.0>0.0.0.0",
      "in 9 block fe80::5/128 > ff00::/8",
      "in 29 block ::/0 > ff00::/8",
      "forward 29 block ::/0 > ff00::/8",
    ]);
    const having = homeWith(negotiated(0x2002, "inbound"));
    expect(ofGroups(having)).toEqual([
      "in 8 allow fe80::5/128 > ff02::/16 0.0.0.0>0.0.0.0",
      "in 28 allow ::/0 > ff02::/16 0.0.0.0>0.0.0.0",
      "in 9 allow fe80::5/128 > ff00::/8 0.0.0.0>0.0.0.0",
      "in 29 allow ::/0 > ff00::/8 0.0.0.0>0.0.0.0",
      "forward 29 allow ::/0 > ff00::/8 0.0.0.0>0.0.0.0",
    ]);
    const request = multicastRequestId(homeEnd.interfaceId);
    expect(requestsOf(having)).toEqual([[0], [0], [request], [request], [request]]);
  });

  it("moves both states that send, each above its own numbers, before the policies", () => {
    const before = serverWith();
    const after = serverWith({ ...serverEnd, remote: { address: newHome, port: 4500 } });
    const { outbound, multicast } = before;
    if (outbound === undefined || multicast === undefined) throw new Error("both are there");
    const present = [standing(multicast, { sent: 20 }), standing(outbound, { sent: 10 })];
    expect(succeededStates(before, after)).toEqual([outbound, multicast]);
    const steps = planMove(before, after, present);
    const added = steps.flatMap((step) => (step.kind === "add-state" ? [step.state] : []));
    expect(added.map(({ spi, replay }) => [spi, replay?.sent])).toEqual([
      [0x2001, 10 + SEQUENCE_SKIP],
      [0x2002, 20 + SEQUENCE_SKIP],
    ]);
    expect(kinds(steps)).toEqual([
      ...["add-state", "add-state", "update-policy", "update-policy"],
      ...["delete-state", "delete-state"],
    ]);
  });

  it("stands as it is when it is adopted, and nothing is done", () => {
    const wanted = serverWith();
    const { outbound, multicast, negotiated: inbound = [], policies } = wanted;
    const states = [outbound, multicast, ...inbound].flatMap((state) =>
      state === undefined ? [] : [standing(state)],
    );
    expect(planXfrm({ states, policies }, [wanted])).toEqual([]);
  });
});
