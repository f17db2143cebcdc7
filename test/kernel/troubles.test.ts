/** What daemons say, and do, where the kernel's data plane cannot be had. */

import { readFile, writeFile } from "node:fs/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Finding } from "../../common/doctor/finding.ts";
import { eventually } from "../support/namespace.ts";
import { daemonsAreBuilt, SERVER_PROGRAM, TunnelLab } from "../support/tunnel-lab.ts";
import { canUseXfrmInterfaces } from "../support/xfrm.ts";

const MODPROBE = "/proc/sys/kernel/modprobe";
const MODULES = [
  {
    module: "xfrm_interface",
    error: /xfrm interface.*EOPNOTSUPP.*module xfrm_interface/,
    fix: "modprobe xfrm_interface",
  },
  {
    module: "esp4",
    error: /IPsec with aes-gcm-128.*EPROTONOSUPPORT.*module esp4/,
    fix: "modprobe xfrm_user esp4",
  },
  // It counts the initialization vectors of AES-GCM.
  {
    module: "seqiv",
    error: /IPsec with aes-gcm-128.*(ENOENT|ENOSYS).*lacks the cipher/,
    fix: "modprobe gcm seqiv",
  },
] as const;
/** Where the harness unpacks the tree. Modules of a machine that others use are left alone. */
const isGuest = process.cwd() === "/hometun";

describe.skipIf(!canUseXfrmInterfaces() || !daemonsAreBuilt())("the kernel's data plane", () => {
  let lab: TunnelLab;
  let kernel: string;

  beforeAll(async () => {
    lab = await TunnelLab.build({
      homes: [{ name: "alice", encapsulation: "esp", suite: "aes-gcm-128" }],
      server: 'data-plane = "kernel"',
    });
    kernel = lab.server.configFile;
  });

  afterAll(async () => {
    await lab?.dispose();
  });

  /** Starts the server with a configuration; `before` goes before its command line. */
  const run = (file: string, before: readonly string[] = []) =>
    lab.serverNamespace.spawn([...before, process.execPath, SERVER_PROGRAM, "run", "-c", file]);

  /** The same with `auto`, and a state of its own: the userspace plane uses keys of AES-GCM once. */
  const writeAuto = async (module: string): Promise<string> => {
    const auto = `${kernel}.${module}.toml`;
    const text = await readFile(kernel, "utf8");
    const other = text
      .replace('data-plane = "kernel"', 'data-plane = "auto"')
      .replace(/^state-directory = "(.*)"$/m, `state-directory = "$1-${module}"`);
    await writeFile(auto, other, { mode: 0o600 });
    return auto;
  };

  it("without CAP_NET_ADMIN ends the daemon with a line that names it", async () => {
    // Root in a user namespace of its own, which the network does not belong to.
    const daemon = run(kernel, ["unshare", "--user", "--map-root-user"]);
    const { code } = await daemon.exited;
    expect(code).not.toBe(0);
    expect(daemon.stderr).toMatch(/EPERM.*CAP_NET_ADMIN/);
  });

  describe.skipIf(!isGuest)("without", () => {
    let modprobe: string;

    beforeAll(async () => {
      // What an SA needs, the one that is missing apart, must be there: from now on nothing is loaded.
      const aead = `aead "rfc4106(gcm(aes))" 0x${"00".repeat(20)} 128`;
      await lab.serverNamespace.run(
        `ip xfrm state add src 192.0.2.1 dst 192.0.2.2 proto esp spi 0x1000 mode tunnel ${aead}
         ip xfrm state flush`,
      );
      modprobe = await readFile(MODPROBE, "utf8");
      await writeFile(MODPROBE, "/bin/false");
    });

    afterAll(async () => {
      await writeFile(MODPROBE, modprobe);
    });

    describe.each(MODULES)("the module $module", ({ module, error, fix }) => {
      beforeAll(async () => {
        // What tests before this one have made of it may still be on its way out.
        const unload = `! grep -q "^${module} " /proc/modules || rmmod ${module}; echo gone`;
        await eventually(() => lab.serverNamespace.run(unload).catch(() => undefined));
      });

      afterAll(async () => {
        await lab.serverNamespace.run(`modprobe ${module}`);
      });

      it("ends the daemon that was told to use it, with a line that says what is missing", async () => {
        const daemon = run(kernel);
        expect((await daemon.exited).code).not.toBe(0);
        expect(daemon.stderr).toMatch(error);
      });

      it("is found by the doctor, who says how to mend it", async () => {
        const doctor = ["doctor", "--json", "-c", kernel];
        const running = lab.serverNamespace.spawn([process.execPath, SERVER_PROGRAM, ...doctor]);
        expect((await running.exited).code).not.toBe(0);
        const findings = JSON.parse(running.stdout) as Finding[];
        const finding = findings.find(({ subject }) => subject === "kernel data plane");
        expect(finding?.verdict).toBe("fail");
        expect(finding?.fix).toContain(fix);
      });

      it("is not chosen by auto, which tells why", async () => {
        const daemon = run(await writeAuto(module));
        const status = await lab.server.until(({ dataPlane }) => dataPlane.kind === "userspace");
        expect(status.dataPlane.reason).toMatch(error);
        daemon.kill("SIGTERM");
        expect((await daemon.exited).code).toBe(0);
      });
    });
  });
});
