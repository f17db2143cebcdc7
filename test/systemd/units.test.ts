/** The unit files by themselves; service.test.ts has them at work. */

import { spawnSync } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";

const UNITS = resolve(import.meta.dirname, "../../systemd");
const names = readdirSync(UNITS).filter((name) => name.endsWith(".service"));
/** What `systemd-analyze security` may find, of 10. */
const MOST_EXPOSED = 2.0;

const linesOf = (name: string) => readFileSync(join(UNITS, name), "utf8").split("\n");

/** Where systemd is installed, and says so by its tool. */
function hasAnalyze(): boolean {
  const found = spawnSync("systemd-analyze", ["--version"]).status === 0;
  if (!found) process.stderr.write("skipped: units are judged by systemd-analyze\n");
  return found;
}

describe.skipIf(!hasAnalyze())("systemd-analyze", () => {
  let directory: string;

  beforeAll(() => {
    directory = mkdtempSync(join(tmpdir(), "hometun-units-"));
    for (const name of names) {
      // The programs are installed elsewhere, or not at all.
      const text = linesOf(name)
        .join("\n")
        .replace(/=hometun(-server)? .*/g, "=true");
      writeFileSync(join(directory, name), text);
    }
  });

  afterAll(() => rmSync(directory, { recursive: true }));

  it.each(names)("has nothing to say about %s", (name) => {
    const file = join(directory, name.replace("@", "@eth0"));
    writeFileSync(file, readFileSync(join(directory, name)));
    const said = spawnSync("systemd-analyze", ["verify", "--man=no", file], { encoding: "utf8" });
    expect(said.stderr).toBe("");
    expect(said.status).toBe(0);
  });

  it.each(names)(`finds %s exposed by ${MOST_EXPOSED} at most`, (name) => {
    const threshold = `--threshold=${10 * MOST_EXPOSED}`;
    const judged = spawnSync(
      "systemd-analyze",
      ["security", "--offline=true", threshold, join(UNITS, name)],
      { encoding: "utf8" },
    );
    expect(judged.stderr).toBe("");
    expect(judged.status, judged.stdout).toBe(0);
  });
});

describe("the units", () => {
  const settings = (name: string) =>
    linesOf(name).filter((line) => line !== "" && !line.startsWith("#"));

  it("are the same for a client that is bound to its link, but for that", () => {
    const plain = settings("hometun-client.service");
    const bound = settings("hometun-client@.service");
    expect(bound.filter((line) => !plain.includes(line))).toEqual([
      "Description=IPv6 tunnel that outlives changes of the IPv4 address, while %i is there",
      "BindsTo=sys-subsystem-net-devices-%i.device",
      "After=sys-subsystem-net-devices-%i.device",
      "Conflicts=hometun-client.service",
      "WantedBy=sys-subsystem-net-devices-%i.device",
    ]);
    expect(plain.filter((line) => !bound.includes(line))).toEqual([
      "Description=IPv6 tunnel that outlives changes of the IPv4 address",
      "WantedBy=multi-user.target",
    ]);
  });

  it.each(names)("%s gives the capabilities it needs and one device", (name) => {
    // Only the server listens on a port below 1024.
    const more = name.startsWith("hometun-server") ? " CAP_NET_BIND_SERVICE" : "";
    const given = settings(name).filter((line) => /^(\w*Capabilit|Device)/.test(line));
    expect(given).toEqual([
      `CapabilityBoundingSet=CAP_NET_ADMIN CAP_NET_RAW${more}`,
      `AmbientCapabilities=CAP_NET_ADMIN CAP_NET_RAW${more}`,
      "DevicePolicy=closed",
      "DeviceAllow=/dev/net/tun rw",
    ]);
  });
});
