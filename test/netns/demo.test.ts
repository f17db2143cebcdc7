/** `npm run demo`, in brief. It builds its own network, drawn in demo/network.ts. */

import { spawn } from "node:child_process";
import { randomUUID } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { resolve } from "node:path";
import { describe, expect, it } from "vitest";
import { canUseNamespaces, eventually } from "../support/namespace.ts";

const ROOT = resolve(import.meta.dirname, "../..");

interface Demo {
  readonly output: () => string;
  readonly interrupt: () => void;
  readonly ended: Promise<{ readonly output: string; readonly status: number | null }>;
}

function startDemo(env: Readonly<Record<string, string>> = {}): Demo {
  const demo = spawn(process.execPath, ["--import", "tsx", "demo/main.ts", "--brief"], {
    cwd: ROOT,
    env: { ...process.env, ...env },
  });
  let output = "";
  for (const stream of [demo.stdout, demo.stderr]) {
    stream.setEncoding("utf8").on("data", (text: string) => {
      output += text;
    });
  }
  return {
    output: () => output,
    interrupt: () => demo.kill("SIGINT"),
    ended: new Promise((done) => demo.once("close", (status) => done({ output, status }))),
  };
}

/** Which processes have `marker` in their environment, in whatever namespace: this one sees them all. */
function processesWith(marker: string): string[] {
  return readdirSync("/proc").filter((entry) => {
    try {
      return /^\d+$/.test(entry) && readFileSync(`/proc/${entry}/environ`, "utf8").includes(marker);
    } catch {
      return false; // it ended while we looked
    }
  });
}

describe.skipIf(!canUseNamespaces({ tun: true }))("the demonstration", () => {
  it("crosses three changes of address and says so in plain text", async () => {
    const { output, status } = await startDemo().ended;
    expect({ output, status }).toMatchObject({ status: 0 });
    expect(output).toMatch(/agreed on keys by IKEv2: aes-gcm-256, proven with Ed25519/);
    expect(output).toMatch(/60,000,000 octets downloaded: SHA-256 \S+ the same at both ends/);
    expect(output).not.toContain("\u001b");
  });

  it("leaves neither process nor namespace behind when it is interrupted", async () => {
    const marker = `HOMETUN_TEST=${randomUUID()}`;
    const [name = "", value = ""] = marker.split("=");
    const demo = startDemo({ [name]: value });
    await eventually(async () => (demo.output().includes("1  The ISP") ? true : undefined));
    expect(processesWith(marker).length).toBeGreaterThan(5);
    demo.interrupt();
    expect(await demo.ended).toMatchObject({ status: 130 });
    await eventually(async () => (processesWith(marker).length === 0 ? true : undefined));
  });
});
