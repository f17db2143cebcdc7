/** `hometun doctor` in a home whose parts are taken away one by one: each failure is seen, with what mends it. */

import { spawnSync } from "node:child_process";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Finding } from "../../common/doctor/finding.ts";
import { encodeRouterAdvertisement } from "../../common/nd/router-advertisement.ts";
import { canUseNamespaces, type Namespace } from "../support/namespace.ts";
import {
  CLIENT_PROGRAM,
  daemonsAreBuilt,
  type LabHome,
  SERVER_PROGRAM,
  TunnelLab,
} from "../support/tunnel-lab.ts";

/** What the probes, and those who play the outside world, need. */
function hasTools(): boolean {
  const missing = ["nft", "ping", "python3"].filter((name) => spawnSync(name, ["-h"]).error);
  if (missing.length > 0) process.stderr.write(`skipped: ${missing.join(", ")} missing\n`);
  return missing.length === 0;
}

describe.skipIf(!canUseNamespaces() || !hasTools() || !daemonsAreBuilt())("hometun doctor", () => {
  let lab: TunnelLab;
  let alice: LabHome;
  let host: Namespace;

  beforeAll(async () => {
    lab = await TunnelLab.build({ homes: [{ name: "alice", ikev2: "psk" }] });
    alice = lab.home("alice");
    host = await lab.lab.namespace("host");
    await lab.lab.connect(alice.namespace, "lan0", host, "lan0");
    const { configFile } = alice.client;
    const text = await readFile(configFile, "utf8");
    await writeFile(configFile, `lan = ["lan0", "lan9"]\nfirewall = false\n${text}`);
  });

  afterAll(async () => {
    await lab?.dispose();
  });

  const examined = (where: Namespace = alice.namespace, config = alice.client.configFile) =>
    examinedBy(CLIENT_PROGRAM, where, config);

  async function examinedBy(
    program: string,
    where: Namespace,
    config: string,
  ): Promise<Map<string, Finding>> {
    const command = `${process.execPath} ${program} doctor --json -c ${config} || true`;
    const findings = JSON.parse(await where.run(["sh", "-c", command])) as Finding[];
    for (const { verdict, fix, subject } of findings) {
      if (verdict === "fail") expect(fix, subject).toBeTruthy();
    }
    return new Map(findings.map((finding) => [finding.subject, finding]));
  }

  it("sees that nobody listens at the server, and which LAN is missing", async () => {
    const findings = await examined();
    expect(findings.get("UDP to the server")).toMatchObject({
      verdict: "fail",
      detail: "198.51.100.1 port 4500: nothing listens there",
    });
    expect(findings.get("protocol 50 to the server")).toMatchObject({
      verdict: "ok",
      detail:
        "198.51.100.1: that machine does not take protocol 50; not needed as it is configured",
    });
    expect(findings.get("LAN lan9")?.verdict).toBe("fail");
    expect(findings.get("LAN lan0")?.verdict).toBe("warn");
  });

  it("says what is missing where there is no network at all", async () => {
    const findings = await examined(await lab.lab.namespace("nowhere"));
    expect(findings.get("uplink")?.verdict).toBe("fail");
    // What only follows from it is left out.
    for (const subject of ["UDP to the server", "protocol 50 to the server", "server"]) {
      expect(findings.has(subject)).toBe(false);
    }
  });

  it("sees that another program has the ports of IKE, whatever ESP travels in", async () => {
    const fix = (port: number) =>
      `stop the other IPsec daemon: \`ss -ulpn sport = ${port}\` names it`;
    const bareEsp = join(lab.directory, "bare-esp.toml");
    const text = await readFile(alice.client.configFile, "utf8");
    await writeFile(bareEsp, text.replace("[tunnel]", '[tunnel]\nencapsulation = "esp"'), {
      mode: 0o600,
    });
    const holders = [alice.namespace, lab.serverNamespace].map((where) =>
      where.spawn(["python3", "-uc", PORT_HOLDER]),
    );
    for (const holder of holders) await holder.line((line) => line === "holding");
    const atHome = await examined(alice.namespace, bareEsp);
    expect(atHome.get("UDP port 4500")).toMatchObject({ verdict: "fail", fix: fix(4500) });
    const atServer = await examinedBy(SERVER_PROGRAM, lab.serverNamespace, lab.server.configFile);
    for (const port of [500, 4500]) {
      expect(atServer.get(`UDP port ${port}`)).toMatchObject({ verdict: "fail", fix: fix(port) });
    }
    for (const holder of holders) {
      holder.kill("SIGKILL");
      await holder.exited;
    }
    const free = await examinedBy(SERVER_PROGRAM, lab.serverNamespace, lab.server.configFile);
    expect(free.get("UDP port 500")).toMatchObject({ verdict: "ok", detail: "free" });
  });

  it("sees that IPv6 is disabled", async () => {
    const where = await lab.lab.namespace("without");
    expect((await examined(where)).get("IPv6")).toMatchObject({ verdict: "ok" });
    await where.run("sysctl -qw net.ipv6.conf.all.disable_ipv6=1");
    expect((await examined(where)).get("IPv6")).toMatchObject({
      verdict: "fail",
      detail: "disabled for new interfaces, and so for the tunnel's",
      fix: expect.stringMatching(/^sysctl net\.ipv6\.conf\.all\.disable_ipv6=0/),
    });
  });

  it("sees that all is well but the missing LAN", async () => {
    await lab.server.start();
    await alice.client.start();
    await lab.confirmed(alice, alice.ipv4(7));
    const findings = await examined();
    const bad = [...findings.values()].filter(({ verdict }) => verdict === "fail");
    expect(bad.map(({ subject }) => subject)).toEqual(["LAN lan9"]);
    for (const subject of ["server", "NAT", "key", "state directory", "routers on lan0"]) {
      expect(findings.get(subject)).toMatchObject({ verdict: "ok" });
    }
    expect(findings.get("UDP to the server")).toMatchObject({
      verdict: "ok",
      detail: expect.stringMatching(/^IKE answers at 198\.51\.100\.1 port 4500 in [\d.]+ ms$/),
    });
    expect(findings.get("LAN lan0")?.detail).toBe("2001:db8:a:1::/64, hosts are told");
    expect(findings.get("MTU in the tunnel")?.detail).toBe("packets of 1422 octets pass");
  });

  it("sees that a firewall on the way stops UDP, and that ESP itself may pass", async () => {
    const table =
      "table ip stops { chain f { type filter hook forward priority 0; udp dport 4500 drop; }; }";
    await lab.router.run(["nft", table]);
    const listener = lab.serverNamespace.spawn(["python3", "-uc", ESP_LISTENER]);
    await listener.line((line) => line === "listening");
    const findings = await examined();
    await lab.router.run("nft delete table ip stops");
    expect(findings.get("UDP to the server")).toMatchObject({
      verdict: "fail",
      detail: "198.51.100.1 port 4500: IKE does not answer",
    });
    expect(findings.get("protocol 50 to the server")?.verdict).toBe("ok");
  });

  it("sees a narrow path that says nothing, and another router", async () => {
    // Whoever drops large packets without a word.
    await lab.router.run(
      "nft 'table ip narrow { chain f { type filter hook forward priority 0; meta length > 1400 drop; }; }'",
    );
    const octets = encodeRouterAdvertisement({
      currentHopLimit: 64,
      managed: false,
      otherConfiguration: false,
      routerLifetime: 1800,
      reachableTime: 0,
      retransTimer: 0,
      options: [],
    });
    const speaker = host.spawn(["python3", "-uc", speakerOf(octets)]);
    await speaker.line((line) => line === "speaking");
    const findings = await examined();
    expect(findings.get("MTU in the tunnel")).toMatchObject({
      verdict: "fail",
      detail: "1422 octets do not pass, 1280 do",
    });
    expect(findings.get("routers on lan0")).toMatchObject({
      verdict: "warn",
      detail: expect.stringMatching(/^fe80::.* advertises too$/),
    });
  });
});

/** An IPsec daemon. */
const PORT_HOLDER = `
import socket, time
sockets = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for port in (500, 4500)]
for s, port in zip(sockets, (500, 4500)):
    s.bind(("0.0.0.0", port))
print("holding")
time.sleep(60)
`;

/** Somebody who takes protocol 50, and therefore does not refuse it. */
const ESP_LISTENER = `
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_RAW, 50)
print("listening")
while True:
    s.recv(2048)
`;

/** A router that answers nobody and speaks all the time. */
function speakerOf(advertisement: Uint8Array): string {
  const hex = Buffer.from(advertisement).toString("hex");
  return `
import socket, time
s = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6)
s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 255)
index = socket.if_nametoindex("lan0")
print("speaking")
while True:
    s.sendto(bytes.fromhex("${hex}"), ("ff02::1", 0, 0, index))
    time.sleep(0.2)
`;
}
