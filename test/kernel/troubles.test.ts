/** What daemons say, and do, where the kernel's data plane cannot be had. */

import { readFile, writeFile } from "node:fs/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { eventually } from "../support/namespace.ts";
import { daemonsAreBuilt, SERVER_PROGRAM, TunnelLab } from "../support/tunnel-lab.ts";
import { canUseXfrmInterfaces } from "../support/xfrm.ts";

const MODPROBE = "/proc/sys/kernel/modprobe";
/** Where the harness unpacks the tree. Modules of a machine that others use are left alone. */
const isGuest = process.cwd() === "/hometun";

describe.skipIf(!canUseXfrmInterfaces() || !daemonsAreBuilt())("the kernel's data plane", () => {
  let lab: TunnelLab;
  let kernel: string;
  let auto: string;

  beforeAll(async () => {
    lab = await TunnelLab.build({
      homes: [{ name: "alice", encapsulation: "esp", suite: "aes-gcm-128" }],
      server: 'data-plane = "kernel"',
    });
    kernel = lab.server.configFile;
    auto = `${kernel}.auto.toml`;
    const text = await readFile(kernel, "utf8");
    await writeFile(auto, text.replace('data-plane = "kernel"', 'data-plane = "auto"'), {
      mode: 0o600,
    });
  });

  afterAll(async () => {
    await lab?.dispose();
  });

  /** Starts the server with a configuration; `before` goes before its command line. */
  const run = (file: string, before: readonly string[] = []) =>
    lab.serverNamespace.spawn([...before, process.execPath, SERVER_PROGRAM, "run", "-c", file]);

  it("without CAP_NET_ADMIN ends the daemon with a line that names it", async () => {
    // Root in a user namespace of its own, which the network does not belong to.
    const daemon = run(kernel, ["unshare", "--user", "--map-root-user"]);
    const { code } = await daemon.exited;
    expect(code).not.toBe(0);
    expect(daemon.stderr).toMatch(/EPERM.*CAP_NET_ADMIN/);
  });

  describe.skipIf(!isGuest)("without the module xfrm_interface", () => {
    let modprobe: string;

    beforeAll(async () => {
      modprobe = await readFile(MODPROBE, "utf8");
      await writeFile(MODPROBE, "/bin/false");
      // Namespaces of tests before this one may still be on their way out.
      await eventually(() =>
        lab.serverNamespace.run("rmmod xfrm_interface && echo gone").catch(() => undefined),
      );
    });

    afterAll(async () => {
      await writeFile(MODPROBE, modprobe);
    });

    it("ends the daemon that was told to use it, with a line that says how to mend it", async () => {
      const daemon = run(kernel);
      expect((await daemon.exited).code).not.toBe(0);
      expect(daemon.stderr).toMatch(/xfrm interface.*EOPNOTSUPP.*module xfrm_interface/);
    });

    it("is not chosen by auto, which tells why", async () => {
      const daemon = run(auto);
      const status = await lab.server.until(({ dataPlane }) => dataPlane.kind === "userspace");
      expect(status.dataPlane.reason).toMatch(/xfrm_interface/);
      daemon.kill("SIGTERM");
      expect((await daemon.exited).code).toBe(0);
    });
  });
});
