/**
 * The state directories lie on file systems of their own, which fill up, become read-only and lose what they held.
 * Alice's keys are manual, so her numbers must outlive the daemons; Bob's are negotiated.
 */

import { execFileSync } from "node:child_process";
import { mkdir, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Capture } from "../support/capture.ts";
import { canUseNamespaces, eventually } from "../support/namespace.ts";
import { daemonsAreBuilt, type LabHome, TunnelLab } from "../support/tunnel-lab.ts";

const SIZE = "128k";

describe.skipIf(!canUseNamespaces() || !daemonsAreBuilt())("state that cannot be kept", () => {
  let lab: TunnelLab;
  let alice: LabHome;
  let bob: LabHome;
  let capture: Capture;
  const mounted: string[] = [];

  beforeAll(async () => {
    lab = await TunnelLab.build({
      homes: [
        { name: "alice", suite: "aes-cbc-256-hmac-sha2-256-128" },
        { name: "bob", ikev2: "psk" },
      ],
    });
    alice = lab.home("alice");
    bob = lab.home("bob");
    capture = await lab.capture("server", "udp");
    for (const name of ["server", "alice"]) {
      await mkdir(stateOf(name), { recursive: true });
      execFileSync("mount", ["-t", "tmpfs", "-o", `size=${SIZE},mode=700`, "none", stateOf(name)]);
      mounted.push(stateOf(name));
    }
  });

  afterAll(async () => {
    await lab?.lab.dispose();
    for (const directory of mounted) execFileSync("umount", [directory]);
    await lab?.dispose();
  });

  const stateOf = (name: string) => join(lab.directory, name, "state");
  const remount = (name: string, mode: "ro" | "rw") =>
    execFileSync("mount", ["-o", `remount,${mode}`, stateOf(name)]);
  /** Takes all that is left, and a file's half too if need be. */
  const fill = async (name: string) => {
    const filler = join(stateOf(name), "filler");
    await writeFile(filler, Buffer.alloc(1 << 20)).catch(() => undefined);
  };
  const relieve = (name: string) => rm(join(stateOf(name), "filler"));
  const serverSays = (code: string | undefined) =>
    lab.server.until(({ problem }) =>
      code === undefined ? problem === undefined : problem?.includes(code) === true,
    );
  const confirmed = async (home: LabHome, number = 7) => {
    // Who sends something notices sooner that the server knows him no more.
    await home.reachesFar();
    await lab.confirmed(home, home.ipv4(number));
  };

  it("on a full disk from the start: a home with manual keys sends nothing, and says why", async () => {
    await fill("alice");
    await lab.server.start();
    await bob.client.start();
    await alice.client.start();
    await alice.client.until(({ problem }) => problem?.includes("ENOSPC") === true);
    await confirmed(bob);
    expect((await alice.client.status()).state.kind).not.toBe("confirmed");
    expect((await alice.client.status()).traffic.sentPackets).toBe(0);
    await relieve("alice");
    await confirmed(alice);
    await alice.client.until(({ problem }) => problem === undefined);
  });

  it("on a disk that filled up: the server is started again, has its homes back and follows them", async () => {
    await lab.server.crash();
    await fill("server");
    await lab.server.start();
    await serverSays("ENOSPC");
    await confirmed(alice);
    await alice.take(8);
    await confirmed(alice, 8);
    const log = lab.server.running.stderr;
    // Once for each file.
    for (const file of ["endpoints", "associations"]) {
      const lines = log.split("\n").filter((line) => line.includes("state cannot be written"));
      expect(lines.filter((line) => line.includes(`"file":"${file}"`))).toHaveLength(1);
    }
    await relieve("server");
    await serverSays(undefined);
    expect(await readFile(join(stateOf("server"), "endpoints"), "utf8")).toContain(alice.ipv4(8));
  });

  it("on a read-only disk: homes with negotiated keys are served, the others when it can be written", async () => {
    await lab.server.crash();
    remount("server", "ro");
    await lab.server.start();
    await serverSays("EROFS");
    await confirmed(bob);
    expect(await lab.server.another().exited).toMatchObject({ code: 1 });
    const before = await alice.atServer(lab.server);
    expect(before.traffic.sentPackets).toBe(0);
    remount("server", "rw");
    await confirmed(alice, 8);
    await serverSays(undefined);
  });

  it("in a damaged file: it is kept aside, and a key that may have been used is refused, not the others", async () => {
    await lab.server.crash();
    const file = join(stateOf("server"), "sequence-numbers");
    const damaged = Buffer.from("damaged");
    await writeFile(file, damaged);
    await lab.server.start();
    await confirmed(bob);
    const log = lab.server.running.stderr;
    expect(log).toMatch(/state file damaged/);
    expect(log).toMatch(/make new keys for both ends/);
    const [aside = ""] = (await readdir(stateOf("server"))).filter((n) => n.includes("damaged"));
    expect(await readFile(join(stateOf("server"), aside))).toEqual(damaged);
    expect((await alice.atServer(lab.server)).traffic.sentPackets).toBe(0);
  });

  it("no sequence number was ever used twice", async () => {
    const seen = new Map<number, Set<number>>();
    const packets = await eventually(async () => {
      const found = await capture.esp();
      return found.length > 20 ? found : undefined;
    });
    for (const { spi, sequence } of packets) {
      if (spi === 0) continue; // IKE
      const numbers = seen.get(spi) ?? new Set<number>();
      expect(numbers.has(sequence)).toBe(false);
      seen.set(spi, numbers.add(sequence));
    }
    expect(seen.size).toBeGreaterThanOrEqual(4);
  });
});
