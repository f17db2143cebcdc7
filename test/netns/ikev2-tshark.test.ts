/**
 * What others read in our messages: a capture of a home and a gateway of ours, decrypted by tshark with our key log.
 *
 *     ┌ home ─────────┐            ┌ gateway ──────┐
 *     │ peer-process  ├────────────┤ peer-process  │  192.0.2.0/24; tcpdump listens here
 *     └───────────────┘            └───────────────┘
 */

import { spawnSync } from "node:child_process";
import { copyFileSync, mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { ChildSuite, IkeSuite } from "../../common/ikev2/algorithms.ts";
import {
  canUseNamespaces,
  eventually,
  Lab,
  type Namespace,
  type Running,
} from "../support/namespace.ts";
import { nodeCommand } from "../support/node-command.ts";
import type { PeerConfig } from "./ikev2/peer-process.ts";

const PROCESS = resolve(import.meta.dirname, "ikev2/peer-process.ts");

function hasPrograms(): boolean {
  for (const program of ["tshark", "tcpdump"]) {
    if (spawnSync(program, ["--version"]).error === undefined) continue;
    process.stderr.write(`skipped: these tests need ${program}\n`);
    return false;
  }
  return true;
}

const suites: { name: string; ike: IkeSuite; child: ChildSuite }[] = [
  {
    name: "AES-GCM",
    ike: { encryption: "aes-gcm-256", prf: "hmac-sha2-256", group: "x25519" },
    child: { suite: "aes-gcm-256", extendedSequenceNumbers: [false] },
  },
  {
    name: "AES-CBC with HMAC-SHA2",
    ike: { encryption: "aes-cbc-256-hmac-sha2-256-128", prf: "hmac-sha2-384", group: "ecp-256" },
    child: { suite: "aes-cbc-256-hmac-sha2-256-128", extendedSequenceNumbers: [false] },
  },
];

describe.skipIf(!(canUseNamespaces() && hasPrograms()))("tshark, given the keys", () => {
  let lab: Lab;
  let home: Namespace;
  let gateway: Namespace;
  let directory: string;

  beforeEach(async () => {
    lab = new Lab();
    home = await lab.namespace("home");
    gateway = await lab.namespace("gateway");
    await lab.connect(home, "wire", gateway, "wire");
    await home.run("ip addr add 192.0.2.2/24 dev wire");
    await gateway.run("ip addr add 192.0.2.1/24 dev wire");
    directory = mkdtempSync(join(tmpdir(), "hometun-tshark-"));
  });

  afterEach(async () => {
    await lab.dispose();
    rmSync(directory, { recursive: true, force: true });
  });

  function start(role: PeerConfig["role"], suite: (typeof suites)[number]): Running {
    const isHome = role === "home";
    const [ours, theirs] = ["home@example", "gw.example"];
    const config: PeerConfig = {
      role,
      local: isHome ? "192.0.2.2" : "192.0.2.1",
      remote: isHome ? "192.0.2.1" : "192.0.2.2",
      identity: isHome ? ours : theirs,
      peerIdentity: isHome ? theirs : ours,
      credential: { psk: "hometun-test-psk" },
      trust: { psk: "hometun-test-psk" },
      ikeSuites: [suite.ike],
      childSuites: [suite.child],
      forceEncapsulation: isHome,
      prefixes: ["2001:db8:1:2::/64", "2001:db8:7::/56"],
      ...(isHome ? { keyLog: join(directory, "keys") } : {}),
    };
    const argv = nodeCommand(PROCESS, JSON.stringify(config));
    return (isHome ? home : gateway).spawn(argv);
  }

  test.each(suites)("decrypts $name and names what RFC 5739 added", async (suite) => {
    const capture = join(directory, "capture.pcap");
    const tcpdump = gateway.spawn([
      "tcpdump",
      "--immediate-mode",
      "-i",
      "wire",
      "-U",
      "-Z",
      "root",
      "-w",
      capture,
    ]);
    await eventually(async () => tcpdump.stderr.includes("listening on") || undefined);
    const kind = (peer: Running, name: string) =>
      peer.line((line) => (JSON.parse(line) as { kind: string }).kind === name);
    const responder = start("gateway", suite);
    await kind(responder, "ready");
    const initiator = start("home", suite);
    await kind(initiator, "child-created");
    const say = (command: object) => initiator.write(`${JSON.stringify(command)}\n`);
    say({ command: "ping", from: "2001:db8:1:2::1", to: "2001:db8:5::1" });
    await kind(initiator, "pong");
    say({ command: "rekey-child" });
    await kind(initiator, "child-deleted");
    say({ command: "rekey-ike" });
    await kind(initiator, "ike-rekeyed");
    say({ command: "close" });
    await kind(initiator, "closed");
    await tcpdump.stop();

    const text = await dissected(capture);
    for (const words of [
      "INTERNAL_IP6_LINK",
      "INTERNAL_IP6_PREFIX",
      "INTERNAL_IP6_PREFIX (IP): 2001:db8:1:2::",
      "LINK_ID",
      "REKEY_SA",
      "Echo (ping) request",
      "Echo (ping) reply",
    ]) {
      expect(text).toContain(words);
    }
    for (const words of ["Malformed", "incorrect", "[Invalid"]) {
      expect(text).not.toContain(words);
    }
  });

  /** tshark reads its tables from a profile. */
  async function dissected(capture: string): Promise<string> {
    const settings = join(directory, "wireshark");
    mkdirSync(settings);
    copyFileSync(join(directory, "keys"), join(settings, "ikev2_decryption_table"));
    copyFileSync(join(directory, "keys.esp"), join(settings, "esp_sa"));
    const options = ["esp.enable_encryption_decode:TRUE", "esp.enable_authentication_check:TRUE"];
    return await gateway.run(
      [
        "env",
        `WIRESHARK_CONFIG_DIR=${settings}`,
        "tshark",
        "-r",
        capture,
        "-V",
        ...options.flatMap((option) => ["-o", option]),
        "udp",
      ],
      { timeoutMs: 60_000 },
    );
  }
});
