/** Whether this kernel has what the kernel data plane needs, found out by trying. */

import { spawnSync } from "node:child_process";
import { type Namespace, namespacePermission, type Permission } from "./namespace.ts";

/** Where a line of /proc/net/netlink has what was thrown away. */
const DROPS = 8;

/** For `describe.skipIf`; the reason is printed so that a skipped test is not mistaken for a passed one. */
export function canUseXfrmInterfaces(): boolean {
  const permission = xfrmPermission();
  if (!permission.granted) process.stderr.write(`skipped: ${permission.reason}\n`);
  return permission.granted;
}

function xfrmPermission(): Permission {
  const namespaces = namespacePermission();
  if (!namespaces.granted) return namespaces;
  const add = "ip link add probe type xfrm dev lo if_id 1";
  const made = spawnSync("unshare", ["--net", "sh", "-c", add], { encoding: "utf8" });
  if (made.status === 0) return { granted: true };
  const why = made.stderr.trim().split("\n").at(-1) ?? "";
  return {
    granted: false,
    reason: `this kernel has no xfrm interfaces (${why}); npm run test:kernel boots one that has`,
  };
}

/** The kernel's counters of what it refused or could not send (Documentation/networking/xfrm_proc.rst), zeros left out. */
export async function xfrmStatistics(namespace: Namespace): Promise<ReadonlyMap<string, number>> {
  const text = await namespace.run("cat /proc/net/xfrm_stat");
  const lines = text.trim().split("\n");
  const entries = lines.map((line) => line.trim().split(/\s+/));
  const counts = entries.map(([name = "", count]) => [name, Number(count)] as const);
  return new Map(counts.filter(([, count]) => count > 0));
}

/** What has grown since, by name. */
export function growth(
  before: ReadonlyMap<string, number>,
  after: ReadonlyMap<string, number>,
): Record<string, number> {
  const grown = [...after].map(([name, count]) => [name, count - (before.get(name) ?? 0)] as const);
  return Object.fromEntries(grown.filter(([, count]) => count > 0));
}

/** How many messages the kernel has thrown away in a namespace because a netlink socket was full. */
export async function netlinkOverruns(namespace: Namespace): Promise<number> {
  const sockets = (await namespace.run("cat /proc/net/netlink")).trim().split("\n").slice(1);
  return sockets.reduce((sum, line) => sum + Number(line.trim().split(/\s+/)[DROPS]), 0);
}
