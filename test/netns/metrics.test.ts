/** The real daemons' metrics, read as Prometheus reads them, and one change's name in both logs. */

import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { parseExposition } from "../support/exposition.ts";
import { canUseNamespaces, type Namespace } from "../support/namespace.ts";
import { judgeByPromtool } from "../support/promtool.ts";
import { daemonsAreBuilt, type LabHome, TunnelLab } from "../support/tunnel-lab.ts";

const READ = `
  const [place] = process.argv.slice(1);
  const where = place.startsWith("/") ? { socketPath: place } : { host: "127.0.0.1", port: place };
  require("node:http").get({ ...where, path: "/metrics" }, (answer) => answer.pipe(process.stdout));`;

describe.skipIf(!canUseNamespaces() || !daemonsAreBuilt())("the daemons' metrics", () => {
  let lab: TunnelLab;
  let home: LabHome;
  const read = async (from: Namespace, place: string) =>
    await from.run([process.execPath, "-e", READ, place]);

  beforeAll(async () => {
    const homes = [{ name: "alice" }, { name: "bob" }];
    lab = await TunnelLab.build({ homes, server: 'metrics = "127.0.0.1:9436"' });
    home = lab.home("alice");
    // Bob's client is not started: his home is down.
    await lab.server.start();
    await home.client.start();
    await lab.confirmed(home, home.ipv4(7));
    await lab.confirmed(home, await home.take(8));
    await home.reachesFar();
  });

  afterAll(async () => {
    await lab?.dispose();
  });

  it("are good in the eyes of a strict reader, and of promtool where it is installed", async () => {
    const page = await read(lab.serverNamespace, "9436");
    const states = parseExposition(page).get("hometun_home_state")?.samples;
    expect(states?.map(({ labels }) => labels)).toEqual([
      { home: "alice", state: "confirmed" },
      { home: "bob", state: "never-heard" },
    ]);
    expect(judgeByPromtool(page).complaints).toBe("");
  });

  it("count what the kernel carried", async () => {
    const families = parseExposition(await read(lab.serverNamespace, "9436"));
    const sum = (name: string) =>
      families.get(name)?.samples.reduce((total, { value }) => total + value, 0);
    expect(sum("hometun_home_received_packets_total")).toBeGreaterThan(0);
    expect(sum("hometun_server_moves_total")).toBe(2);
    expect(sum("hometun_home_moves_total")).toBe(2);
  });

  it("call a change of address by one name in both daemons", async () => {
    const client = await home.client.status();
    const server = await home.atServer(lab.server);
    expect(client.lastMove?.change).toMatch(/^[0-9a-f]{12}$/);
    expect(server.lastMove?.change).toBe(client.lastMove?.change);
    expect(lab.server.running.stderr).toContain(client.lastMove?.change);
    expect(home.client.running.stderr).toContain(client.lastMove?.change);
  });
});
