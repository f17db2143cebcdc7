/** Whether this kernel has what the kernel data plane needs, found out by trying. */

import { spawnSync } from "node:child_process";
import { namespacePermission, type Permission } from "./namespace.ts";

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
