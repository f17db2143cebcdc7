/** The user's hooks, run by the real daemon: home alice and a server, as `tunnel-lab.ts` draws them. */

import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { canUseNamespaces, eventually } from "../support/namespace.ts";
import { daemonsAreBuilt, type LabHome, SERVER, TunnelLab } from "../support/tunnel-lab.ts";

describe.skipIf(!canUseNamespaces({ tun: true }) || !daemonsAreBuilt())("the user's hooks", () => {
  let lab: TunnelLab;
  let home: LabHome;
  let diary: string;

  const lines = async (count: number): Promise<string[]> =>
    await eventually(async () => {
      const text = await readFile(diary, "utf8").catch(() => "");
      const found = text.trimEnd().split("\n");
      return text !== "" && found.length >= count ? found : undefined;
    }, 20_000);

  beforeAll(async () => {
    lab = await TunnelLab.build({ homes: [{ name: "alice" }] });
    home = lab.home("alice");
    diary = join(lab.directory, "diary");
    const script = join(lab.directory, "hook");
    const facts = ["$HOMETUN_EVENT", "$HOMETUN_ADDRESS", "from:$HOMETUN_PREVIOUS"];
    const more = ["$HOMETUN_INTERFACE", "$HOMETUN_SERVER", "$HOMETUN_PREFIXES", "$1"];
    await writeFile(
      script,
      `#!/bin/sh\necho "${[...facts, ...more].join(" ")}" >> ${diary}\n[ "$HOMETUN_EVENT" != move ] || exec sleep 60\n`,
      { mode: 0o755 },
    );
    const hooks = ["up", "down", "move"].map((event) => `on-${event} = ["${script}", "a;b"]`);
    const { configFile } = home.client;
    const text = await readFile(configFile, "utf8");
    await writeFile(configFile, `${hooks.join("\n")}\nhook-timeout = 1\n${text}`, { mode: 0o600 });
    await lab.server.start();
    await home.client.start();
  });

  afterAll(async () => {
    await lab?.dispose();
  });

  it("hear that the tunnel is up, and all about it", async () => {
    expect(await lines(1)).toEqual([`up ${home.ipv4(7)} from: ht0 ${SERVER} 2001:db8:a::/48 a;b`]);
  });

  it("hear of a move, and may hang without being in the way of the next", async () => {
    await home.take(8);
    const [, moved] = await lines(2);
    expect(moved).toContain(`move ${home.ipv4(8)} from:${home.ipv4(7)} `);
    await home.take(9);
    await lab.confirmed(home, home.ipv4(9));
    const [, , again] = await lines(3);
    expect(again).toContain(`move ${home.ipv4(9)} from:${home.ipv4(8)} `);
    expect(home.client.running.stderr).toContain("hook took too long and was ended");
  });

  it("hear that it is down when there is no address, and when the daemon stops", async () => {
    await home.leave();
    const [, , , down] = await lines(4);
    expect(down).toContain(`down ${home.ipv4(9)} from: `);
    await home.take(9);
    const [, , , , up] = await lines(5);
    expect(up).toContain(`up ${home.ipv4(9)} from: `);
    await home.client.stop();
    expect((await lines(6)).at(-1)).toContain("down ");
  });
});
