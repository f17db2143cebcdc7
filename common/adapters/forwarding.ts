/** Whether this machine forwards IPv6 packets. */

import { readFileSync, writeFileSync } from "node:fs";
import { SystemError } from "../errors.ts";

const FORWARDING = "/proc/sys/net/ipv6/conf/all/forwarding";

/** False also where there is no IPv6. */
export function forwardsIpv6(): boolean {
  try {
    return readFileSync(FORWARDING, "utf8").trim() !== "0";
  } catch {
    return false;
  }
}

/**
 * Makes this machine a router. Returns whether it was none. It stays one: others may have come to rely on it. Throws
 * `SystemError`.
 */
export function enableForwarding(): boolean {
  if (forwardsIpv6()) return false;
  try {
    writeFileSync(FORWARDING, "1\n");
  } catch (cause) {
    const code = (cause as NodeJS.ErrnoException).code ?? "unknown";
    const hint = "set sysctl net.ipv6.conf.all.forwarding=1, or let /proc/sys/net be written";
    throw new SystemError("enable IPv6 forwarding", code, { cause, hint });
  }
  return true;
}
