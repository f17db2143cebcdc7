/**
 * The address watch as a process of its own, for tests in network namespaces. Prints a JSON line for each answer
 * that differs; `block FILE` on standard input holds its event loop until the
 * file exists.
 *
 *     node --import tsx address-watch-process.ts SERVER EXCLUDED_INTERFACE
 */

import { existsSync } from "node:fs";
import { createInterface } from "node:readline";
import { AddressWatcher } from "../../client/address-watch/watcher.ts";
import { RouteSocket } from "../../common/adapters/netlink-socket.ts";
import { systemClock } from "../../common/adapters/system-clock.ts";
import { parseIpv4 } from "../../common/ip/address.ts";

const [server = "", excludeInterface = ""] = process.argv.slice(2);
const write = (fact: object) => process.stdout.write(`${JSON.stringify(fact)}\n`);

const watcher = new AddressWatcher({
  socket: new RouteSocket(),
  server: parseIpv4(server),
  excludeInterface,
  clock: systemClock(),
  log: {
    info: (_facts, message) => process.stderr.write(`${message}\n`),
    warn: (_facts, message) => process.stderr.write(`${message}\n`),
  },
});

createInterface({ input: process.stdin }).on("line", (line) => {
  const [command, file = ""] = line.split(" ");
  if (command !== "block") return;
  write({ blocked: true });
  const nothing = new Int32Array(new SharedArrayBuffer(4));
  while (!existsSync(file)) Atomics.wait(nothing, 0, 0, 10);
});

await watcher.start((snapshot) => write({ uplink: snapshot ?? null, at: Date.now() }));
