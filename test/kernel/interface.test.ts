import { resolve } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Lab, type Namespace, type Running } from "../support/namespace.ts";
import { nodeCommand } from "../support/node-command.ts";
import { canUseXfrmInterfaces } from "../support/xfrm.ts";
import type { XfrmEvent } from "../support/xfrm-events-process.ts";

const EVENTS = resolve(import.meta.dirname, "../support/xfrm-events-process.ts");
const NEAR = "192.0.2.7";
const FAR = "192.0.2.8";

describe.skipIf(!canUseXfrmInterfaces())("the kernel under test", () => {
  const lab = new Lab();
  let near: Namespace;
  let far: Namespace;

  beforeAll(async () => {
    near = await lab.namespace("near");
    far = await lab.namespace("far");
    await lab.connect(near, "wan", far, "wan");
    await near.run(`ip addr add ${NEAR}/24 dev wan`);
    await far.run(`ip addr add ${FAR}/24 dev wan`);
  });

  afterAll(() => lab.dispose());

  const state = (spi: string, rest: string) =>
    `ip xfrm state add src ${NEAR} dst ${FAR} proto esp spi ${spi} reqid 17 mode tunnel \
       replay-window 128 flag esn aead 'rfc4106(gcm(aes))' 0x${"a1".repeat(20)} 128 if_id 0x11 \
       sel src ::/0 dst ::/0 ${rest}`;

  async function events(namespace: Namespace, ...options: string[]): Promise<Running> {
    const process_ = namespace.spawn(nodeCommand(EVENTS, ...options));
    await process_.line((line) => line === "ready");
    return process_;
  }

  const told = async (running: Running) => JSON.parse(await running.line()) as XfrmEvent;

  it("has xfrm interfaces, ESP with AES-GCM and 64-bit numbers", async () => {
    await near.run(
      `ip link add ht0 type xfrm dev lo if_id 0x11
       ip link set ht0 addrgenmode none; ip link set ht0 mtu 1400 up
       ip addr add 2001:db8:a::1/128 dev ht0 nodad; ip -6 route add default dev ht0
       ${state("0x1001", "limit packet-soft 5 encap espinudp 4501 4500 0.0.0.0")}
       ip xfrm policy add src ::/0 dst ::/0 dir out if_id 0x11 \
         tmpl src ${NEAR} dst ${FAR} proto esp reqid 17 mode tunnel`,
    );
    expect(await near.run("ip -d link show ht0")).toContain("xfrm if_id 0x11");
    expect(await near.run("ip xfrm state")).toContain("spi 0x00001001");
  });

  it("tells of a soft limit, and of packets from another port, once they have come", async () => {
    await far.run(state("0x1001", "encap espinudp 4500 4500 0.0.0.0"));
    const [sending, receiving] = [await events(near), await events(far, "udp")];
    const ping = ["ping", "-n", "-c", "6", "-i", "0.01", "-W", "1", "2001:db8:ffff::2"];
    await near.run(ping).catch(() => undefined); // nobody answers
    expect(await told(sending)).toMatchObject({ kind: "expire", spi: 0x1001, hard: false });
    expect(await told(receiving)).toEqual({
      kind: "mapping",
      spi: 0x1001,
      from: NEAR,
      port: 4501,
    });
    expect(await near.run("ip xfrm state")).toContain("spi 0x00001001");
    await Promise.all([sending.stop(), receiving.stop()]);
  });

  it("makes no half-finished state for whoever listens, where a packet finds a policy and no state", async () => {
    const listening = await events(near);
    await near.run("ip xfrm state flush");
    const ping = ["ping", "-n", "-c", "1", "-W", "1", "2001:db8:ffff::2"];
    await expect(near.run(ping)).rejects.toThrow();
    expect(await near.run("ip xfrm state")).toBe("");
    expect(await near.run("cat /proc/net/xfrm_stat")).toMatch(/XfrmOutNoStates\s+[1-9]/);
    await listening.stop();
    expect(listening.stdout).not.toContain('"other"');
  });
});
