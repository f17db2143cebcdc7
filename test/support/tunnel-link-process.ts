/**
 * Tunnel links as a process of their own, for tests in network namespaces. Each line of standard input is a
 * command, answered by a JSON line: `{"open": NAME}`, `{"configure": SPEC}`, `{"configureAll": [SPEC]}`,
 * `{"setMtu": [NAME, MTU]}`, `{"changes": true}` for what has happened to the interfaces.
 */

import { createInterface } from "node:readline";
import { openTun } from "../../common/adapters/linux/tun-device.ts";
import { RouteSocket } from "../../common/adapters/netlink-socket.ts";
import {
  type LinkChange,
  type LinkSpec,
  openTunnelLinks,
} from "../../common/adapters/tunnel-link.ts";
import { SystemError } from "../../common/errors.ts";

interface Command {
  readonly open?: string;
  readonly configure?: LinkSpec;
  readonly configureAll?: LinkSpec[];
  readonly changes?: true;
  readonly setMtu?: [name: string, mtu: number];
}

const socket = new RouteSocket();
const links = openTunnelLinks(socket);
const descriptors: number[] = [];
const changes: LinkChange[] = [];
links.onChange((change) => changes.push(change));

async function obey({
  open,
  configure,
  configureAll,
  setMtu,
  ...command
}: Command): Promise<object> {
  try {
    if (open !== undefined) descriptors.push(openTun(open));
    if (configure !== undefined) return await links.configure(configure);
    if (configureAll !== undefined) return await links.configureAll(configureAll);
    if (command.changes) return changes;
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
