/**
 * Tunnel links as a process of their own, for tests in network namespaces. Each line of standard input is a
 * command, answered by a JSON line: `{"open": NAME}`, `{"configure": SPEC}`, `{"setMtu": [NAME, MTU]}`.
 */

import { createInterface } from "node:readline";
import { openTun } from "../../common/adapters/linux/tun-device.ts";
import { RouteSocket } from "../../common/adapters/netlink-socket.ts";
import { type LinkSpec, openTunnelLinks } from "../../common/adapters/tunnel-link.ts";
import { SystemError } from "../../common/errors.ts";

interface Command {
  readonly open?: string;
  readonly configure?: LinkSpec;
  readonly setMtu?: [name: string, mtu: number];
}

const socket = new RouteSocket();
const links = openTunnelLinks(socket);
const descriptors: number[] = [];

async function obey({ open, configure, setMtu }: Command): Promise<object> {
  try {
    if (open !== undefined) descriptors.push(openTun(open));
    if (configure !== undefined) return await links.configure(configure);
    if (setMtu !== undefined) await links.setMtu(...setMtu);
    return {};
  } catch (error) {
    if (error instanceof SystemError) return { code: error.code, message: error.message };
    throw error;
  }
}

for await (const line of createInterface({ input: process.stdin })) {
  process.stdout.write(`${JSON.stringify(await obey(JSON.parse(line) as Command))}\n`);
}
socket.close();
