/**
 * A program that joins a group on an interface and prints what comes to it, or one that sends each line it is given
 * there: `receive GROUP PORT INTERFACE`, `send GROUP PORT INTERFACE [SOURCE]`.
 */

import { createSocket } from "node:dgram";
import { once } from "node:events";
import { createInterface } from "node:readline";

const HOPS = 8;

const [role, group = "", port, interfaceName, source = "::"] = process.argv.slice(2);
const socket = createSocket("udp6");
const here = `::%${interfaceName}`;

if (role === "receive") {
  socket.bind(Number(port), group);
  await once(socket, "listening");
  socket.addMembership(group, here);
  socket.on("message", (message) => process.stdout.write(`${message}\n`));
  process.stdout.write("ready\n");
} else {
  socket.bind(0, source);
  await once(socket, "listening");
  socket.setMulticastInterface(here);
  socket.setMulticastTTL(HOPS);
  process.stdout.write("ready\n");
  for await (const line of createInterface({ input: process.stdin })) {
    socket.send(line, Number(port), group, (error) => {
      if (error !== null) process.stderr.write(`${error.message}\n`);
    });
  }
}
