/**
 * The Debian package on two machines with a real systemd each, from installation to purging:
 *
 *     ┌ host ┐    ┌ home ─────────────────┐                         ┌ isp ────────────────────┐
 *     │   lan0 ── lan0 hometun-client wan ── 192.0.2.10 ─ 192.0.2.1 ── wan    hometun-server  │
 *     └──────┘    │ ht0 2001:db8:a::1     │                         │ lo 2001:db8:ffff::1     │
 *                 └───────────────────────┘                         └─────────────────────────┘
 *
 * The tests are one story, in order.
 */

import { execFileSync } from "node:child_process";
import { existsSync } from "node:fs";
import { copyFile, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { canUseNamespaces, eventually, Lab, type Namespace } from "../support/namespace.ts";
import { PingStream } from "../support/ping-stream.ts";
import { Transfer } from "../support/transfer.ts";
import { daemonsAreBuilt } from "../support/tunnel-lab.ts";
import { bootObstacle, Machine } from "./machine.ts";

const ROOT = resolve(import.meta.dirname, "../..");
const CLIENT = "hometun-client.service";
const SERVER = "hometun-server.service";
const BOUND = "hometun-client@wan.service";
const HOME_ADDRESS = "2001:db8:a::1";
const FAR_ADDRESS = "2001:db8:ffff::1";
const LAN = "2001:db8:a:1:";
const HOOK = "/usr/local/bin/tunnel-hook";
const EVENTS = "/run/hometun/events";
const HAS_NFT = existsSync("/usr/sbin/nft");
/** CAP_NET_ADMIN and CAP_NET_RAW, the server CAP_NET_BIND_SERVICE too: capabilities(7). */
const CLIENT_CAPABILITIES = "0000000000003000";
const SERVER_CAPABILITIES = "0000000000003400";
const DROP_IN = "/run/systemd/system";

/** The folder that udev was unpacked into, `/` where it is installed, or nothing. */
const { HOMETUN_UDEV } = process.env;
const udev = HOMETUN_UDEV ?? (existsSync("/lib/systemd/systemd-udevd") ? "/" : undefined);

function canBoot(): boolean {
  const obstacle = bootObstacle();
  if (obstacle !== undefined) process.stderr.write(`skipped: ${obstacle}\n`);
  return obstacle === undefined;
}

function hasUdev(): boolean {
  if (udev === undefined) process.stderr.write("skipped: units bound to a link need udev\n");
  return udev !== undefined;
}

describe.skipIf(!canUseNamespaces({ tun: true }) || !daemonsAreBuilt() || !canBoot())(
  "the package, on machines with systemd",
  () => {
    const lab = new Lab();
    let folder: string;
    let wan: { home: Namespace; isp: Namespace };
    let host: Namespace;
    let home: Machine;
    let isp: Machine;

    beforeAll(async () => {
      folder = await mkdtemp(join(tmpdir(), "hometun-systemd-"));
      execFileSync(join(ROOT, "packaging/build-deb"), [folder], { stdio: "ignore" });
      for (const script of ["probe.mjs", "keeper.mjs"]) {
        await copyFile(join(import.meta.dirname, script), join(folder, script));
      }
      wan = { home: await lab.namespace("home"), isp: await lab.namespace("isp") };
      await wan.isp.run(`ip addr add ${FAR_ADDRESS}/128 dev lo`);
      host = await lab.namespace("host");
      await lab.connect(host, "lan0", wan.home, "lan0");
      [home, isp] = await Promise.all([
        Machine.boot(wan.home, folder, udev),
        Machine.boot(wan.isp, folder),
      ]);
      await plug();
    }, 120_000);

    afterAll(async () => {
      await Promise.all([home?.dispose(), isp?.dispose()]);
      await lab.dispose();
      await rm(folder, { recursive: true, force: true });
    });

    /** The cable between them; the home has no address yet. */
    async function plug(): Promise<void> {
      await lab.connect(wan.home, "wan", wan.isp, "wan");
      await wan.isp.run("ip addr add 192.0.2.1/24 dev wan");
    }

    const isConfirmed = ({ StatusText = "" }) => StatusText.startsWith("confirmed");
    const takeAddress = () => wan.home.run("ip addr replace 192.0.2.10/24 dev wan");

    it("installs, and starts nothing unasked", async () => {
      for (const machine of [home, isp]) {
        await machine.run("dpkg -i /opt/test/hometun_*.deb");
        for (const unit of [CLIENT, SERVER]) {
          expect(await machine.show(unit)).toMatchObject({
            LoadState: "loaded",
            ActiveState: "inactive",
            UnitFileState: "disabled",
          });
        }
      }
      expect(await home.run("hometun --version && hometun-server --version")).toBe(
        "0.1.0\n0.1.0\n",
      );
    });

    it("has units in which systemd finds nothing to complain of", async () => {
      const complaints = await home.run(
        `cd /lib/systemd/system && systemd-analyze verify ${CLIENT} ${SERVER} ${BOUND} 2>&1`,
      );
      expect(complaints).toBe("");
    });

    it("does not start without a configuration, and does not fail either", async () => {
      await home.run(`systemctl start ${CLIENT}`);
      expect(await home.show(CLIENT)).toMatchObject({
        ActiveState: "inactive",
        Result: "success",
        ConditionResult: "no",
      });
    });

    it("starts before there is a network, with root's own files as keygen made them", async () => {
      await home.run(
        `cd /etc/hometun && hometun keygen --name alice --server 192.0.2.1 --prefix 2001:db8:a::/56 \\
           --suite aes-cbc-256-hmac-sha2-256-128 && mv alice.client.toml client.toml`,
      );
      const forServer = await home.run("cat /etc/hometun/alice.server.toml");
      await home.run("rm /etc/hometun/alice.server.toml");
      await isp.write("/etc/hometun/homes/alice.toml", forServer, "0600");
      await isp.write("/etc/hometun/server.toml", 'address = "192.0.2.1"\n');
      await isp.run(`systemctl enable --now ${SERVER}`);
      await home.run(`systemctl enable --now ${CLIENT}`);
      expect(await home.show(CLIENT)).toMatchObject({ ActiveState: "active", SubState: "running" });
      await home.until(CLIENT, ({ StatusText = "" }) => StatusText.startsWith("no address"));
      await isp.until(SERVER, ({ StatusText }) => StatusText === "homes: 1: 1 never heard");
      expect(await isp.run("stat -c '%a %U %G' /etc/hometun/homes/alice.toml")).toBe(
        "640 root hometun\n",
      );
    });

    it("says in systemctl's status line that the tunnel is up", async () => {
      await takeAddress();
      const { StatusText } = await home.until(CLIENT, isConfirmed);
      expect(StatusText).toBe("confirmed: 2001:db8:a::/56 by 192.0.2.10");
      await isp.until(SERVER, ({ StatusText: text }) => text === "homes: 1: 1 confirmed");
      await isp.run(`ping -n -c 1 -W 5 ${HOME_ADDRESS}`);
      expect(await home.run("hometun status")).toContain("confirmed");
      expect(await isp.run("hometun-server status")).toContain("alice");
    });

    it("is started again when it was killed, and finds its tunnel again", async () => {
      for (const [machine, unit] of [
        [home, CLIENT],
        [isp, SERVER],
      ] as const) {
        const { MainPID: killed } = await machine.show(unit);
        await machine.run(`systemctl kill --kill-who=main --signal=KILL ${unit}`);
        const after = await machine.until(
          unit,
          ({ MainPID, ActiveState }) => ActiveState === "active" && MainPID !== killed,
        );
        expect(after).toMatchObject({ NRestarts: "1" });
      }
      await home.until(CLIENT, isConfirmed);
      await eventually(() => isp.run(`ping -n -c 1 -W 1 ${HOME_ADDRESS}`).catch(() => undefined));
    });

    it("leaves interfaces and addresses to the next process when it is restarted", async () => {
      for (const [machine, unit, name] of [
        [home, CLIENT, "ht0"],
        [isp, SERVER, "ht-alice"],
      ] as const) {
        const link = async () =>
          /^\d+: /.exec(await machine.namespace.run(`ip -o link show ${name}`));
        const [before] = (await link()) ?? [];
        await machine.run(`systemctl restart ${unit}`);
        const [after] = (await link()) ?? [];
        expect(after).toBe(before);
        expect(await machine.journal(unit)).toContain("the next process takes over");
        expect(await machine.show(unit)).toMatchObject({
          ActiveState: "active",
          Result: "success",
        });
      }
      await home.until(CLIENT, isConfirmed);
    });

    it("has a socket kept by systemd while nothing runs, and gets it back", async () => {
      const unit = "keeper.service";
      const service = [
        "[Service]",
        "Type=notify",
        "ExecStart=/usr/bin/node /opt/test/keeper.mjs",
        "FileDescriptorStoreMax=1",
        "Restart=always",
        "RestartSec=2s",
        "RestartKillSignal=SIGUSR2",
      ];
      await home.write(`${DROP_IN}/${unit}`, `${service.join("\n")}\n`);
      await home.run(`systemctl daemon-reload && systemctl start ${unit}`);
      const isOpen = async () => (await wan.home.run("ss -Hlun sport = :4501")) !== "";
      const said = async () => (await home.journal(unit)).match(/^\{.*\}$/gm);
      await home.until(unit, ({ NFileDescriptorStore }) => NFileDescriptorStore === "1");
      await home.run(`systemctl kill --signal=KILL ${unit}`);
      await home.until(unit, ({ SubState }) => SubState === "auto-restart");
      expect(await isOpen()).toBe(true);
      await home.until(unit, ({ ActiveState }) => ActiveState === "active");
      await home.run(`systemctl restart ${unit}`);
      // It is handed over as often as need be, and is one and the same.
      expect(await home.show(unit)).toMatchObject({ NFileDescriptorStore: "1" });
      expect(await said()).toEqual([
        '{"isKept":false,"left":null}',
        '{"isKept":true,"left":null}',
        '{"isKept":true,"left":null}',
      ]);
      await home.write(
        `${DROP_IN}/${unit}`,
        `${service.join("\n").replace(".mjs", ".mjs drop")}\n`,
      );
      await home.run(`systemctl daemon-reload && systemctl restart ${unit}`);
      await home.until(unit, ({ NFileDescriptorStore }) => NFileDescriptorStore === "0");
      await home.run(`systemctl stop ${unit}; rm ${DROP_IN}/${unit}; systemctl daemon-reload`);
      expect(await isOpen()).toBe(false);
    });

    it("is ended by the watchdog when it hangs, and started again", async () => {
      await home.write(`${DROP_IN}/${CLIENT}.d/watchdog.conf`, "[Service]\nWatchdogSec=2s\n");
      await home.run(`systemctl daemon-reload && systemctl restart ${CLIENT}`);
      const { MainPID } = await home.until(CLIENT, isConfirmed);
      // It is fed: nothing happens by itself.
      await new Promise((resolve) => setTimeout(resolve, 3_000));
      expect(await home.show(CLIENT)).toMatchObject({ MainPID, NRestarts: "0" });
      await home.run(`systemctl kill --kill-who=main --signal=STOP ${CLIENT}`);
      await home.until(CLIENT, ({ NRestarts }) => NRestarts === "1");
      expect(await home.journal(CLIENT)).toContain("Watchdog timeout");
      await home.until(CLIENT, isConfirmed);
      await home.run(`rm -r ${DROP_IN}/${CLIENT}.d && systemctl daemon-reload`);
    });

    it("takes a new configuration without a restart, and refuses a mistaken one in systemctl", async () => {
      const { MainPID } = await isp.show(SERVER);
      await isp.run(
        `cd /tmp && hometun keygen --name bob --server 192.0.2.1 --prefix 2001:db8:b::/56 \\
           --suite aes-cbc-256-hmac-sha2-256-128 && mv bob.server.toml /etc/hometun/homes/bob.toml`,
      );
      await isp.run(`systemctl reload ${SERVER}`);
      const reloaded = await isp.until(SERVER, ({ StatusText = "" }) =>
        /^homes: 2:/.test(StatusText),
      );
      expect(reloaded).toMatchObject({ MainPID, ActiveState: "active" });

      await isp.run("echo nonsense = 1 >>/etc/hometun/server.toml");
      await expect(isp.run(`systemctl reload ${SERVER}`)).rejects.toThrow();
      expect(await isp.journal(SERVER)).toContain("nonsense");
      expect(await isp.show(SERVER)).toMatchObject({
        MainPID,
        ActiveState: "active",
      });
      await isp.run("sed -i /nonsense/d /etc/hometun/server.toml; rm /etc/hometun/homes/bob.toml");
      await isp.run(`systemctl reload ${SERVER}`);
      await isp.until(SERVER, ({ StatusText }) => StatusText === "homes: 1: 1 confirmed");
    });

    it("does not try again and again with a mistaken configuration", async () => {
      await isp.run("echo nonsense = 1 >>/etc/hometun/server.toml");
      await expect(isp.run(`systemctl restart ${SERVER}`)).rejects.toThrow();
      expect(await isp.show(SERVER)).toMatchObject({
        ActiveState: "failed",
        Result: "exit-code",
        ExecMainStatus: "2",
        NRestarts: "0",
      });
      await isp.run(`sed -i /nonsense/d /etc/hometun/server.toml; systemctl restart ${SERVER}`);
    });

    it.each([
      { machine: () => home, unit: CLIENT, capabilities: CLIENT_CAPABILITIES },
      { machine: () => isp, unit: SERVER, capabilities: SERVER_CAPABILITIES },
    ])("$unit is confined to what it needs", async ({ machine, unit, capabilities }) => {
      await machine().run(
        "mkdir -p /home/alice; echo secret | tee /home/alice/letter >/root/letter; chmod a+rx /home /home/alice /root",
      );
      const probe = "[Service]\nExecStartPre=/usr/bin/node /opt/test/probe.mjs\n";
      await machine().write(`${DROP_IN}/${unit}.d/probe.conf`, probe);
      await machine().run(`systemctl daemon-reload && systemctl restart ${unit}`);
      const said = await machine().journal(unit);
      await machine().run(`rm -r ${DROP_IN}/${unit}.d && systemctl daemon-reload`);
      const found =
        said
          .split("\n")
          .filter((line) => line.startsWith('{"user"'))
          .at(-1) ?? said;
      expect(JSON.parse(found)).toEqual({
        user: Number(await machine().run("id -u hometun")),
        capabilities: Array(5).fill(capabilities),
        newPrivileges: "1",
        seccomp: "2",
        homes: expect.stringMatching(/^(EACCES|done|)$/),
        homeFile: expect.stringMatching(/^(EACCES|ENOENT)$/),
        rootFile: expect.stringMatching(/^(EACCES|ENOENT)$/),
        shadow: "EACCES",
        writeEtc: "EROFS",
        writeUsr: "EROFS",
        writeState: "done",
        writeSysctl: "EROFS",
        writeForwarding: "EROFS",
        writeAcceptRa: "done",
        null: "done",
        tun: "done",
        fuse: "EPERM",
        mount: expect.not.stringMatching(/^0$/),
        namespace: expect.any(Number),
        otherProcesses: 0,
      });
      expect(JSON.parse(found).mount).not.toBe(0);
      expect(JSON.parse(found).namespace).not.toBe(0);
    });

    it.runIf(HAS_NFT)(
      "serves a LAN, guards it and runs hooks, all within those walls",
      async () => {
        await home.write(HOOK, `#!/bin/sh\necho "$1 $HOMETUN_ADDRESS" >>${EVENTS}\n`, "0755");
        const hooks = ["up", "down", "move"].map(
          (event) => `on-${event} = ["${HOOK}", "${event}"]`,
        );
        const lines = ['lan = "lan0"', `open-ports = ["tcp ${LAN}:/64 8080"]`, ...hooks];
        await home.write("/tmp/head", `${lines.join("\n")}\n`);
        await home.run(
          "cd /etc/hometun && cat /tmp/head client.toml >/tmp/all && cat /tmp/all >client.toml",
        );
        await home.run(`systemctl restart ${CLIENT}`);
        await home.until(CLIENT, isConfirmed);

        const address = await eventually(async () => {
          const said = await host.run("ip -6 -o addr show dev lan0 scope global -tentative");
          return new RegExp(`${LAN}[0-9a-f:]+`).exec(said)?.[0];
        });
        await eventually(() => host.run(`ping -n -c 1 -W 1 ${FAR_ADDRESS}`).catch(() => undefined));
        // Nobody listens: what is let in is refused by the host, what is kept out is not answered.
        const knock = (port: number, seconds: number) =>
          wan.isp.run(
            `timeout ${seconds} bash -c 'exec 3<>/dev/tcp/${address}/${port}' 2>&1 || echo $?`,
          );
        expect(await knock(8080, 20)).toContain("refused");
        expect(await knock(8081, 2)).toMatch(/^124$/m);

        await wan.home.run("ip -4 addr flush dev wan; ip addr add 192.0.2.11/24 dev wan");
        const heard = (events: string) =>
          eventually(async () =>
            (await home.run(`cat ${EVENTS}`).catch(() => "")) === events ? events : undefined,
          );
        await heard("up 192.0.2.10\nmove 192.0.2.11\n");
        await wan.home.run("ip -4 addr flush dev wan");
        await takeAddress();
        await home.until(CLIENT, ({ StatusText = "" }) => StatusText.endsWith("by 192.0.2.10"));
        expect(await home.run("journalctl --no-pager -o cat -u hometun-client")).not.toMatch(
          /"level":"(warn|error)".*(hook|LAN|firewall|state)/,
        );
      },
    );

    /** Of both ends, one after the other, with pings and a TCP connection through the tunnel all the while. */
    async function upgrade(keys: string): Promise<void> {
      await home.until(CLIENT, isConfirmed);
      const pings = await PingStream.start(wan.isp, HOME_ADDRESS);
      await pings.answered();
      const transfer = await Transfer.start({
        from: wan.home,
        to: wan.isp,
        address: FAR_ADDRESS,
        port: 5_001,
      });
      for (const machine of [home, isp]) {
        const unit = machine === home ? CLIENT : SERVER;
        const { MainPID } = await machine.show(unit);
        pings.mark();
        await machine.run("dpkg -i /opt/test/hometun_*.deb");
        const after = await machine.until(unit, ({ ActiveState }) => ActiveState === "active");
        expect(after).not.toMatchObject({ MainPID });
        await home.until(CLIENT, isConfirmed);
        await pings.answered();
        const gap = pings.longestGapMs;
        process.stdout.write(`upgrade, ${keys} keys, ${unit}: pings stopped for ${gap} ms\n`);
      }
      await pings.stop();
      const { sent, received } = await transfer.finish();
      expect(received).toBe(sent);
    }

    it("follows an upgrade while traffic flows", () => upgrade("manual"));

    it("goes over to negotiated keys, as the guide says", async () => {
      await home.run("mv /etc/hometun/client.toml /etc/hometun/client.manual");
      await isp.run("cd /etc/hometun && mv server.toml server.manual && rm homes/alice.toml");
      const ours = await isp.run("hometun-server init --address 192.0.2.1 --identity isp.example");
      const theirs = await home.run("hometun init --server 192.0.2.1 --identity alice.example");
      const publicKey = /--public-key (\S+)/.exec(theirs)?.[1];
      expect({ ours, theirs, publicKey }).toMatchObject({ publicKey: expect.any(String) });
      const added = await isp.run(
        `hometun-server home add alice --identity alice.example --public-key ${publicKey} --prefix 2001:db8:a::/56`,
      );
      // The command that it prints, as it stands.
      await home.run(/hometun init 'hometun:.*'/.exec(added)?.[0] ?? added);
      await isp.run(`systemctl restart ${SERVER}`);
      await home.run(`systemctl restart ${CLIENT}`);
      await home.until(CLIENT, isConfirmed);
      await isp.run(`ping -n -c 1 -W 5 ${HOME_ADDRESS}`);
      expect(await home.run("hometun status")).toMatch(/^Keys +1 IKE SA/m);
    });

    it("follows an upgrade with negotiated keys too", () => upgrade("negotiated"));

    it.runIf(hasUdev())("is stopped with its link, and started when it comes back", async () => {
      await home.run(`systemctl disable --now ${CLIENT} && systemctl enable --now ${BOUND}`);
      await home.until(BOUND, isConfirmed);
      await wan.home.run("ip link del wan");
      await home.until(
        BOUND,
        ({ ActiveState, Result }) => ActiveState === "inactive" && Result === "success",
      );
      await plug();
      await home.until(BOUND, ({ ActiveState }) => ActiveState === "active");
      await takeAddress();
      await home.until(BOUND, isConfirmed);
      await home.run(`systemctl disable --now ${BOUND} && systemctl enable --now ${CLIENT}`);
    });

    it("stops cleanly and leaves no interface behind", async () => {
      await home.run(`systemctl stop ${CLIENT}`);
      expect(await home.show(CLIENT)).toMatchObject({ ActiveState: "inactive", Result: "success" });
      await expect(wan.home.run("ip link show ht0")).rejects.toThrow();
      await home.run(`systemctl start ${CLIENT}`);
    });

    it("is removed with configuration and state kept, and purged with all", async () => {
      await home.run("dpkg --remove hometun");
      if (HAS_NFT) expect(await wan.home.run("nft list tables")).not.toContain("hometun");
      await expect(home.run(`systemctl is-active ${CLIENT}`)).rejects.toThrow();
      await home.run("test -f /etc/hometun/client.toml -a -d /var/lib/hometun");
      await home.run("dpkg -i /opt/test/hometun_*.deb");
      // What it was enabled for before, it still is.
      expect(await home.run(`systemctl is-enabled ${CLIENT}`)).toBe("enabled\n");
      await home.run("dpkg --purge hometun");
      for (const path of [
        "/etc/hometun",
        "/var/lib/hometun",
        "/usr/lib/hometun",
        "/usr/bin/hometun",
      ]) {
        await home.run(`test ! -e ${path}`);
      }
      expect(await home.run("find /etc/systemd /var/lib/systemd -name '*hometun*'")).toBe("");
    });
  },
);
