/**
 * The firewall between tunnel and LAN, judged by scans from both sides. The home has a single /64, which its LAN gets:
 *
 *     ┌ host ───────────────┐      ┌ home alice ──────────┐
 *     │ lan0 2001:db8:a::10 ── LAN ── lan0 2001:db8:a::1  │
 *     │ lan0 2001:db8:a::20 │      │ ht0  2001:db8:a::1 ═══ tunnel ═══ server ── far
 *     └─────────────────────┘      └──────────────────────┘
 *
 * Everybody listens on ports 443, 444 and 8005. Open are 443 of ::10, and TCP 8000 to 8010 of the home itself.
 */

import { spawnSync } from "node:child_process";
import { readFile, writeFile } from "node:fs/promises";
import { resolve } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { canUseNamespaces, eventually, type Namespace } from "../support/namespace.ts";
import { nodeCommand } from "../support/node-command.ts";
import { Transfer } from "../support/transfer.ts";
import {
  daemonsAreBuilt,
  FAR,
  homeIn,
  type LabHome,
  pingUntilAnswered,
  TunnelLab,
} from "../support/tunnel-lab.ts";

const PROCESS = resolve(import.meta.dirname, "../support/ports-process.ts");
const HOST = "2001:db8:a::10";
const OTHER = "2001:db8:a::20";
const HOME = "2001:db8:a::1";
const PORTS = ["443", "444", "8005"];

const hasNft = spawnSync("nft", ["--version"]).error === undefined;
if (!hasNft) process.stderr.write("skipped: nft is not installed (package nftables)\n");

const BOTH = { tcp: "open", udp: "open" };
const NEITHER = { tcp: "silent", udp: "silent" };
const TCP = { tcp: "open", udp: "silent" };

describe.skipIf(!canUseNamespaces({ tun: true }) || !daemonsAreBuilt() || !hasNft)(
  "the firewall between tunnel and LAN",
  () => {
    let lab: TunnelLab;
    let home: LabHome;
    let host: Namespace;

    const scan = async (from: Namespace, to: string) =>
      JSON.parse(await from.run(nodeCommand(PROCESS, "scan", to, ...PORTS))) as unknown;
    const table = () => home.namespace.run("nft list table inet hometun").catch(() => undefined);
    const configure = async (change: (text: string) => string) => {
      const { configFile } = home.client;
      await writeFile(configFile, change(await readFile(configFile, "utf8")), { mode: 0o600 });
    };

    beforeAll(async () => {
      lab = await TunnelLab.build({ homes: [{ name: "alice", tunnel: "liveness-interval = 1" }] });
      home = lab.home("alice");
      host = await lab.lab.namespace("host");
      await lab.lab.connect(home.namespace, "lan0", host, "lan0");
      await host.run(
        `ip addr add ${HOST}/64 dev lan0 nodad; ip addr add ${OTHER}/64 dev lan0 nodad`,
      );
      const lines = [
        'lan = "lan0"',
        `open-ports = ["tcp ${HOST} 443", "udp ${HOST} 443", "tcp ${HOME} 8000-8010"]`,
      ];
      await configure((text) =>
        `${lines.join("\n")}\n${text}`.replace("2001:db8:a::/48", "2001:db8:a::/64"),
      );
      for (const each of [host, home.namespace, lab.far]) {
        await each.spawn(nodeCommand(PROCESS, "listen", ...PORTS)).line((line) => line === "ready");
      }
      await lab.server.start();
      await home.client.start();
      await lab.confirmed(home, home.ipv4(7));
      await pingUntilAnswered(host, FAR);
    });

    afterAll(async () => {
      await lab?.dispose();
    });

    it("stands, in a table of hometun's own", async () => {
      expect(await table()).toContain("chain to-lan");
      expect(home.client.running.stderr).toContain("firewall stands");
    });

    it("lets nobody in but where it is open", async () => {
      expect(await scan(lab.far, HOST)).toEqual({ 443: BOTH, 444: NEITHER, 8005: NEITHER });
      expect(await scan(lab.far, OTHER)).toEqual({ 443: NEITHER, 444: NEITHER, 8005: NEITHER });
    });

    it("protects the home itself as well, from the ISP's server too", async () => {
      const shut = { 443: NEITHER, 444: NEITHER, 8005: TCP };
      expect(await scan(lab.far, HOME)).toEqual(shut);
      expect(await scan(lab.serverNamespace, HOME)).toEqual(shut);
    });

    it("lets everybody out, and the answers in", async () => {
      const open = { 443: BOTH, 444: BOTH, 8005: BOTH };
      expect(await scan(host, FAR)).toEqual(open);
      expect(await scan(home.namespace, FAR)).toEqual(open);
    });

    it("does not stand between LAN and home", async () => {
      expect(await scan(host, HOME)).toEqual({ 443: BOTH, 444: BOTH, 8005: BOTH });
    });

    it("lets pings in, and the errors that IPv6 needs", async () => {
      await lab.far.run(["ping", "-n", "-c1", "-W5", HOST]);
      await lab.far.run(["ping", "-n", "-c1", "-W5", HOME]);
      const lost = await lab.far
        .run(["ping", "-n", "-c1", "-W2", "-t", "2", HOST])
        .catch((error: { stdout: string }) => error.stdout);
      expect(lost).toMatch(/Time exceeded/);
    });

    it("lets the server see that the home is there", async () => {
      const server = homeIn(await lab.server.status(), "alice");
      const { linkLocal } = await home.client.status();
      await lab.serverNamespace.run([
        ...["ping", "-n", "-c1", "-W5", `${linkLocal}%${server.interface}`],
      ]);
      await home.take(8);
      await lab.confirmed(home, home.ipv4(8));
    });

    it("keeps connections through the death of the daemon, and keeps strangers out meanwhile", async () => {
      const held = host.spawn(nodeCommand(PROCESS, "hold", FAR, "444"));
      held.write("before\n");
      expect(await held.line()).toBe("before");
      await home.client.crash();
      expect(await table()).toContain("chain to-lan");
      await home.client.start();
      await lab.confirmed(home, home.ipv4(8));
      held.write("after\n");
      expect(await held.line()).toBe("after");
      expect(await scan(lab.far, OTHER)).toEqual({ 443: NEITHER, 444: NEITHER, 8005: NEITHER });
    });

    it("stands over a clean stop, so that connections live on", async () => {
      const transfer = await Transfer.start({
        from: home.namespace,
        to: lab.far,
        address: FAR,
        port: 5001,
      });
      await home.client.stop();
      expect(await table()).toContain("chain to-lan");
      await home.client.start();
      await lab.confirmed(home, home.ipv4(8));
      const { sent, received } = await transfer.finish();
      expect(received).toBe(sent);
    });

    it("that is switched off lets everybody in", async () => {
      await home.client.stop();
      await configure((text) => text.replace(/^open-ports.*$/m, "firewall = false"));
      await home.client.start();
      await lab.confirmed(home, home.ipv4(8));
      expect(await table()).toBeUndefined();
      await pingUntilAnswered(lab.far, OTHER);
      expect(await scan(lab.far, OTHER)).toEqual({ 443: BOTH, 444: BOTH, 8005: BOTH });
    });

    it("without nft, there is no tunnel but one clear line", async () => {
      await home.client.stop();
      await configure((text) => text.replace(/^firewall = false$/m, ""));
      const started = home.namespace.spawn([
        ...["unshare", "-m", "sh", "-c"],
        'mount -t tmpfs none "$(dirname "$(readlink -f "$(command -v nft)")")"; exec "$@"',
        ...["sh", process.execPath, resolve("dist/client/main.js"), "run", "-c"],
        home.client.configFile,
      ]);
      const { code } = await started.exited;
      expect(code).toBe(1);
      expect(started.stderr).toMatch(/cannot install the firewall.*install the package nftables/);
      await eventually(async () =>
        (await home.namespace.run("ip -o link")).includes("ht0") ? undefined : true,
      );
    });
  },
);
