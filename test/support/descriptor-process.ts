/**
 * Takes what it was given under a name and says whether it is the UDP socket of 127.0.0.1 and a port, and whether a
 * command that it starts has it too: `descriptor-process.ts NAME PORT`.
 */

import { spawnSync } from "node:child_process";
import { openDescriptorStore } from "../../common/adapters/descriptor-store.ts";
import { isUdpSocketOf } from "../../common/adapters/linux/ipv4-socket.ts";
import { parseIpv4 } from "../../common/ip/address.ts";

const [name = "", port = ""] = process.argv.slice(2);
const store = openDescriptorStore(undefined);
const descriptor = store.take(name);
const isTheSocket =
  descriptor !== undefined && isUdpSocketOf(descriptor, parseIpv4("127.0.0.1"), Number(port));
const isInherited =
  descriptor !== undefined && spawnSync("test", ["-e", `/proc/self/fd/${descriptor}`]).status === 0;
const environment = Object.keys(process.env).filter((key) => key.startsWith("LISTEN_"));
const again = store.take(name) !== undefined;
process.stdout.write(`${JSON.stringify({ isTheSocket, isInherited, environment, again })}\n`);
